/* Tensors: typed views of memory that somebody else owns. */
#ifndef RK_BASE_TENSOR_H
#define RK_BASE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The Open Inference Protocol's datatypes that rankd takes. The order is part of the ring's wire format. */
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

/* The most items of a list: ranks and differences of ranks fit 32 bits. */
#define RK_LIST_MAX 0x7fffffffu

/* A row-major view. `data` is NULL where the tensor is absent; it need not be aligned (bytes that follow a
 * JSON header lie where they lie). `bytes` is exactly the product of the shape times the size of the type.
 * The view owns nothing: whoever made it keeps `data` alive for as long as the view is used. */
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

/* Size of an element in bytes; 0 outside the enumeration. */
size_t rk_dtype_size(enum rk_dtype dtype);

/* Finds the type of that exact name; false if there is none (then *out is unchanged). */
bool rk_dtype_parse(const char *name, enum rk_dtype *out) __attribute__((warn_unused_result));

/* Number of elements of a shape, and bytes of that many elements; false if either overflows size_t. */
bool rk_shape_bytes(enum rk_dtype dtype, unsigned rank, const size_t *shape, size_t *count, size_t *bytes)
    __attribute__((warn_unused_result));

#endif
