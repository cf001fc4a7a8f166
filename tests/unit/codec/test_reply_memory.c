/* SPDX-License-Identifier: Apache-2.0 */
/* The reply to a request whose batch goes into a bank: all of its memory is allocated before the
 * append. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "codec/infer_reply.h"
#include "unit/failing/allocations.h"
#include "unit/support/engine_call.h"

static float gradient[1000];

static struct rk_reply reply_of(void)
{
    struct rk_reply reply = {.outputs = 1u << RK_OUT_GRADIENT,
                             .info = {.lists = 1, .has_bank = true, .bank_items = 3, .bank_version = 6}};
    reply.out[RK_OUT_GRADIENT] = (struct rk_out){
        .dtype = RK_FP32, .rank = 2, .shape = {1, 1000}, .data = gradient, .bytes = sizeof gradient};
    return reply;
}

static void completing_a_reply_takes_no_memory_and_moves_nothing(void **state)
{
    (void)state;
    static const uint64_t versions[] = {0, 7, UINT64_MAX};
    struct test_call call;
    test_call_start(&call, "ap", 0);
    struct rk_wire_request wire = {
        .request = call.request, .id = "x", .output = {RK_OUT_GRADIENT}, .outputs = 1};
    struct rk_reply reply = reply_of();
    long before = living;
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        struct rk_wire_reply out;
        struct rk_err err = {0};
        char want[80];
        for (size_t n = 1;; n++) {
            make_fail(n);
            enum rankd_status status = rk_wire_reply_write(&out, &wire, &reply, &err);
            fail_at = 0;
            if (status == RANKD_OK)
                break;
            assert_int_equal(status, RANKD_OVERLOADED);
            assert_int_equal(living, before);
            memset(&err, 0, sizeof err);
        }
        const size_t length = out.json.length;
        reply.info.bank_version_appended = versions[i];
        make_fail(1);
        rk_wire_reply_complete(&out, &reply.info);
        assert_int_equal(allocations, 0);
        fail_at = 0;
        assert_int_equal(out.json.length, length);
        (void)snprintf(want, sizeof want, "\"bank_version\":6,\"bank_version_appended\":%llu",
                       (unsigned long long)versions[i]);
        assert_true((memmem(out.json.data, length, want, strlen(want)) != NULL) == (versions[i] != 0));
        assert_true((memmem(out.json.data, length, "appended", 8) != NULL) == (versions[i] != 0));
        reply.info.bank_version_appended = 0;
        rk_wire_reply_clear(&out);
        assert_int_equal(living, before);
    }
    test_call_end(&call);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(completing_a_reply_takes_no_memory_and_moves_nothing),
    };
    return cmocka_run_group_tests_name("reply_memory", tests, NULL, NULL);
}
