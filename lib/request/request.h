/* SPDX-License-Identifier: Apache-2.0 */
/* A request and its reply: one value each, whichever transport they came over.
 *
 * A transport (JSON, binary HTTP, ring) fills a struct rk_request; rk_engine_run() checks and
 * computes it; the transport writes the struct rk_reply out in its own format. Transports know
 * formats, not losses; losses know lists, not formats. */
#ifndef RK_REQUEST_H
#define RK_REQUEST_H

#include "base/err.h"
#include "base/exec.h"
#include "base/tensor.h"
#include "rankd_types.h"
#include "request/param.h"
#include "request/port.h"

/* One row per input or output, for metadata and error sentences. */
struct rk_port_row {
    const char *name;
    unsigned dtypes; /* bit 1u << RK_FP32 … */
    unsigned rank;
    const char *shape; /* "[Q, N]" */
    const char *help;
};
extern const struct rk_port_row rk_input_rows[RK_IN_COUNT];
extern const struct rk_port_row rk_output_rows[RK_OUT_COUNT];

/* A model is a row in a table (lib/losses/models.c), of which each loss is one
 * (lib/losses/losses.def). */
struct rk_model {
    const char *name;
    unsigned inputs_scores;          /* bits 1u << RK_IN_*: the inputs of the scores route, all required */
    unsigned inputs_scores_optional; /* optional inputs of that route */
    unsigned inputs_embeddings;      /* those of the embeddings route that are required; 0 = no such route */
    unsigned inputs_optional;        /* those that may come with the embeddings route */
    unsigned outputs;                /* bits 1u << RK_OUT_*: those that may be asked for */
    unsigned outputs_default;        /* what is returned if none is asked for */
    unsigned use_scores;             /* RK_USE_* of the scores route */
    unsigned use_embeddings;         /* and of the embeddings route */
    uint32_t takes;                  /* bits 1u << RK_PARAM_*: parameters beside those, on both routes */
    const char *help;
    const struct rk_loss *loss; /* lib/losses/loss.h; NULL for rank and rank_vjp */
};
struct rk_model_table {
    const struct rk_model *rows;
    size_t count;
};
extern const struct rk_model rk_models[];
extern const size_t rk_model_count;
const struct rk_model *rk_model_find(const char *name); /* NULL if there is none */

/* Whether targets are grades for it: so for a loss that takes the parameter `gain`. */
bool rk_model_graded(const struct rk_model *model);
/* Bits 1u << RK_IN_* of all inputs of a model. */
static inline unsigned rk_model_inputs(const struct rk_model *model)
{
    return model->inputs_scores | model->inputs_scores_optional | model->inputs_embeddings |
           model->inputs_optional;
}

/* Bits 1u << RK_PARAM_* of the parameters that a route of the model takes; 0 where it has no such
 * route. */
uint32_t rk_model_params(const struct rk_model *model, bool embeds);

struct rk_bank_snapshot; /* lib/bank/bank.h: a bank as of one version */

/* All pointers are borrowed: the caller keeps them alive until rk_engine_run() returned. Tensor
 * contents may change while the engine reads them (a shared segment): results are then unspecified,
 * accesses stay in bounds. */
struct rk_request {
    const struct rk_model *model;
    struct rk_tensor in[RK_IN_COUNT]; /* .data NULL: not sent */
    unsigned outputs;                 /* bits 1u << RK_OUT_*; 0 = the model's defaults */
    struct rk_params params;
    const struct rk_bank_snapshot *bank_snapshot; /* the items of the bank that are ranked; NULL: no bank */
    const struct rk_bank_snapshot
        *bank_whole; /* all items of that version; NULL: bank_snapshot has them all */
    size_t longest;  /* with offsets: items of the longest list, by rk_offsets_longest(), so that memory is
                        planned for that; a run in which one is longer is refused. 0: any list may have all
                        items */
};

/* An output. If the caller sets `data` (and `capacity` in bytes) before the call, the result is
 * written there and a too small capacity is RANKD_INVALID with the needed bytes in the sentence
 * (and `bytes` set to what is needed); otherwise it is malloc'ed and `owned` set, and
 * rk_reply_clear() frees it. */
struct rk_out {
    enum rk_dtype dtype;
    unsigned rank;
    size_t shape[RK_MAX_RANK];
    void *data;
    size_t capacity;
    size_t bytes;
    bool owned;
    bool on_device; /* `data` was set by the caller to an address on the device; never owned */
};

/* Contents of the reply beside its tensors. */
struct rk_info {
    double loss; /* FP64, before its rounding to the FP32 output */
    size_t lists, lists_skipped, lists_stalled, gradient_nonzero;
    bool has_gradient; /* stalled and nonzero count only then */
    bool has_bank;     /* the bank_* fields count only then */
    size_t bank_items;
    uint64_t bank_version, bank_version_appended, bank_generation; /* appended: 0 = nothing was */
    bool has_chain;      /* the bank is in a store; only then bank_chain is valid */
    char bank_chain[33]; /* of the version that was read, 32 hexadecimal digits; "" = not known any more */
    double gradient_dropped;            /* score banks: share of |gradient| that fell on memory */
    bool on_device;                     /* computed by the device, or mostly so */
    uint32_t numbers;                   /* bits 1u << RANKD_REPLY_*: which of number[] are there */
    double number[RANKD_REPLY_NUMBERS]; /* NaN: null */
};

static inline void rk_info_number(struct rk_info *info, enum rankd_reply_number which, double value)
{
    info->numbers |= 1u << which;
    info->number[which] = value;
}

struct rk_reply {
    struct rk_out out[RK_OUT_COUNT]; /* .data NULL after the call: not asked for */
    unsigned outputs;                /* bits of those that are there */
    struct rk_info info;
};

/* Frees owned outputs; fine on a zeroed reply, and twice. */
void rk_reply_clear(struct rk_reply *reply);

#endif
