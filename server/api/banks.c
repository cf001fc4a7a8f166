/* SPDX-License-Identifier: Apache-2.0 */
/* Routes of the banks: names in, JSON out. */
#include "bank/banks.h"
#include "api/answer.h"
#include "api/api.h"
#include "api/route.h"
#include "codec/doc.h"

/* An operation without a body may be sent an empty object, nothing else. */
static enum rankd_status no_body(const struct rk_call *call, struct rk_err *err)
{
    if (call->body_bytes == 0)
        return RANKD_OK;
    struct rk_doc *doc = rk_doc_parse(call->body, call->body_bytes, "the body", err);
    enum rankd_status status = doc ? rk_doc_done(doc, err) : err->status;
    rk_doc_free(doc);
    return status;
}

static enum rankd_status answer_with(enum rankd_status status, struct rk_answer *answer, struct rk_text *out,
                                     struct rk_err *err)
{
    if (status == RANKD_OK)
        return rk_answer_text(answer, out, err);
    rk_text_free(out);
    return status;
}

RK_HANDLER(rk_api_banks)
{
    (void)call, (void)match;
    struct rk_text out = {0};
    return answer_with(rk_banks_list(env->banks, &out, err), answer, &out, err);
}

RK_HANDLER(rk_api_store)
{
    (void)call, (void)match;
    struct rk_text out = {0};
    return answer_with(rk_banks_store(env->banks, &out, err), answer, &out, err);
}

RK_HANDLER(rk_api_bank)
{
    (void)call;
    struct rk_text out = {0};
    return answer_with(rk_banks_show(env->banks, match->names[0], &out, err), answer, &out, err);
}

RK_HANDLER(rk_api_bank_put)
{
    struct rk_text out = {0};
    return answer_with(rk_banks_create(env->banks, match->names[0], call->body, call->body_bytes, &out, err),
                       answer, &out, err);
}

RK_HANDLER(rk_api_bank_delete)
{
    (void)answer;
    return no_body(call, err) == RANKD_OK ? rk_banks_delete(env->banks, match->names[0], err) : err->status;
}

RK_HANDLER(rk_api_bank_clear)
{
    struct rk_text out = {0};
    if (no_body(call, err) != RANKD_OK)
        return err->status;
    return answer_with(rk_banks_clear(env->banks, match->names[0], &out, err), answer, &out, err);
}

RK_HANDLER(rk_api_checkpoints)
{
    (void)call;
    struct rk_text out = {0};
    return answer_with(rk_banks_checkpoints(env->banks, match->names[0], &out, err), answer, &out, err);
}

RK_HANDLER(rk_api_checkpoint_put)
{
    struct rk_text out = {0};
    if (no_body(call, err) != RANKD_OK)
        return err->status;
    return answer_with(rk_banks_checkpoint(env->banks, match->names[0], match->names[1], &out, err), answer,
                       &out, err);
}

RK_HANDLER(rk_api_checkpoint_restore)
{
    struct rk_text out = {0};
    if (no_body(call, err) != RANKD_OK)
        return err->status;
    return answer_with(rk_banks_restore(env->banks, match->names[0], match->names[1], &out, err), answer,
                       &out, err);
}

RK_HANDLER(rk_api_checkpoint_delete)
{
    (void)answer;
    return no_body(call, err) == RANKD_OK
               ? rk_banks_delete_checkpoint(env->banks, match->names[0], match->names[1], err)
               : err->status;
}
