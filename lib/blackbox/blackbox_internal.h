/* SPDX-License-Identifier: Apache-2.0 */
/* What all ways to compute a list share: finding its relevant items, and writing differences.
 *
 *   list_run.c -> blackbox.c, reference.c -> relevant.c, list.c, unit_scale.c */
#ifndef RK_BLACKBOX_INTERNAL_H
#define RK_BLACKBOX_INTERNAL_H

#include "base/arena.h"
#include "blackbox/blackbox.h"

/* Λ of a list. */
static inline double rk_box_lambda(const struct rk_blackbox *box, double w, uint32_t n)
{
    double lambda = box->lambda_per_n ? box->lambda * (double)n : box->lambda;
    return box->lambda_batch_scope ? lambda * w : lambda;
}

/* Whether the segments of a list have grades. */
static inline bool rk_list_has_grades(const struct rk_list *list)
{
    return list->segments > 0 && list->segment[0].grades.first;
}

/* Fills list->position and list->raw from the targets (buffers of list->p), and `grade`, unless it
 * is NULL; list->p becomes what was found, which is less only if the targets changed. */
void rk_list_relevant(const struct rk_kernels *kernels, struct rk_pool *pool, enum rk_target_rule rule,
                      struct rk_list *list, uint32_t *position, float *raw, double *grade);

/* Adds the p relevant items' Δ (not 0 only; ascending positions; index order) to what the strategy
 * left in the writer, and fills the gradient's fields of *out. */
void rk_list_add_relevant(const struct rk_list *list, const int32_t *delta, struct rk_pool *pool,
                          struct rk_gradient_writer *writer, struct rk_list_out *out);

/* The differences of more relevant items than this do not fit FP32 (a test sets another limit). */
#ifndef RK_UNIT_SCALE_EXACT
#define RK_UNIT_SCALE_EXACT (UINT32_C(1) << 24)
#endif

/* Before the strategy moves p relevant items: makes it write differences to the dense gradient,
 * unless they could be too large. */
void rk_unit_scale_begin(uint32_t p, struct rk_gradient_writer *writer);

/* S of a list, from `jumped` of rk_list_out and the p relevant items' Δ. */
double rk_unit_scale_sum(const int32_t *delta, uint32_t p, uint64_t jumped);

/* The irrelevant items' differences in writer->dense [items] become gradients, with its w and
 * divisor. */
void rk_unit_scale_dense(const struct rk_kernels *kernels, struct rk_pool *pool, uint32_t items,
                         const struct rk_gradient_writer *writer);

/* A way to compute a list, of enum rk_list_way. */
struct rk_list_method {
    /* Bytes of scratch that run() takes at most. */
    size_t (*scratch)(const struct rk_kernels *kernels, uint32_t items, uint32_t p, enum rk_dtype dtype,
                      unsigned threads, unsigned wants);
    /* rk_list_run(), with out->lambda set and all other results zero. RANKD_DEADLINE: without a
     * sentence in the error. */
    enum rankd_status (*run)(const struct rk_exec *exec, const struct rk_kernels *kernels,
                             const struct rk_blackbox *box, double w, struct rk_list *list, void *scratch,
                             struct rk_list_out *out);
};
extern const struct rk_list_method rk_list_streamed;  /* blackbox.c */
extern const struct rk_list_method rk_list_reference; /* reference.c */

#endif
