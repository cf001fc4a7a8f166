/* SPDX-License-Identifier: Apache-2.0 */
/* A bank's configuration as JSON: the body of PUT, and the content of the manifest on disk. */
#include <stdio.h>
#include <string.h>

#include "bank/config.h"
#include "bank/kind.h"
#include "codec/doc.h"

#define DTYPE_WORDS "FP32|FP16|BF16"
static const enum rk_dtype dtypes[] = {RK_FP32, RK_FP16, RK_BF16};
static const char *const dtype_names[] = {"FP32", "FP16", "BF16"};
static const char *const durability_names[] = {"always", "interval", "none"};
static const char *const on_full_names[] = {"refuse", "memory"};

static int dtype_position(enum rk_dtype dtype)
{
    return dtype == RK_FP16 ? 1 : dtype == RK_BF16 ? 2 : 0;
}

/* `"a" or "b"`, of all kinds. */
static void kind_names(char *text, size_t size)
{
    size_t at = 0;
    for (size_t i = 0; rk_bank_kinds[i] && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s\"%s\"",
                               i == 0                 ? ""
                               : rk_bank_kinds[i + 1] ? ", "
                                                      : " or ",
                               rk_bank_kinds[i]->name);
}

static const struct rk_bank_kind *parse_kind(struct rk_doc *doc, struct rk_err *err)
{
    int kind = 0; /* if the word is wrong: *err is set, and the kind does not matter */
    char names[256];
    kind_names(names, sizeof names);
    if (!rk_doc_word(doc, "kind", rk_bank_kind_words(), &kind, err))
        (void)rk_fail(err, RANKD_INVALID, "kind of the bank is missing; it must be %s", names);
    return rk_bank_kinds[kind];
}

/* Fields of banks of this kind alone. */
static void parse_field(struct rk_doc *doc, const struct rk_bank_field *field, struct rk_bank_shape *shape,
                        struct rk_err *err)
{
    char *at = (char *)shape + field->at;
    if (field->type == RK_BANK_FIELD_FLAG) {
        bool *flag = (bool *)at;
        *flag = field->preset;
        (void)rk_doc_flag(doc, field->name, flag, err);
        return;
    }
    uint64_t count = 0;
    if (!rk_doc_uint(doc, field->name, field->min, field->max, &count, err))
        (void)rk_fail(err, RANKD_INVALID, "%s of the bank is missing; it must be a number from %zu to %zu",
                      field->name, field->min, field->max);
    *(size_t *)(void *)at = count;
}

static void parse_fields(struct rk_doc *doc, struct rk_bank_config *config, uint64_t *live,
                         struct rk_err *err)
{
    struct rk_bank_shape *shape = &config->shape;
    int dtype = 0;
    uint64_t capacity = 0;
    shape->kind = parse_kind(doc, err);
    if (!rk_doc_uint(doc, "capacity", 1, 0x3fffffff, &capacity, err))
        (void)rk_fail(err, RANKD_INVALID,
                      "capacity of the bank is missing; it must be a number of items from 1 to 1073741823");
    for (const struct rk_bank_field *field = shape->kind->field; field->name; field++)
        parse_field(doc, field, shape, err);
    (void)rk_doc_word(doc, "datatype", DTYPE_WORDS, &dtype, err);
    (void)rk_doc_word(doc, "durability", RK_DURABILITY_WORDS, &config->durability, err);
    (void)rk_doc_word(doc, "on_full", RK_ON_FULL_WORDS, &config->on_full, err);
    if (live)
        (void)rk_doc_uint(doc, "live", 1, UINT64_MAX, live, err);
    shape->capacity = capacity;
    shape->dtype = dtypes[dtype];
}

enum rankd_status rk_bank_config_parse(const void *body, size_t bytes, struct rk_bank_config *config,
                                       uint64_t *live, struct rk_err *err)
{
    memset(config, 0, sizeof *config);
    config->durability = RK_DURABILITY_INTERVAL;
    struct rk_doc *doc = rk_doc_parse(body, bytes, "the bank's configuration", err);
    if (!doc)
        return err->status;
    parse_fields(doc, config, live, err);
    enum rankd_status status = rk_doc_done(doc, err);
    rk_doc_free(doc);
    return status == RANKD_OK ? rk_bank_shape_check(&config->shape, err) : status;
}

enum rankd_status rk_checkpoint_parse(const void *body, size_t bytes, struct rk_checkpoint *checkpoint,
                                      struct rk_err *err)
{
    memset(checkpoint, 0, sizeof *checkpoint);
    struct rk_doc *doc = rk_doc_parse(body, bytes, "the checkpoint's manifest", err);
    if (!doc)
        return err->status;
    parse_fields(doc, &checkpoint->config, NULL, err);
    if (!rk_doc_uint(doc, "version", 0, INT64_MAX, &checkpoint->version, err) ||
        !rk_doc_uint(doc, "generation", 1, INT64_MAX, &checkpoint->generation, err) ||
        !rk_doc_uint(doc, "items", 0, INT64_MAX, &checkpoint->items, err))
        (void)rk_fail(err, RANKD_INVALID, "the checkpoint's manifest has no version, generation or items");
    (void)rk_doc_uint(doc, "created", 0, INT64_MAX, &checkpoint->created, err);
    rk_doc_free(doc);
    return err->status == RANKD_OK ? rk_bank_shape_check(&checkpoint->config.shape, err) : err->status;
}

void rk_bank_config_write(struct rk_text *out, const struct rk_bank_config *config)
{
    const struct rk_bank_shape *shape = &config->shape;
    rk_json_text(out, "kind", shape->kind->name);
    for (const struct rk_bank_field *field = shape->kind->field; field->name; field++) {
        if (field->type == RK_BANK_FIELD_FLAG)
            rk_json_bool(out, field->name, *(const bool *)((const char *)shape + field->at));
        else
            rk_json_uint(out, field->name, rk_bank_field_count(field, shape));
    }
    rk_json_uint(out, "capacity", shape->capacity);
    rk_json_text(out, "datatype", dtype_names[dtype_position(shape->dtype)]);
    rk_json_text(out, "durability", durability_names[config->durability]);
    rk_json_text(out, "on_full", on_full_names[config->on_full]);
}

bool rk_bank_config_same(const struct rk_bank_config *a, const struct rk_bank_config *b)
{
    return a->shape.kind == b->shape.kind && a->shape.dim == b->shape.dim &&
           a->shape.lists == b->shape.lists && a->shape.capacity == b->shape.capacity &&
           a->shape.normalize == b->shape.normalize && a->shape.dtype == b->shape.dtype &&
           a->durability == b->durability && a->on_full == b->on_full;
}

/* From the beginning of a member of a written configuration to its end. */
static int member_length(const struct rk_text *json, size_t begin)
{
    size_t end = begin;
    while (end < json->length && json->data[end] != ',')
        end++;
    return (int)(end - begin);
}

void rk_bank_config_tell(const struct rk_bank_config *have, const struct rk_bank_config *want, char *text,
                         size_t size)
{
    struct rk_text there = {0}, wanted = {0};
    size_t at = 0, member = 0;
    rk_bank_config_write(&there, have);
    rk_bank_config_write(&wanted, want);
    for (; at < there.length && at < wanted.length && there.data[at] == wanted.data[at]; at++)
        member = there.data[at] == ',' ? at + 1 : member;
    if (there.failed || wanted.failed)
        text[0] = '\0';
    else
        (void)snprintf(text, size, ", %.*s and not %.*s", member_length(&there, member), there.data + member,
                       member_length(&wanted, member), wanted.data + member);
    rk_text_free(&there);
    rk_text_free(&wanted);
}
