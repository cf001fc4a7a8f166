// The abilities of this plugin (device_plugin.h). Only values that the kernels were written and checked for
// are listed, by name: a value that is added to an enumeration later is not computed on a device before it is
// added here.
#pragma once

#include "cuda/device.cuh"
#include "device/device_plugin.h"
#include "losses/loss.h"

namespace rk
{

template <class... Number> constexpr uint32_t bits(Number... number)
{
    return ((1u << static_cast<unsigned>(number)) | ...);
}

constexpr uint32_t ANY_SCOPE = bits(RK_SCOPE_LIST, RK_SCOPE_BATCH);
constexpr uint32_t ANY_UNITS = bits(RK_UNITS_NORMALIZED, RK_UNITS_RANK);
constexpr uint32_t ANY_AVERAGE = bits(RK_AVERAGE_MACRO, RK_AVERAGE_MICRO, RK_AVERAGE_SUM);
constexpr uint32_t ANY_AXIS = bits(RK_AXIS_COLUMNS, RK_AXIS_ROWS);
constexpr uint32_t ANY_TRANSFORM = bits(RK_TRANSFORM_LOG, RK_TRANSFORM_LOGLOG, RK_TRANSFORM_IDENTITY);
constexpr uint32_t ANY_SCORES = bits(RK_FP64, RK_FP32, RK_FP16, RK_BF16);

constexpr rk_device_capabilities KNOWS_SCORES = {
    bits(RK_LOSS_AP, RK_LOSS_RECALL),
    bits(RK_IN_SCORES, RK_IN_TARGETS),
    bits(RK_OUT_LOSS, RK_OUT_GRADIENT, RK_OUT_LIST_LOSS, RK_OUT_GRADIENT_INDICES, RK_OUT_GRADIENT_VALUES),
    bits(RK_PARAM_lambda, RK_PARAM_lambda_scope, RK_PARAM_lambda_units, RK_PARAM_margin, RK_PARAM_average,
         RK_PARAM_axis, RK_PARAM_interclass, RK_PARAM_transform, RK_PARAM_enqueue, RK_PARAM_batch_id),
    ANY_SCOPE,
    ANY_UNITS,
    ANY_AVERAGE,
    ANY_AXIS,
    ANY_TRANSFORM,
    ANY_SCORES,
    bits(RK_BOOL, RK_UINT8, RK_INT8, RK_INT32, RK_INT64, RK_FP32),
    0,
    0,
};

constexpr rk_device_capabilities KNOWS_RANK = {
    bits(RK_LOSS_NONE),
    bits(RK_IN_SCORES, RK_IN_UPSTREAM),
    bits(RK_OUT_RANKS, RK_OUT_GRADIENT, RK_OUT_GRADIENT_INDICES, RK_OUT_GRADIENT_VALUES),
    bits(RK_PARAM_lambda, RK_PARAM_lambda_units),
    ANY_SCOPE,
    ANY_UNITS,
    ANY_AVERAGE,
    bits(RK_AXIS_ROWS),
    ANY_TRANSFORM,
    ANY_SCORES,
    0,
    bits(RK_FP32),
    0,
};

// The host reads embeddings, labels, ids, masks and references, and normalizes; the device gets rows and
// positions.
constexpr rk_device_capabilities KNOWS_RETRIEVAL = {
    bits(RK_LOSS_AP, RK_LOSS_RECALL),
    bits(RK_IN_EMBEDDINGS, RK_IN_LABELS, RK_IN_IDS, RK_IN_ENQUEUE_MASK, RK_IN_REF_EMBEDDINGS,
         RK_IN_REF_LABELS, RK_IN_REF_IDS),
    bits(RK_OUT_LOSS, RK_OUT_GRADIENT, RK_OUT_LIST_LOSS, RK_OUT_REF_GRADIENT),
    bits(RK_PARAM_lambda, RK_PARAM_lambda_scope, RK_PARAM_lambda_units, RK_PARAM_margin, RK_PARAM_average,
         RK_PARAM_transform, RK_PARAM_normalize, RK_PARAM_bank, RK_PARAM_enqueue, RK_PARAM_batch_id),
    ANY_SCOPE,
    ANY_UNITS,
    ANY_AVERAGE,
    bits(RK_AXIS_ROWS),
    ANY_TRANSFORM,
    0,
    0,
    0,
    bits(RK_FP32, RK_FP16, RK_BF16),
};

// The daemon checks before it sends a job; other callers may not.
inline bool is_recall(int loss_number)
{
    if (loss_number != RK_LOSS_AP && loss_number != RK_LOSS_RECALL)
        throw Declined{};
    return loss_number == RK_LOSS_RECALL;
}

} // namespace rk
