/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "retrieval/retrieval.h"
#include "unit/support/retrieval_agrees.h"

enum rankd_status case_run(struct retrieval_case *c, struct rk_scratch *scratch,
                           const struct rk_kernels *kernels, struct rk_reply *reply, struct rk_err *err)
{
    struct rk_exec exec = {.scratch = scratch, .kernels = kernels};
    *reply = (struct rk_reply){0};
    *err = (struct rk_err){0};
    c->request.outputs = 1u << RK_OUT_LOSS | 1u << RK_OUT_GRADIENT | 1u << RK_OUT_LIST_LOSS;
    if (c->request.in[RK_IN_REF_EMBEDDINGS].data)
        c->request.outputs |= 1u << RK_OUT_REF_GRADIENT;
    enum rankd_status status = rk_retrieval_run(&exec, &c->request, reply, err);
    if (status != RANKD_OK)
        rk_reply_clear(reply);
    return status;
}

static void assert_near(double got, double want, double scale, const char *what, size_t i)
{
    if (!(fabs(got - want) <= 1e-6 * (fabs(want) + scale)))
        fail_msg("%s[%zu] is %.9g, the definition gives %.9g", what, i, got, want);
}

/* Sums of many terms cancel, so an element is judged by the largest of its row as well. */
static void assert_gradient(const float *got, const double *want, size_t rows, size_t dim, const char *what)
{
    for (size_t r = 0; r < rows; r++) {
        double scale = 0;
        for (size_t k = 0; k < dim; k++)
            scale = fmax(scale, fabs(want[r * dim + k]));
        for (size_t k = 0; k < dim; k++)
            assert_near(got[r * dim + k], want[r * dim + k], scale, what, r * dim + k);
    }
}

void case_agrees(struct retrieval_case *c, struct rk_scratch *scratch, const struct rk_kernels *kernels)
{
    struct rk_reply reply;
    struct rk_err err;
    if (case_run(c, scratch, kernels, &reply, &err) != RANKD_OK)
        fail_msg("%s", err.text);
    struct oracle_reply want = oracle_run(&c->oracle);
    size_t batch = c->oracle.batch, dim = c->oracle.dim;
    assert_true(fabs(reply.info.loss - want.loss) <= 1e-12 * fabs(want.loss) + 1e-15);
    assert_int_equal(reply.info.lists, batch);
    assert_int_equal(reply.info.lists_skipped, want.skipped);
    assert_int_equal(reply.info.lists_stalled, want.stalled);
    assert_true(fabs(reply.info.number[RANKD_REPLY_PAIRS_JUMPED] - want.jumped) <= 1e-12 * want.jumped);
    const float *losses = reply.out[RK_OUT_LIST_LOSS].data;
    for (size_t q = 0; q < batch; q++) {
        assert_int_equal(isnan(losses[q]), isnan(want.list_loss[q]));
        if (!isnan(losses[q]))
            assert_near(losses[q], want.list_loss[q], 0, "list_loss", q);
    }
    assert_gradient(reply.out[RK_OUT_GRADIENT].data, want.gradient, batch, dim, "gradient");
    if (reply.out[RK_OUT_REF_GRADIENT].data)
        assert_gradient(reply.out[RK_OUT_REF_GRADIENT].data, want.gradient + batch * dim,
                        reply.out[RK_OUT_REF_GRADIENT].shape[0], dim, "ref_gradient");
    size_t nonzero = 0;
    const float *gradient = reply.out[RK_OUT_GRADIENT].data;
    for (size_t i = 0; i < batch * dim; i++) {
        nonzero += gradient[i] != 0;
        assert_false(gradient[i] == 0 && signbit(gradient[i]));
    }
    assert_int_equal(reply.info.gradient_nonzero, nonzero);
    oracle_free(&want);
    rk_reply_clear(&reply);
}
