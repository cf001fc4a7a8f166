/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors: typed views of memory. A view owns nothing. */
#ifndef RK_BASE_TENSOR_H
#define RK_BASE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Datatypes of the Open Inference Protocol that rankd accepts. The order is part of the wire format
 * of the ring. */
enum rk_dtype {
    RK_BOOL,
    RK_UINT8,
    RK_INT8,
    RK_INT32,
    RK_INT64,
    RK_FP16,
    RK_BF16,
    RK_FP32,
    RK_FP64,
    RK_DTYPE_COUNT
};

#define RK_MAX_RANK 2 /* every tensor of every model is a vector or a matrix */

/* Largest number of items in a list: ranks and their differences fit 32 bits. */
#define RK_LIST_MAX 0x7fffffffu

/* A row-major view. `data` is NULL if the tensor is absent; it may have any alignment, because
 * binary tensors follow a JSON part of any length. `bytes` is exactly the product of the shape
 * times the size of the type. The owner of `data` keeps it alive while the view is used. */
struct rk_tensor {
    enum rk_dtype dtype;
    unsigned rank;
    size_t shape[RK_MAX_RANK];
    const void *data;
    size_t bytes;
    bool on_device; /* data is an address on the device (device.h), not to be read here */
};

/* "FP32" for RK_FP32; "?" outside the enumeration. Never NULL. */
const char *rk_dtype_name(enum rk_dtype dtype);

/* Size of an element in bytes; 0 outside the enumeration. Inline, as it is asked for in every
 * list. */
static inline size_t rk_dtype_size(enum rk_dtype dtype)
{
    switch (dtype) {
    case RK_BOOL:
    case RK_UINT8:
    case RK_INT8:
        return 1;
    case RK_FP16:
    case RK_BF16:
        return 2;
    case RK_INT32:
    case RK_FP32:
        return 4;
    case RK_INT64:
    case RK_FP64:
        return 8;
    case RK_DTYPE_COUNT:
        break;
    }
    return 0;
}

/* Finds the type with exactly this name. False if there is none; *out is unchanged then. */
bool rk_dtype_parse(const char *name, enum rk_dtype *out) __attribute__((warn_unused_result));

/* Number of elements of a shape, and bytes of that many elements; false if either overflows
 * size_t. */
bool rk_shape_bytes(enum rk_dtype dtype, unsigned rank, const size_t *shape, size_t *count, size_t *bytes)
    __attribute__((warn_unused_result));

#endif
