/* What the two ways to compute a list share: counting its relevant items out, and writing differences down.
 */
#ifndef RK_BLACKBOX_INTERNAL_H
#define RK_BLACKBOX_INTERNAL_H

#include "blackbox/blackbox.h"

/* Hands out pieces of one block of memory. With `base` NULL it only counts what would be handed out. */
struct rk_arena {
    char *base;
    size_t used;
};

static inline void *rk_arena_alloc(struct rk_arena *arena, size_t bytes)
{
    void *at = arena->base ? arena->base + arena->used : NULL;
    arena->used += (bytes + 63) / 64 * 64;
    return at;
}

/* Λ of a list. */
static inline double rk_box_lambda(const struct rk_blackbox *box, double w, uint32_t n)
{
    double lambda = box->lambda_per_n ? box->lambda * (double)n : box->lambda;
    return box->lambda_batch_scope ? lambda * w : lambda;
}

/* Fills list->position and list->raw from the targets (buffers of list->p); list->p becomes what was found,
 * which is less only if the targets changed. */
void rk_list_relevant(const struct rk_kernels *kernels, struct rk_pool *pool, struct rk_list *list,
                      uint32_t *position, float *raw);

/* Adds the p relevant items' Δ (not 0 only; ascending positions; index order) to what the strategy left in
 * the writer, and fills the gradient's fields of *out. */
void rk_list_add_relevant(const struct rk_list *list, const int32_t *delta, struct rk_pool *pool,
                          struct rk_gradient_writer *writer, struct rk_list_out *out);

/* The reference. Same contract as rk_list_run(). */
size_t rk_list_reference_scratch(uint32_t items);
enum rankd_status rk_list_reference(const struct rk_blackbox *box, double w, const struct rk_list *list,
                                    void *scratch, struct rk_list_out *out);

#endif
