/* SPDX-License-Identifier: Apache-2.0 */
/* .npz files: a zip of .npy files. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "zip.h"

#define INFLATED_MOST ((size_t)4 << 30)

/* The arrays, by name; the first two must be there. */
static const char *const names[] = {"scores.npy", "targets.npy", "offsets.npy", "list_weight.npy"};
enum { NAMES = sizeof names / sizeof names[0], NEEDED = 2 };

struct reading {
    struct ctl_zip zip;
    struct ctl_array *array[NAMES];
    size_t inflated; /* bytes still allowed */
};

/* A position in `names`; NAMES if the member is none of them. */
static size_t which(const struct ctl_zip_member *member)
{
    size_t i = 0;
    while (i < NAMES && (strlen(names[i]) != member->name_bytes ||
                         memcmp(names[i], member->name, member->name_bytes) != 0))
        i++;
    return i;
}

static bool read_array(struct ctl_array *array, const char *path, const void *content, size_t bytes,
                       char why[CTL_WHY])
{
    /* Not written to: the mode is "rb". An empty file can't be opened in memory, and is no .npy
     * file. */
    FILE *file = bytes ? fmemopen((void *)(uintptr_t)content, bytes, "rb") : NULL;
    if (!file)
        return rankd_ctl_refuse(why, "%s is not an .npy file", path);
    const bool good = rankd_ctl_npy_read(array, path, file, why);
    (void)fclose(file);
    return good;
}

static bool take_member(struct reading *reading, const struct ctl_zip_member *member, char why[CTL_WHY])
{
    const size_t i = which(member);
    char piece[CTL_PIECE], path[4352];
    rankd_ctl_piece(piece, member->name, member->name_bytes);
    if (i == NAMES)
        return rankd_ctl_refuse(why,
                                "%s has an array %s; it may have scores, targets, offsets and list_weight",
                                reading->zip.path, piece);
    if (reading->array[i]->data)
        return rankd_ctl_refuse(why, "%s has %s twice", reading->zip.path, piece);
    void *memory;
    const void *content;
    (void)snprintf(path, sizeof path, "%s: %s", reading->zip.path, names[i]);
    const bool good =
        rankd_ctl_zip_content(&reading->zip, member, reading->inflated, &memory, &content, why) &&
        read_array(reading->array[i], path, content, (size_t)member->bytes, why);
    if (memory)
        reading->inflated -= good ? (size_t)member->bytes : 0;
    free(memory);
    return good;
}

static bool one_dimension(const struct ctl_array *array, const char *path, const char *name,
                          char why[CTL_WHY])
{
    return !array->data || array->dimensions == 1 ||
           rankd_ctl_refuse(why, "%s: %s has %d dimensions; it must have 1", path, name, array->dimensions);
}

static bool check(const struct ctl_batch *batch, const char *path, char why[CTL_WHY])
{
    if (!batch->scores.data || !batch->targets.data)
        return rankd_ctl_refuse(why, "%s has no array %s", path, batch->scores.data ? "targets" : "scores");
    if (!one_dimension(&batch->offsets, path, "offsets", why) ||
        !one_dimension(&batch->list_weight, path, "list_weight", why))
        return false;
    return !batch->offsets.data || (one_dimension(&batch->scores, path, "scores, with offsets,", why) &&
                                    one_dimension(&batch->targets, path, "targets, with offsets,", why));
}

static bool read_members(struct ctl_batch *batch, const char *path, const void *content, size_t bytes,
                         char why[CTL_WHY])
{
    struct reading reading = {
        .array = {&batch->scores, &batch->targets, &batch->offsets, &batch->list_weight},
        .inflated = INFLATED_MOST};
    struct ctl_zip_member member;
    bool more = true;
    if (!rankd_ctl_zip_open(&reading.zip, path, content, bytes, why))
        return false;
    while (more) {
        if (!rankd_ctl_zip_next(&reading.zip, &member, &more, why) ||
            (more && !take_member(&reading, &member, why)))
            return false;
    }
    /* FP64 is numpy's own type; the wire has it for scores only. */
    rankd_ctl_array_narrow(&batch->targets);
    rankd_ctl_array_narrow(&batch->list_weight);
    if (!rankd_ctl_array_from_integers(&batch->scores, "FP64", why) ||
        !rankd_ctl_array_from_integers(&batch->offsets, "INT64", why) ||
        !rankd_ctl_array_from_integers(&batch->list_weight, "FP32", why))
        return false;
    return check(batch, path, why);
}

bool rankd_ctl_npz_read(struct ctl_batch *batch, const char *path, FILE *file, char why[CTL_WHY])
{
    void *content;
    size_t bytes;
    *batch = (struct ctl_batch){0};
    const bool good =
        rankd_ctl_read_growing(file, SIZE_MAX, &content, &bytes)
            ? read_members(batch, path, content, bytes, why)
            : rankd_ctl_refuse(why, "%s: %s", path, ferror(file) ? strerror(errno) : "no memory for it");
    free(content);
    return good;
}

void rankd_ctl_batch_free(struct ctl_batch *batch)
{
    rankd_ctl_array_free(&batch->scores);
    rankd_ctl_array_free(&batch->targets);
    rankd_ctl_array_free(&batch->offsets);
    rankd_ctl_array_free(&batch->list_weight);
}
