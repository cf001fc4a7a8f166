/* SPDX-License-Identifier: Apache-2.0 */
/* Outputs of a reply, in the caller's memory or in new memory. */
#ifndef RK_REQUEST_OUT_H
#define RK_REQUEST_OUT_H

#include "request/bank_view.h"
#include "request/request.h"

/* Gives reply->out[which] its type, shape and memory: the caller's if it set `data`, else
 * malloc'ed; and marks it as there. Contents are not set. RANKD_INVALID where the caller's memory
 * is too small or not aligned to the type, RANKD_OVERLOADED without memory, RANKD_TOO_LARGE where
 * the shape overflows. */
enum rankd_status rk_out_prepare(struct rk_reply *reply, enum rk_output which, enum rk_dtype dtype,
                                 unsigned rank, const size_t *shape, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Same for a vector. */
enum rankd_status rk_out_vector(struct rk_reply *reply, enum rk_output which, enum rk_dtype dtype, size_t n,
                                struct rk_err *err) __attribute__((warn_unused_result));

/* The sparse pair of a dense gradient of n elements; those of the two that `outputs` asks for. */
enum rankd_status rk_out_compress(struct rk_reply *reply, unsigned outputs, const float *gradient, size_t n,
                                  struct rk_err *err) __attribute__((warn_unused_result));

/* Room for `n` entries of the sparse pair; those of the two that `outputs` asks for. */
enum rankd_status rk_out_sparse(struct rk_reply *reply, unsigned outputs, size_t n, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Bytes of an output that was written to the caller's memory; 0 if it is absent or was
 * malloc'ed. */
size_t rk_out_given(const struct rk_reply *reply, enum rk_output which);

#define RK_OUT_BIT(which) (1u << (which))
#define RK_OUT_SPARSE (RK_OUT_BIT(RK_OUT_GRADIENT_INDICES) | RK_OUT_BIT(RK_OUT_GRADIENT_VALUES))

/* How far the perturbation reaches: `jumped` pairs that changed places, of `relevant` items (ΣP of
 * the valid lists). */
static inline void rk_info_jumped(struct rk_info *info, uint64_t jumped, double relevant)
{
    rk_info_number(info, RANKD_REPLY_PAIRS_JUMPED, relevant > 0 ? (double)jumped / relevant : 0);
}

/* Sets the fields about the bank that was read; none of them if the request named no bank. */
static inline void rk_info_bank(struct rk_info *info, const struct rk_bank_snapshot *bank)
{
    if (!bank)
        return;
    info->has_bank = true;
    info->bank_items = bank->items;
    info->bank_version = bank->version;
    info->bank_generation = bank->generation;
}

#endif
