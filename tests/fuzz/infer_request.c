/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "codec/infer_request.h"
#include "engine.h"
#include "targets.h"

/* A request with more work than this is parsed but not run, so that fuzzing stays fast. */
enum { WORK_MAX = 1 << 16 };

static void run(const struct rk_request *request)
{
    size_t work = 0;
    for (size_t i = 0; i < RK_IN_COUNT; i++)
        work += request->in[i].bytes;
    if (work > WORK_MAX)
        return;
    struct rk_scratch *scratch = rk_scratch_new(64u << 20);
    assert(scratch);
    struct rk_exec exec = {.scratch = scratch};
    struct rk_reply reply = {0};
    struct rk_err err = {0};
    if (rk_engine_run(&exec, request, &reply, &err) != RANKD_OK)
        assert(err.text[0] != '\0' && err.status != RANKD_INTERNAL);
    rk_reply_clear(&reply);
    rk_scratch_free(scratch);
}

void rk_fuzz_infer_request(const uint8_t *data, size_t bytes)
{
    if (bytes < 3)
        return;
    const struct rk_model *model = &rk_models[data[0] % rk_model_count];
    size_t json = (size_t)data[1] | (size_t)data[2] << 8;
    /* A copy of exactly that size, so that a sanitizer detects a read beyond it. */
    size_t size = bytes - 3;
    char *body = malloc(size ? size : 1);
    assert(body);
    memcpy(body, data + 3, size);
    struct rk_wire_request wire;
    struct rk_err err = {0};
    const struct rk_wire_source source = {.body = body, .bytes = size, .json_bytes = json};
    if (rk_wire_request_parse(&wire, model, &source, &err) == RANKD_OK)
        run(&wire.request);
    else
        assert(err.text[0] != '\0' && err.status != RANKD_OK);
    rk_wire_request_clear(&wire);
    free(body);
}
