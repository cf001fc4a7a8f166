/* SPDX-License-Identifier: Apache-2.0 */
// The abilities of this plugin (device_plugin.h). Only values that the kernels were written and
// checked for are listed, by name: a value that is added to an enumeration later is not computed on
// a device before it is added here. Losses say in their own table whether they have a term for
// devices.
#pragma once

#include "cuda/device.cuh"
#include "cuda/job.cuh"
#include "device/device_plugin.h"
#include "losses/loss.h"

namespace rk
{

template <class... Number> constexpr uint32_t bits(Number... number)
{
    return ((1u << static_cast<unsigned>(number)) | ...);
}

constexpr uint32_t ANY_SCORES = bits(RK_FP64, RK_FP32, RK_FP16, RK_BF16);

// The losses that have a term for devices.
constexpr uint32_t LOSSES = 0
#define RK_LOSS(number, name, takes, help)
#define RK_LOSS_ON_DEVICE(number, name, takes, help) | 1u << (number)
#include "losses/losses.def"
    ;
constexpr uint32_t BLACKBOX = bits(RK_PARAM_lambda, RK_PARAM_lambda_scope, RK_PARAM_lambda_units,
                                   RK_PARAM_margin, RK_PARAM_average, RK_PARAM_transform, RK_PARAM_enqueue,
                                   RK_PARAM_batch_id, RK_PARAM_gradient_scale, RK_PARAM_mark_stalled);

constexpr rk_device_capabilities with_words(rk_device_capabilities knows)
{
    knows.words[RK_PARAM_lambda_scope] = bits(RK_SCOPE_LIST, RK_SCOPE_BATCH);
    knows.words[RK_PARAM_lambda_units] = bits(RK_UNITS_NORMALIZED, RK_UNITS_RANK);
    knows.words[RK_PARAM_gradient_scale] = bits(RK_SCALE_LAMBDA);
    knows.words[RK_PARAM_average] = bits(RK_AVERAGE_MACRO, RK_AVERAGE_MICRO, RK_AVERAGE_SUM);
    knows.words[RK_PARAM_axis] = bits(RK_AXIS_COLUMNS, RK_AXIS_ROWS);
    knows.words[RK_PARAM_gallery] = bits(RK_GALLERY_ALL);
    knows.words[RK_PARAM_transform] = bits(RK_TRANSFORM_LOG, RK_TRANSFORM_LOGLOG, RK_TRANSFORM_IDENTITY);
    return knows;
}

constexpr rk_device_capabilities KNOWS_SCORES = with_words({
    LOSSES,
    bits(RK_IN_SCORES, RK_IN_TARGETS),
    bits(RK_OUT_LOSS, RK_OUT_GRADIENT, RK_OUT_LIST_LOSS, RK_OUT_GRADIENT_INDICES, RK_OUT_GRADIENT_VALUES),
    BLACKBOX | bits(RK_PARAM_axis, RK_PARAM_interclass),
    {},
    ANY_SCORES,
    bits(RK_BOOL, RK_UINT8, RK_INT8, RK_INT32, RK_INT64, RK_FP32),
    0,
    0,
});

constexpr rk_device_capabilities KNOWS_RANK = with_words({
    bits(RK_LOSS_NONE),
    bits(RK_IN_SCORES, RK_IN_UPSTREAM),
    bits(RK_OUT_RANKS, RK_OUT_GRADIENT, RK_OUT_GRADIENT_INDICES, RK_OUT_GRADIENT_VALUES),
    bits(RK_PARAM_lambda, RK_PARAM_lambda_units),
    {},
    ANY_SCORES,
    0,
    bits(RK_FP32),
    0,
});

// The host reads embeddings, labels, ids, masks and references, and normalizes; the device gets
// rows and positions.
constexpr rk_device_capabilities KNOWS_RETRIEVAL = with_words({
    LOSSES,
    bits(RK_IN_EMBEDDINGS, RK_IN_LABELS, RK_IN_IDS, RK_IN_ENQUEUE_MASK, RK_IN_REF_EMBEDDINGS,
         RK_IN_REF_LABELS, RK_IN_REF_IDS),
    bits(RK_OUT_LOSS, RK_OUT_GRADIENT, RK_OUT_LIST_LOSS, RK_OUT_REF_GRADIENT),
    BLACKBOX |
        bits(RK_PARAM_normalize, RK_PARAM_gallery, RK_PARAM_bank, RK_PARAM_bank_read, RK_PARAM_bank_max_age),
    {},
    0,
    0,
    0,
    bits(RK_FP32, RK_FP16, RK_BF16),
});

// A job's loss, for the kernels. The daemon asks before it sends; other callers may not.
inline Box box_of(const rk_device_blackbox &from, double factor, int average, bool by_rank)
{
    if (from.number < 0 || from.number > 31 || !(LOSSES >> from.number & 1))
        throw Declined{};
    Box box = {};
    box.loss = from.number;
    box.lambda_per_n = from.lambda_per_n;
    box.lambda_batch_scope = from.lambda_batch_scope;
    box.average = average;
    box.half_margin = from.margin / 2;
    box.lambda = from.lambda;
    box.params = from.params;
    box.factor = factor;
    box.by_rank = by_rank;
    return box;
}

} // namespace rk
