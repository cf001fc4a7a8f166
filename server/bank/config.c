/* A bank's configuration as JSON: what PUT brings, what the manifest on disk holds. */
#include <string.h>

#include "bank/durable_bank.h"
#include "codec/doc.h"

#define KIND_WORDS "embeddings|scores"
#define DTYPE_WORDS "FP32|FP16|BF16"
static const enum rk_dtype dtypes[] = {RK_FP32, RK_FP16, RK_BF16};
static const char *const dtype_names[] = {"FP32", "FP16", "BF16"};
static const char *const durability_names[] = {"always", "interval", "none"};
static const char *const on_full_names[] = {"refuse", "memory"};

static int dtype_position(enum rk_dtype dtype)
{
    return dtype == RK_FP16 ? 1 : dtype == RK_BF16 ? 2 : 0;
}

static void parse_fields(struct rk_doc *doc, struct rk_bank_config *config, uint64_t *live,
                         struct rk_err *err)
{
    struct rk_bank_shape *shape = &config->shape;
    int kind = -1, dtype = 0;
    uint64_t dim = 0, lists = 0, capacity = 0;
    if (!rk_doc_word(doc, "kind", KIND_WORDS, &kind, err))
        (void)rk_fail(err, RANKD_INVALID,
                      "kind of the bank is missing; it must be \"embeddings\" or \"scores\"");
    shape->is_embeddings = kind == 0;
    if (!rk_doc_uint(doc, "capacity", 1, 0x3fffffff, &capacity, err))
        (void)rk_fail(err, RANKD_INVALID,
                      "capacity of the bank is missing; it must be a number of items from 1 to 1073741823");
    if (shape->is_embeddings) {
        if (!rk_doc_uint(doc, "dim", 1, 65536, &dim, err))
            (void)rk_fail(err, RANKD_INVALID,
                          "dim of the bank is missing; it must be a number from 1 to 65536");
        shape->normalize = true;
        (void)rk_doc_flag(doc, "normalize", &shape->normalize, err);
    } else if (!rk_doc_uint(doc, "lists", 1, 1000000, &lists, err)) {
        (void)rk_fail(err, RANKD_INVALID,
                      "lists of the bank is missing; it must be a number from 1 to 1000000");
    }
    (void)rk_doc_word(doc, "datatype", DTYPE_WORDS, &dtype, err);
    (void)rk_doc_word(doc, "durability", RK_DURABILITY_WORDS, &config->durability, err);
    (void)rk_doc_word(doc, "on_full", RK_ON_FULL_WORDS, &config->on_full, err);
    if (live)
        (void)rk_doc_uint(doc, "live", 1, UINT64_MAX, live, err);
    shape->dim = dim;
    shape->lists = lists;
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
    rk_json_text(out, "kind", shape->is_embeddings ? "embeddings" : "scores");
    if (shape->is_embeddings) {
        rk_json_uint(out, "dim", shape->dim);
        rk_json_bool(out, "normalize", shape->normalize);
    } else {
        rk_json_uint(out, "lists", shape->lists);
    }
    rk_json_uint(out, "capacity", shape->capacity);
    rk_json_text(out, "datatype", dtype_names[dtype_position(shape->dtype)]);
    rk_json_text(out, "durability", durability_names[config->durability]);
    rk_json_text(out, "on_full", on_full_names[config->on_full]);
}

bool rk_bank_config_same(const struct rk_bank_config *a, const struct rk_bank_config *b)
{
    return a->shape.is_embeddings == b->shape.is_embeddings && a->shape.dim == b->shape.dim &&
           a->shape.lists == b->shape.lists && a->shape.capacity == b->shape.capacity &&
           a->shape.normalize == b->shape.normalize && a->shape.dtype == b->shape.dtype &&
           a->durability == b->durability && a->on_full == b->on_full;
}
