/* Routes of registered shared memory, of the caller's own regions alone. */
#include "answer.h"
#include "app.h"
#include "codec/doc.h"
#include "regions.h"
#include "route.h"

static enum rankd_status switched_on(const struct rk_app *app, struct rk_err *err)
{
    if (app->regions)
        return RANKD_OK;
    return rk_fail(err, RANKD_UNSUPPORTED,
                   "shared-memory regions are switched off in this daemon (--allow-shm-regions); send binary "
                   "tensors, or use the ring");
}

static enum rankd_status show(struct rk_app *app, const struct rk_call *call, const char *name,
                              struct rk_answer *answer, struct rk_err *err)
{
    struct rk_text out = {0};
    if (switched_on(app, err) != RANKD_OK)
        return err->status;
    if (rk_regions_show(app->regions, call->who->name, name, &out, err) == RANKD_OK)
        return rk_answer_text(answer, &out, err);
    rk_text_free(&out);
    return err->status;
}

RK_HANDLER(rk_api_regions)
{
    (void)match;
    return show(app, call, NULL, answer, err);
}

RK_HANDLER(rk_api_region)
{
    return show(app, call, match->names[0], answer, err);
}

RK_HANDLER(rk_api_region_register)
{
    (void)answer;
    char key[RK_REGION_KEY] = "";
    uint64_t offset = 0, bytes = 0;
    if (switched_on(app, err) != RANKD_OK)
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
        status = rk_regions_register(app->regions, call->who->name, match->names[0], key, offset, bytes, err);
    rk_doc_free(doc);
    return status;
}

RK_HANDLER(rk_api_region_unregister)
{
    (void)answer;
    if (switched_on(app, err) == RANKD_OK)
        rk_regions_unregister(app->regions, call->who->name, match->names[0]);
    return err->status;
}

RK_HANDLER(rk_api_regions_unregister)
{
    (void)match, (void)answer;
    if (switched_on(app, err) == RANKD_OK)
        rk_regions_unregister(app->regions, call->who->name, NULL);
    return err->status;
}
