/* SPDX-License-Identifier: Apache-2.0 */
/* Blackbox differentiation of one list: its loss and how the rank of each item changes under the
 * perturbation.
 *
 * Source: Rolínek, Musil, Paulus, Vlastelica, Michaelis, Martius, "Optimizing Rank-based Metrics
 * with Blackbox Differentiation", CVPR 2020. With y the scores after the margin, rk(y) their ranks,
 * L the list's loss and g = dL/drk at the relevant items (0 elsewhere):
 *
 *   y'   = y + Λ·g                       each rounded to FP32
 *   Δ    = rk(y) - rk(y')
 *   grad = (-w·Δ)/Λ                      w = weight of the list in the whole loss
 *
 * or, with the unit scale, (-w·Δ)/S with S = Σ|Δ| over all items of the list: a badly ranked list
 * has many large Δ, so with Λ as the divisor a few such lists make up nearly all of a batch's
 * gradient. */
#ifndef RK_BLACKBOX_H
#define RK_BLACKBOX_H

#include "base/err.h"
#include "base/exec.h"
#include "kernels/kernel.h"
#include "losses/loss.h"
#include "request/request.h"

/* Settings shared by all lists of a request. */
struct rk_blackbox {
    const struct rk_loss *loss;
    struct rk_loss_params params; /* of the request, for the loss */
    enum rk_target_rule rule;     /* what grades may be */
    double margin;                /* relevant scores are lowered, the others raised by half of it */
    double lambda;                /* λ as given */
    bool lambda_per_n;            /* Λ = λ·n; else Λ = λ */
    bool lambda_batch_scope;      /* Λ is multiplied by the list's w too */
    bool unit_scale;              /* the gradient is divided by S; else by Λ */
};

/* Those of a request for a loss (checked). On normalized embeddings, the margin is 0.1 unless one
 * was sent. */
struct rk_blackbox rk_blackbox_of(const struct rk_request *request);

/* Whether the embeddings of the request are normalized: its bank decides, if it has one. */
bool rk_request_normalizes(const struct rk_request *request);

/* What to compute for a list, and where to write it. */
struct rk_list_out {
    /* In. `gradient` false: only the loss. Otherwise one of dense ([differentiable], every element
     * written) and sparse. */
    bool gradient;
    float *dense;
    struct rk_delta *sparse; /* [room], ascending in position; relevant items included */
    size_t room;

    /* Out. */
    double loss;     /* of the list, before w */
    double lambda;   /* Λ */
    double divisor;  /* grad = (-w·Δ)/divisor: Λ, or S with the unit scale; Λ if nothing moved */
    size_t nonzero;  /* differentiable items with Δ != 0. In the range of w and λ their gradient does not
                        vanish in FP32 */
    size_t deltas;   /* sparse: entries. More than `room`: what was written is not to be used; call again */
    bool stalled;    /* loss > 0 and no irrelevant item changed its rank (only with gradient) */
    uint64_t jumped; /* pairs that changed places: Σ|Δ| of the irrelevant items (only with gradient) */
    uint64_t abs_differentiable; /* Σ|Δ| of differentiable items, relevant ones included; only where
                                    differentiable < items */
    uint64_t abs_bank;           /* and of the others */
    uint32_t nan;                /* position of the first NaN, if the status is RANKD_INVALID */
};

/* What the memory for a list depends on beside its size. */
enum rk_list_wants {
    RK_LIST_LOSS = 0,
    RK_LIST_GRADIENT = 1, /* the gradient too */
    RK_LIST_GRADES = 2    /* its segments have grades */
};

/* What the output list_loss says of a list. */
static inline float rk_list_loss_shown(const struct rk_blackbox *box, double loss, bool stalled)
{
    return (float)(box->params.mark_stalled && stalled ? -loss : loss);
}

/* Bytes of scratch that rk_list_run() takes at most for a list of that many items and relevant
 * items. `wants`: of enum rk_list_wants. */
size_t rk_list_scratch(const struct rk_kernels *kernels, uint32_t items, uint32_t p, enum rk_dtype dtype,
                       unsigned threads, unsigned wants);

/* The most of these for any p, any kernels and up to that many threads. */
size_t rk_list_scratch_most(uint32_t items, enum rk_dtype dtype, unsigned threads, unsigned wants);

/* For lists that are not computed because p = 0: does an item that is not ignored have no score,
 * and which is the first (position; 0 if there is none)? */
bool rk_list_has_nan(const struct rk_list *list);
uint32_t rk_list_first_nan(const struct rk_list *list);

/* Computes one list. In *list the fields segment, segments, items, differentiable, n and p are set
 * by the caller (n and p as counted from the targets, p > 0); position and raw are filled here. If
 * the targets changed since they were counted, the result is unspecified. `scratch`:
 * rk_list_scratch() bytes, 64-byte aligned. `exec` for threads and deadline. Returns RANKD_OK,
 * RANKD_INVALID (a NaN among the items that are not ignored: out->nan; *err is left alone, because
 * only the caller knows the item's name), RANKD_DEADLINE (*err set). Not RANKD_OK: outputs are
 * unspecified. */
enum rankd_status rk_list_run(const struct rk_exec *exec, const struct rk_kernels *kernels,
                              const struct rk_blackbox *box, double w, struct rk_list *list, void *scratch,
                              struct rk_list_out *out, struct rk_err *err)
    __attribute__((warn_unused_result));

#endif
