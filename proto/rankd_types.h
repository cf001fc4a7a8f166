/* Numbers for element types, inputs and outputs: the same in the ring's memory and in the client library. */
#ifndef RANKD_TYPES_H
#define RANKD_TYPES_H

/* Element types, in the order in which the Open Inference Protocol's names are listed in openapi.yaml. */
enum rankd_dtype {
    RANKD_BOOL,
    RANKD_UINT8,
    RANKD_INT8,
    RANKD_INT32,
    RANKD_INT64,
    RANKD_FP16,
    RANKD_BF16,
    RANKD_FP32,
    RANKD_FP64,
    RANKD_DTYPE_COUNT
};

/* Inputs of a request. */
enum rankd_input {
    RANKD_IN_SCORES,
    RANKD_IN_TARGETS,
    RANKD_IN_UPSTREAM,
    RANKD_IN_EMBEDDINGS,
    RANKD_IN_LABELS,
    RANKD_IN_IDS,
    RANKD_IN_ENQUEUE_MASK,
    RANKD_IN_REF_EMBEDDINGS,
    RANKD_IN_REF_LABELS,
    RANKD_IN_REF_IDS,
    RANKD_IN_COUNT
};

/* Outputs of a request. */
enum rankd_output {
    RANKD_OUT_LOSS,             /* FP32 [1] */
    RANKD_OUT_GRADIENT,         /* FP32, the shape of the scores or embeddings */
    RANKD_OUT_LIST_LOSS,        /* FP32 [lists], NaN where a list was skipped */
    RANKD_OUT_RANKS,            /* INT64, the shape of the scores */
    RANKD_OUT_GRADIENT_INDICES, /* INT64 [nnz], flat and ascending */
    RANKD_OUT_GRADIENT_VALUES,  /* FP32 [nnz] */
    RANKD_OUT_REF_GRADIENT,     /* FP32, the shape of ref_embeddings */
    RANKD_OUT_COUNT
};

#endif
