/* SPDX-License-Identifier: Apache-2.0 */
/* Routes of registered shared memory, for the caller's own regions alone. HTTP only, because a
 * region belongs to a token. */
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

#include "api/answer.h"
#include "api/api.h"
#include "api/route.h"
#include "codec/doc.h"
#include "device/device.h"
#include "regions/regions.h"

static enum rankd_status permitted(const struct rk_api_env *env, const struct rk_call *call,
                                   struct rk_err *err)
{
    if (call->who->by_uid)
        return rk_fail(
            err, RANKD_UNSUPPORTED,
            "regions belong to tokens and are used by requests over HTTP; a client of the ring has an "
            "arena that it shares with rankd already");
    if (env->regions)
        return RANKD_OK;
    return rk_fail(err, RANKD_UNSUPPORTED,
                   "shared-memory regions are switched off in this daemon (--allow-shm-regions); send binary "
                   "tensors, or use the ring");
}

static enum rankd_status show(const struct rk_api_env *env, const struct rk_call *call,
                              enum rk_region_kind kind, const char *name, struct rk_answer *answer,
                              struct rk_err *err)
{
    struct rk_text out = {0};
    if (permitted(env, call, err) != RANKD_OK)
        return err->status;
    if (rk_regions_show(env->regions, call->who->name, kind, name, &out, err) == RANKD_OK)
        return rk_answer_text(answer, &out, err);
    rk_text_free(&out);
    return err->status;
}

RK_HANDLER(rk_api_regions)
{
    (void)match;
    return show(env, call, RK_REGION_SYSTEM, NULL, answer, err);
}

RK_HANDLER(rk_api_region)
{
    return show(env, call, RK_REGION_SYSTEM, match->names[0], answer, err);
}

RK_HANDLER(rk_api_region_register)
{
    (void)answer;
    char key[RK_REGION_KEY] = "";
    uint64_t offset = 0, bytes = 0;
    if (permitted(env, call, err) != RANKD_OK)
        return err->status;
    struct rk_doc *doc = rk_doc_parse(call->body, call->body_bytes, "a region", err);
    const bool has_key = rk_doc_text(doc, "key", key, sizeof key, err);
    (void)rk_doc_uint(doc, "offset", 0, INT64_MAX, &offset, err);
    const bool has_size = rk_doc_uint(doc, "byte_size", 1, INT64_MAX, &bytes, err);
    if (doc && err->status == RANKD_OK && (!has_key || !has_size))
        (void)rk_fail(err, RANKD_INVALID, "%s of a region is missing; it must be %s",
                      has_key ? "byte_size" : "key",
                      has_key ? "its number of bytes" : "the name of the shared memory object");
    enum rankd_status status = doc ? rk_doc_done(doc, err) : err->status;
    if (status == RANKD_OK)
        status = rk_regions_register(env->regions, call->who->name, match->names[0], key, offset, bytes, err);
    rk_doc_free(doc);
    return status;
}

RK_HANDLER(rk_api_region_unregister)
{
    (void)answer;
    if (permitted(env, call, err) == RANKD_OK)
        rk_regions_unregister(env->regions, call->who->name, RK_REGION_SYSTEM, match->names[0]);
    return err->status;
}

RK_HANDLER(rk_api_regions_unregister)
{
    (void)match, (void)answer;
    if (permitted(env, call, err) == RANKD_OK)
        rk_regions_unregister(env->regions, call->who->name, RK_REGION_SYSTEM, NULL);
    return err->status;
}

/* --- memory of the device --- */

RK_HANDLER(rk_api_device_regions)
{
    (void)match;
    return show(env, call, RK_REGION_DEVICE, NULL, answer, err);
}

RK_HANDLER(rk_api_device_region)
{
    return show(env, call, RK_REGION_DEVICE, match->names[0], answer, err);
}

/* RFC 4648, of exactly RK_DEVICE_HANDLE bytes. */
static bool decode(const char *text, unsigned char handle[RK_DEVICE_HANDLE])
{
    gnutls_datum_t decoded = {0}, given = {(unsigned char *)text, (unsigned)strlen(text)};
    bool good = gnutls_base64_decode2(&given, &decoded) == 0 && decoded.size == RK_DEVICE_HANDLE;
    if (good)
        memcpy(handle, decoded.data, RK_DEVICE_HANDLE);
    gnutls_free(decoded.data);
    return good;
}

/* {"b64": …}, as unmodified clients send it. */
static bool read_handle(struct rk_doc *doc, char *text, size_t size, struct rk_err *err)
{
    char *inner = NULL;
    size_t bytes = 0;
    if (!rk_doc_inner(doc, "raw_handle", &inner, &bytes, err))
        return false;
    struct rk_doc *handle = rk_doc_parse(inner, bytes, "raw_handle", err);
    bool good = rk_doc_text(handle, "b64", text, size, err) && rk_doc_done(handle, err) == RANKD_OK;
    rk_doc_free(handle);
    free(inner);
    return good;
}

RK_HANDLER(rk_api_device_region_register)
{
    (void)answer;
    char text[2 * RK_DEVICE_HANDLE] = "";
    unsigned char handle[RK_DEVICE_HANDLE];
    uint64_t ordinal = 0, bytes = 0;
    if (permitted(env, call, err) != RANKD_OK)
        return err->status;
    struct rk_doc *doc = rk_doc_parse(call->body, call->body_bytes, "a region", err);
    const bool has_handle = read_handle(doc, text, sizeof text, err);
    (void)rk_doc_uint(doc, "device_id", 0, INT32_MAX, &ordinal, err);
    const bool has_size = rk_doc_uint(doc, "byte_size", 1, INT64_MAX, &bytes, err);
    if (doc && err->status == RANKD_OK && !has_size)
        (void)rk_fail(err, RANKD_INVALID, "byte_size of a region is missing; it must be its number of bytes");
    if (doc && err->status == RANKD_OK && !(has_handle && decode(text, handle)))
        (void)rk_fail(
            err, RANKD_INVALID,
            "raw_handle of a region must be {\"b64\": …}, the %d bytes of a cudaIpcMemHandle_t in base64",
            RK_DEVICE_HANDLE);
    enum rankd_status status = doc ? rk_doc_done(doc, err) : err->status;
    if (status == RANKD_OK)
        status = rk_regions_register_device(env->regions, env->device, call->who->name, match->names[0],
                                            handle, ordinal, bytes, err);
    rk_doc_free(doc);
    return status;
}

RK_HANDLER(rk_api_device_region_unregister)
{
    (void)answer;
    if (permitted(env, call, err) == RANKD_OK)
        rk_regions_unregister(env->regions, call->who->name, RK_REGION_DEVICE, match->names[0]);
    return err->status;
}

RK_HANDLER(rk_api_device_regions_unregister)
{
    (void)match, (void)answer;
    if (permitted(env, call, err) == RANKD_OK)
        rk_regions_unregister(env->regions, call->who->name, RK_REGION_DEVICE, NULL);
    return err->status;
}
