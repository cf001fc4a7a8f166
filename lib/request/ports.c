/* The inputs and outputs of all models. */
#include "request/request.h"

#define BIT(x) (1u << (x))
#define FLOATS (BIT(RK_FP64) | BIT(RK_FP32) | BIT(RK_FP16) | BIT(RK_BF16))
#define TARGETS (BIT(RK_BOOL) | BIT(RK_UINT8) | BIT(RK_INT8) | BIT(RK_INT32) | BIT(RK_INT64) | BIT(RK_FP32))
#define LABELS (BIT(RK_INT64) | BIT(RK_INT32))

const struct rk_port_row rk_input_rows[RK_IN_COUNT] = {
    [RK_IN_SCORES] = {"scores", FLOATS, 2, "[Q, N]",
                      "The score of each item. Each row is a list, or each column with axis 0."},
    [RK_IN_TARGETS] = {"targets", TARGETS, 2, "[Q, N]", "1 relevant, 0 irrelevant, -1 ignored."},
    [RK_IN_UPSTREAM] = {"upstream", BIT(RK_FP32), 2, "[Q, N]",
                        "The derivative of the loss with respect to each rank."},
    [RK_IN_EMBEDDINGS] = {"embeddings", FLOATS, 2, "[B, d]",
                          "A vector per item; each ranks all others by inner product."},
    [RK_IN_LABELS] = {"labels", LABELS, 1, "[B]",
                      "The class of each item; equal labels are relevant, -1 is relevant to nothing."},
    [RK_IN_IDS] = {"ids", BIT(RK_INT64), 1, "[B]",
                   "A query ignores the items that bear its own id; -1 is none."},
    [RK_IN_ENQUEUE_MASK] = {"enqueue_mask", BIT(RK_BOOL), 1, "[B]", "Which items are appended to the bank."},
    [RK_IN_REF_EMBEDDINGS] = {"ref_embeddings", FLOATS, 2, "[R, d]",
                              "More items to rank that are not queries."},
    [RK_IN_REF_LABELS] = {"ref_labels", LABELS, 1, "[R]", "Their classes."},
    [RK_IN_REF_IDS] = {"ref_ids", BIT(RK_INT64), 1, "[R]", "Their ids."},
};

const struct rk_port_row rk_output_rows[RK_OUT_COUNT] = {
    [RK_OUT_LOSS] = {"loss", BIT(RK_FP32), 1, "[1]", "The loss."},
    [RK_OUT_GRADIENT] = {"gradient", BIT(RK_FP32), 2, "[Q, N] or [B, d]",
                         "Its gradient with respect to the scores or embeddings as they were sent."},
    [RK_OUT_LIST_LOSS] = {"list_loss", BIT(RK_FP32), 1, "[lists]",
                          "The loss of each list; NaN where it was skipped."},
    [RK_OUT_RANKS] = {"ranks", BIT(RK_INT64), 2, "[Q, N]", "The rank of each item, 1 is the best."},
    [RK_OUT_GRADIENT_INDICES] = {"gradient_indices", BIT(RK_INT64), 1, "[nnz]",
                                 "Where the gradient is not zero: flat positions, ascending."},
    [RK_OUT_GRADIENT_VALUES] = {"gradient_values", BIT(RK_FP32), 1, "[nnz]",
                                "The gradient at those positions."},
    [RK_OUT_REF_GRADIENT] = {"ref_gradient", BIT(RK_FP32), 2, "[R, d]",
                             "The gradient with respect to ref_embeddings."},
};
