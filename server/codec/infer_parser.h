/* SPDX-License-Identifier: Apache-2.0 */
/* State and functions shared by the parts of the parser of inference requests. */
#ifndef RK_CODEC_INFER_PARSER_H
#define RK_CODEC_INFER_PARSER_H

#include "codec/infer_request.h"
#include "codec/json.h"
#include "codec/json_arrays.h"

#define RK_PARSE_WHAT "the request"

/* The state of one parse. */
struct rk_parser {
    struct rk_wire_request *wire;
    const struct rk_model *model;
    struct rk_json_text text; /* the JSON, and the arrays in it */
    struct rk_json_source source;
    const char *binary; /* the bytes after the JSON */
    size_t binary_bytes, binary_used;
    uint64_t received_ns;
    size_t held; /* what the request has reserved in the budget before its tensors */
    struct rk_region_finder *finder;
    bool binary_by_default;
    struct rk_err *err;
};

/* Fails with a sentence: `field` is `value`; it must be `may`. */
enum rankd_status rk_parse_wrong(struct rk_parser *p, const char *field, const json_t *value,
                                 const char *may);

/* The object of parameters of the request. */
enum rankd_status rk_parse_parameters(struct rk_parser *p, const json_t *parameters);

/* The inputs, and the requested outputs (NULL: none was named). */
enum rankd_status rk_parse_inputs(struct rk_parser *p, const json_t *inputs);
enum rankd_status rk_parse_outputs(struct rk_parser *p, const json_t *outputs);

/* A size in bytes; 0 if absent. */
enum rankd_status rk_parse_size(struct rk_parser *p, const char *owner, const json_t *object,
                                const char *field, size_t *out);

/* Checks the names of the parameters of an input or output. Names with one of our prefixes must be
 * in `known`; other names (content_type, …) are for other servers and are accepted. */
enum rankd_status rk_parse_only_ours(struct rk_parser *p, const json_t *parameters, const char *const *known,
                                     const char *where);

/* A range in a region of shared memory, of an input or an output (`owner`, for sentences). */
enum rankd_status rk_parse_region(struct rk_parser *p, const char *owner, const json_t *parameters,
                                  enum rk_region_use use, size_t *bytes, void **at, bool *on_device);

/* Alignment of tensors given as JSON. */
enum { RK_STORAGE_ALIGN = 64 };
static inline size_t rk_storage_aligned(size_t bytes)
{
    return (bytes + RK_STORAGE_ALIGN - 1) & ~(size_t)(RK_STORAGE_ALIGN - 1);
}

#endif
