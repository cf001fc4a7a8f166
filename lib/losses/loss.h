/* A loss of a ranked list: what the list costs, and how that grows with each relevant item's rank.
 *
 * A loss is one file lib/losses/<name>.c, a number below, and one row in lib/losses/models.c. The CPU engine
 * computes it then; a device once its plugin lists the number. */
#ifndef RK_LOSSES_LOSS_H
#define RK_LOSSES_LOSS_H

#include <stdint.h>

/* By these numbers a device's plugin knows losses (device_plugin.h): each keeps its own, new ones come
 * behind.
 */
enum rk_loss_number {
    RK_LOSS_NONE, /* rank and rank_vjp */
    RK_LOSS_AP,
    RK_LOSS_RECALL
};

struct rk_loss {
    const char *name;
    enum rk_loss_number number;
    /* The loss of one list from its p > 0 relevant items, in the order in which they are ranked.
     *   irrelevant_above[k]  irrelevant items ahead of the k-th relevant one; its rank is rk = rp +
     * irrelevant_above[k], with rp = k + 1 its rank among the relevant ones; transform    RK_TRANSFORM_*, for
     * losses that have it; slope[k]  d loss / d rk, rp held constant, where `slope` is not NULL (the g of the
     * blackbox method). Deterministic: the terms are added in order of k, with compensation. */
    double (*list)(uint32_t p, const uint32_t *irrelevant_above, int transform, double *slope);
};

extern const struct rk_loss rk_loss_ap;
extern const struct rk_loss rk_loss_recall;

#endif
