/* SPDX-License-Identifier: Apache-2.0 */
/* The contract between the daemon and a plugin that drives devices (build/rankd-cuda.so): plain C,
 * no symbol of the daemon's is used by the plugin, and one symbol of the plugin's by the daemon. */
#ifndef RK_DEVICE_PLUGIN_H
#define RK_DEVICE_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/tensor.h"
#include "request/param.h"
#include "request/port.h"

#define RK_DEVICE_NAME 128
#define RK_DEVICE_WHY 256
#define RK_DEVICE_HANDLE 64 /* bytes of an inter-process handle (cudaIpcMemHandle_t) */
#define RK_PLUGIN_VERSION 6u
/* The number of inputs, outputs, parameters and types at compile time: if a plugin and a daemon
 * differ in one of these, their numbers may have different meanings. */
#define RK_PLUGIN_VOCABULARY                                                                                 \
    ((uint32_t)RK_IN_COUNT << 24 | (uint32_t)RK_OUT_COUNT << 16 | (uint32_t)RK_PARAM_COUNT << 8 |            \
     (uint32_t)RK_DTYPE_COUNT)

enum rk_device_outcome {
    RK_DEVICE_DONE,
    RK_DEVICE_DECLINED, /* not for the device, or the input is bad: the CPU engine computes it, or finds the
                       sentence */
    RK_DEVICE_FAILED,   /* out of memory, or a temporary fault */
    RK_DEVICE_LOST      /* the device will not answer this process again */
};

struct rk_plugin_device; /* an opened device */

enum rk_device_call { RK_DEVICE_SCORES, RK_DEVICE_RANK, RK_DEVICE_RETRIEVAL, RK_DEVICE_CALLS };

/* What a call of the plugin's can compute, in bits 1u << number. A request that asks for anything
 * outside does not go to the device: the CPU engine computes it. So a loss, parameter or type that
 * a plugin does not know is never taken for another one. */
struct rk_device_capabilities {
    uint32_t losses;          /* enum rk_loss_number (loss.h) */
    uint32_t inputs, outputs; /* enum rk_input, rk_output: those that may be sent, and asked for */
    uint32_t params;          /* enum rk_param_id: those that may be given, or differ from their defaults */
    uint32_t words[RK_PARAM_COUNT]; /* the words of those that are choices: RK_SCOPE_* … */
    uint32_t score_dtypes, target_dtypes, upstream_dtypes; /* enum rk_dtype, of inputs */
    uint32_t row_dtypes;                                   /* of struct rk_device_row_block */
};

/* The wanted forms of a gradient with respect to [rows, columns] scores: dense, sparse, or both. */
struct rk_device_gradient {
    bool dense, sparse;
    float *data; /* [rows, columns], where it is wanted dense */
    bool on_device;
    /* Room for the sparse pair: called once with the number of elements, after which both pointers
     * that it sets (NULL: not wanted) are filled. False: no room; the call then answers
     * RK_DEVICE_DECLINED. Host memory. */
    bool (*sparse_room)(void *arg, size_t count, int64_t **index, float **value);
    void *sparse_arg;
    size_t nonzero; /* out */
};

/* The loss of a request, as struct rk_blackbox has it (blackbox.h). */
struct rk_device_blackbox {
    int number; /* enum rk_loss_number */
    bool lambda_per_n, lambda_batch_scope;
    double margin, lambda;
    /* All parameters of the request. Those that the plugin was not compiled for, and the loss
     * numbers and words that it does not list, never come at other values than their defaults: see
     * capabilities. */
    struct rk_loss_params params;
};

/* A matrix of scores and one of targets, both on the device or both in host memory; types as enum
 * rk_dtype. */
struct rk_device_scores_job {
    const void *scores, *targets; /* [rows, columns] each */
    bool scores_on_device, targets_on_device;
    int score_dtype, target_dtype;
    size_t rows, columns;
    bool by_column; /* each column is a list, else each row */

    struct rk_device_blackbox box;

    struct rk_device_gradient gradient;
    float *list_loss; /* [lists], host; NULL: not wanted */

    /* Out. */
    double loss;
    size_t lists, skipped, stalled;
    uint64_t jumped, relevant; /* with a gradient, of the lists without the flat one: as struct rk_list_out
                                  has it; ΣP */
};

/* The ranks of each row of scores, and the gradient of the ranking for an upstream of the caller's
 * own. */
struct rk_device_rank_job {
    const void *scores; /* [rows, columns] */
    bool scores_on_device;
    int score_dtype;
    size_t rows, columns;
    int64_t *ranks; /* [rows, columns], from 1; NULL: not wanted */
    bool ranks_on_device;
    const void *upstream; /* FP32 [rows, columns]; NULL: no gradient is wanted */
    bool upstream_on_device;
    double lambda, scale; /* y + lambda · upstream is ranked; the gradient is -Δ by `scale` */
    struct rk_device_gradient gradient;
};

/* Rows that are consecutive in memory, as in struct rk_row_block. `identity` is the permanent
 * number of their memory: a copy on the device under it stays valid, and more rows may follow; 0:
 * not worth keeping. */
struct rk_device_row_block {
    const void *rows; /* [items, dim] */
    int dtype;        /* enum rk_dtype: FP32, FP16, BF16 */
    size_t items;
    uint64_t identity;
    size_t first; /* of `rows`, counted from the beginning of that memory */
};

/* One query of a retrieval request. */
struct rk_device_query {
    const uint32_t *relevant, *ignored; /* positions on the ranked axis, ascending */
    uint32_t relevants, ignoreds;
    double w;
    /* Out. */
    double loss;
    bool done, stalled;
    uint64_t jumped; /* with a gradient */
};

struct rk_device_retrieval_job {
    const float *own; /* [own_items, dim]: the batch (queries), then the references, as ranked */
    size_t n_queries, own_items, total, dim;
    const struct rk_device_row_block *row_block; /* the rest of the ranked axis */
    size_t row_blocks;
    struct rk_device_query *query; /* [queries], ascending in `row` */
    const uint32_t *row;           /* [queries]: which item of the batch each is */
    size_t queries;
    bool check_nan, gradient;
    struct rk_device_blackbox box;
    double *sum; /* [own_items, dim]: gradients are added to it; NULL unless `gradient` */
};

struct rk_device_memory {
    size_t used, limit;
    size_t pinned; /* host memory that pin() told it about */
};

struct rk_device_plugin {
    uint32_t version, vocabulary; /* RK_PLUGIN_VERSION, RK_PLUGIN_VOCABULARY */
    struct rk_device_capabilities knows[RK_DEVICE_CALLS];
    /* NULL and a sentence in why[RK_DEVICE_WHY] if that device can't be used. `limit`: bytes of its
     * memory that may be held, 0: half of what is free. name[RK_DEVICE_NAME] is filled. */
    struct rk_plugin_device *(*open)(int ordinal, size_t limit, char *name, char *why);
    void (*close)(struct rk_plugin_device *device); /* no call may be running; NULL is fine */
    /* Any threads at a time. Not DONE: why[RK_DEVICE_WHY] says the reason where it is the
     * device's. */
    enum rk_device_outcome (*scores)(struct rk_plugin_device *device, struct rk_device_scores_job *job,
                                     char *why);
    enum rk_device_outcome (*rank)(struct rk_plugin_device *device, struct rk_device_rank_job *job,
                                   char *why);
    enum rk_device_outcome (*retrieval)(struct rk_plugin_device *device, struct rk_device_retrieval_job *job,
                                        char *why);
    /* To and from the device; synchronous. */
    enum rk_device_outcome (*fetch)(struct rk_plugin_device *device, void *host, const void *on_device,
                                    size_t bytes, char *why);
    enum rk_device_outcome (*store)(struct rk_plugin_device *device, void *on_device, const void *host,
                                    size_t bytes, char *why);
    /* Memory that another process exported (cudaIpcGetMemHandle). `bytes` is set to the size of its
     * allocation from the address on. The address is good until unmap. */
    enum rk_device_outcome (*map)(struct rk_plugin_device *device, const unsigned char *handle,
                                  void **address, size_t *bytes, char *why);
    void (*unmap)(struct rk_plugin_device *device, void *address);
    struct rk_device_memory (*memory)(struct rk_plugin_device *device);
    /* Host memory with tensors of later calls: its pages are locked, and the device reads and
     * writes there itself. Until unpin, with no call running that uses it, and before it is
     * unmapped. */
    enum rk_device_outcome (*pin)(struct rk_plugin_device *device, void *memory, size_t bytes, char *why);
    void (*unpin)(struct rk_plugin_device *device, void *memory);
};

/* The plugin's only symbol. */
#define RK_PLUGIN_SYMBOL "rk_plugin"
typedef const struct rk_device_plugin *rk_plugin_entry(void);

#endif
