/* SPDX-License-Identifier: Apache-2.0 */
/* The costs of a million batch ids in a bank: adding and finding one, a checkpoint, reading them
 * back.
 *
 *     bank_ids FOLDER     (on the disk to measure; it is created, and removed again) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bank/checkpoint.h"
#include "bank/disk.h"
#include "bank/durable_bank.h"
#include "bank/kind.h"

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct rk_batch_id id_of(unsigned n)
{
    char text[32];
    struct rk_batch_id id = {.content = n, .appended = n};
    (void)snprintf(text, sizeof text, "batch-%u", n);
    rk_ids_name(text, id.name);
    return id;
}

static struct rk_durable_bank *bank_at(const char *folder)
{
    struct rk_err err = {0};
    const struct rk_bank_config config = {
        .shape = {.kind = &rk_bank_kind_scores, .lists = 1, .capacity = 1000, .dtype = RK_FP32},
        .durability = RK_DURABILITY_INTERVAL};
    struct rk_durable_bank *bank = rk_durable_bank_new("bank", &config);
    if (!bank)
        exit(1);
    (void)snprintf(bank->path, sizeof bank->path, "%s", folder);
    bank->io = rk_io_plain_new();
    if (rk_durable_bank_create_disk(bank, &err) != RANKD_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    return bank;
}

static void measure(const char *folder, unsigned ids)
{
    struct rk_durable_bank *bank = bank_at(folder);
    struct rk_text answer = {0};
    struct rk_err err = {0};
    double begun = seconds();
    for (unsigned n = 0; n < ids; n++) {
        struct rk_batch_id id = id_of(n);
        rk_ids_add(&bank->ids, &id);
    }
    double added = seconds();
    size_t found = 0;
    for (unsigned n = 0; n < ids; n++)
        found += rk_ids_find(&bank->ids, id_of(n).name) != NULL;
    double looked = seconds();
    if (rk_durable_bank_checkpoint(bank, "tag", &answer, &err) != RANKD_OK || found != ids) {
        (void)fprintf(stderr, "%zu found; %s\n", found, err.text);
        exit(1);
    }
    double kept = seconds();
    struct rk_io *io = bank->io;
    bank->io = NULL;
    size_t bytes = rk_ids_bytes(&bank->ids);
    rk_durable_bank_release(bank);
    double released = seconds();
    bank = rk_durable_bank_load("bank", folder, io);
    double loaded = seconds();
    printf("%8u ids: add %.0f ns, find %.0f ns, checkpoint %.1f ms, read back %.1f ms, %.1f MB\n", ids,
           1e9 * (added - begun) / ids, 1e9 * (looked - added) / ids, 1e3 * (kept - looked),
           1e3 * (loaded - released), (double)bytes / 1e6);
    rk_durable_bank_release(bank);
    rk_text_free(&answer);
}

int main(int argc, char **argv)
{
    static const unsigned counts[] = {1000, 65536, 1000000};
    char command[4096];
    if (argc != 2)
        return 2;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        (void)snprintf(command, sizeof command, "rm -rf '%s'", argv[1]);
        if (system(command) != 0)
            return 1;
        measure(argv[1], counts[i]);
    }
    return system(command) != 0;
}
