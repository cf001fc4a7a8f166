/* The inputs and outputs of all models, by number. A device's plugin speaks of them too (device_plugin.h). */
#ifndef RK_REQUEST_PORT_H
#define RK_REQUEST_PORT_H

enum rk_input {
    RK_IN_SCORES,
    RK_IN_TARGETS,
    RK_IN_UPSTREAM,
    RK_IN_EMBEDDINGS,
    RK_IN_LABELS,
    RK_IN_IDS,
    RK_IN_ENQUEUE_MASK,
    RK_IN_REF_EMBEDDINGS,
    RK_IN_REF_LABELS,
    RK_IN_REF_IDS,
    RK_IN_COUNT
};

enum rk_output {
    RK_OUT_LOSS,
    RK_OUT_GRADIENT,
    RK_OUT_LIST_LOSS,
    RK_OUT_RANKS,
    RK_OUT_GRADIENT_INDICES,
    RK_OUT_GRADIENT_VALUES,
    RK_OUT_REF_GRADIENT,
    RK_OUT_COUNT
};

#endif
