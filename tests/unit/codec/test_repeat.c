/* SPDX-License-Identifier: Apache-2.0 */
/* A request that repeats the JSON of the one before equals the result of parsing it again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/repeat.h"
#include "unit/failing/allocations.h"

#define OUTPUTS                                                                                              \
    "\"outputs\":[{\"name\":\"gradient\",\"parameters\":{\"binary_data\":true}},{\"name\":\"loss\"}]"
#define BINARY                                                                                               \
    "{\"id\":\"step\",\"parameters\":{\"lambda\":2.5,\"timeout\":7000},\"inputs\":["                         \
    "{\"name\":\"scores\",\"datatype\":\"FP32\",\"shape\":[1,4],\"parameters\":{\"binary_data_size\":16}},"  \
    "{\"name\":\"targets\",\"datatype\":\"INT8\",\"shape\":[1,4],\"parameters\":{\"binary_data_size\":4}}],"

static const char
    repeated[] = BINARY OUTPUTS "}",
    in_json[] = "{\"inputs\":[{\"name\":\"scores\",\"datatype\":\"FP32\",\"shape\":[1,1],\"data\":[1.5]}]}",
    empty[] = "{\"inputs\":[{\"name\":\"scores\",\"datatype\":\"FP32\",\"shape\":[0,4],"
              "\"parameters\":{\"binary_data_size\":0}}]}";

enum { TENSOR_BYTES = 20 };

struct sent {
    char *bytes;
    struct rk_wire_source source;
};

/* The JSON and `tensor_bytes` bytes behind it, each of them `fill`. */
static struct sent body_new(const char *json, size_t tensor_bytes, int fill)
{
    struct sent body = {.source.json_bytes = strlen(json)};
    body.source.bytes = body.source.json_bytes + tensor_bytes;
    body.bytes = malloc(body.source.bytes);
    assert_non_null(body.bytes);
    memcpy(body.bytes, json, body.source.json_bytes);
    memset(body.bytes + body.source.json_bytes, fill, tensor_bytes);
    body.source.body = body.bytes;
    return body;
}

static void parse(struct rk_wire_request *wire, const struct sent *body)
{
    struct rk_err err = {0};
    assert_int_equal(rk_wire_request_parse(wire, rk_model_find("ap"), &body->source, &err), RANKD_OK);
}

static void keep(struct rk_repeat *repeat, const struct sent *body)
{
    struct rk_wire_request wire;
    parse(&wire, body);
    rk_repeat_keep(repeat, &wire, &body->source);
    rk_wire_request_clear(&wire);
}

static bool take(const struct rk_repeat *repeat, const struct sent *body)
{
    struct rk_wire_request wire;
    return rk_repeat_take(repeat, &wire, rk_model_find("ap"), &body->source);
}

static void a_repeated_request_is_what_parsing_it_again_makes_of_it(void **state)
{
    (void)state;
    struct rk_repeat repeat = {0};
    struct sent first = body_new(repeated, TENSOR_BYTES, 1), second = body_new(repeated, TENSOR_BYTES, 2);
    struct rk_wire_request taken, parsed;
    assert_false(take(&repeat, &first));
    keep(&repeat, &first);
    free(first.bytes); /* nothing points into it any more */
    memset(&taken, 0xff, sizeof taken);
    assert_true(rk_repeat_take(&repeat, &taken, rk_model_find("ap"), &second.source));
    parse(&parsed, &second);
    assert_memory_equal(&taken, &parsed, sizeof taken);
    assert_ptr_equal(taken.request.in[RK_IN_SCORES].data, second.bytes + strlen(repeated));
    assert_ptr_equal(taken.request.in[RK_IN_TARGETS].data, second.bytes + strlen(repeated) + 16);
    assert_true(taken.request.params.lambda == 2.5 && taken.timeout_ns == 7000000);
    rk_repeat_free(&repeat);
    assert_false(take(&repeat, &second));
    free(second.bytes);
}

static void any_other_byte_size_or_model_is_parsed(void **state)
{
    (void)state;
    struct rk_repeat repeat = {0};
    struct rk_wire_request wire;
    struct sent body = body_new(repeated, TENSOR_BYTES, 0), longer = body_new(repeated, TENSOR_BYTES + 1, 0);
    keep(&repeat, &body);
    assert_true(take(&repeat, &body));
    assert_false(take(&repeat, &longer));
    assert_false(rk_repeat_take(&repeat, &wire, rk_model_find("ndcg"), &body.source));
    struct rk_wire_source shorter = body.source;
    shorter.json_bytes--;
    assert_false(rk_repeat_take(&repeat, &wire, rk_model_find("ap"), &shorter));
    for (size_t i = 0; i < body.source.json_bytes; i++) {
        body.bytes[i] ^= 1;
        assert_false(take(&repeat, &body));
        body.bytes[i] ^= 1;
    }
    assert_true(take(&repeat, &body));
    rk_repeat_free(&repeat);
    free(body.bytes);
    free(longer.bytes);
}

static void what_does_not_lie_in_the_body_is_not_kept(void **state)
{
    (void)state;
    struct rk_repeat repeat = {0};
    struct sent good = body_new(repeated, TENSOR_BYTES, 0);
    struct sent bad[] = {body_new(in_json, 0, 0), body_new(empty, 0, 0)};
    char place[16];
    struct rk_wire_request wire;
    for (size_t i = 0; i < 2; i++) {
        keep(&repeat, &good);
        keep(&repeat, &bad[i]);
        assert_false(take(&repeat, &bad[i]));
        assert_false(take(&repeat, &good)); /* it is no longer the last one */
        free(bad[i].bytes);
    }
    parse(&wire, &good);
    wire.region[RK_OUT_GRADIENT] = place;
    rk_repeat_keep(&repeat, &wire, &good.source);
    assert_false(take(&repeat, &good));
    wire.region[RK_OUT_GRADIENT] = NULL;
    wire.request.in[RK_IN_SCORES].data = place;
    rk_repeat_keep(&repeat, &wire, &good.source);
    assert_false(take(&repeat, &good));
    free(good.bytes);
}

static void a_long_json_is_not_kept_and_without_memory_nothing_is(void **state)
{
    (void)state;
    struct rk_repeat repeat = {0};
    char text[4096];
    (void)snprintf(text, sizeof text, "%s%*s", repeated, 2048 - (int)strlen(repeated), "");
    struct sent fits = body_new(text, TENSOR_BYTES, 0);
    (void)snprintf(text, sizeof text, "%s%*s", repeated, 2049 - (int)strlen(repeated), "");
    struct sent longer = body_new(text, TENSOR_BYTES, 0);
    struct rk_wire_request wire;
    const long before = living;
    keep(&repeat, &fits);
    assert_true(take(&repeat, &fits));
    keep(&repeat, &longer);
    assert_false(take(&repeat, &longer));
    assert_int_equal(living, before);
    parse(&wire, &fits);
    for (size_t n = 1; n <= 2; n++) {
        make_fail(n);
        rk_repeat_keep(&repeat, &wire, &fits.source);
        fail_at = 0;
        assert_false(take(&repeat, &fits));
        assert_int_equal(living, before);
    }
    rk_repeat_keep(&repeat, &wire, &fits.source);
    assert_true(take(&repeat, &fits));
    rk_repeat_free(&repeat);
    assert_int_equal(living, before);
    free(fits.bytes);
    free(longer.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_repeated_request_is_what_parsing_it_again_makes_of_it),
        cmocka_unit_test(any_other_byte_size_or_model_is_parsed),
        cmocka_unit_test(what_does_not_lie_in_the_body_is_not_kept),
        cmocka_unit_test(a_long_json_is_not_kept_and_without_memory_nothing_is),
    };
    return cmocka_run_group_tests_name("repeat", tests, NULL, NULL);
}
