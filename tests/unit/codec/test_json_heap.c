/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of JSON documents: with any budget a document is read or refused, and all memory is
 * freed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json_heap.h"
#include "codec/infer_request.h"
#include "codec/json.h"

static const char document[] =
    "{\"id\":\"a\",\"list\":[1,2.5,-3e2,null,true,[],{},[[[{\"deep\":[0]}]]]],\"\\u00e4\":\"\\ud83d\\ude00\","
    "\"inputs\":[{\"name\":\"scores\",\"shape\":[2,2],\"data\":[[0.1,0.2],[0.3,0.4]]},{\"x\":{\"y\":{}}}]}";

/* A document that takes some hundred KB: more than one piece. */
static char *long_document(size_t *bytes)
{
    enum { ITEMS = 2000 };
    const size_t room = sizeof document * ITEMS + 32;
    char *text = malloc(room);
    assert_non_null(text);
    size_t at = (size_t)snprintf(text, room, "{\"all\":[");
    for (int i = 0; i < ITEMS; i++)
        at += (size_t)snprintf(text + at, room - at, "%s%s", i ? "," : "", document);
    *bytes = at + (size_t)snprintf(text + at, room - at, "]}");
    return text;
}

static enum rankd_status read_within(struct rk_budget *budget, size_t beside, const char *text, size_t bytes)
{
    struct rk_json_heap heap;
    struct rk_err err = {0};
    rk_json_heap_open(&heap, budget, beside);
    json_t *value = rk_json_parse_new(text, bytes, "the request", &err);
    if (value) {
        assert_int_equal(heap.held, rk_budget_used(budget));
        json_decref(value);
    } else {
        assert_true(err.status == RANKD_TOO_LARGE || err.status == RANKD_OVERLOADED);
        assert_non_null(strstr(err.text, "the request"));
    }
    rk_json_heap_close(&heap);
    assert_int_equal(rk_budget_used(budget), 0);
    return err.status;
}

static void every_budget_reads_it_or_refuses_it(void **state)
{
    (void)state;
    size_t bytes, reads = 0, refuses = 0;
    char *text = long_document(&bytes);
    for (size_t limit = 0; limit < (size_t)16 << 20; limit += limit < 262144 ? 997 : 262147) {
        struct rk_budget *budget = rk_budget_new(limit, NULL, NULL);
        const enum rankd_status status = read_within(budget, 0, text, bytes);
        assert_true(status == RANKD_OK || status == RANKD_TOO_LARGE);
        reads += status == RANKD_OK;
        refuses += status != RANKD_OK;
        assert_true(refuses == 0 || reads == 0 || status == RANKD_OK); /* more budget never reads less */
        rk_budget_free(budget);
    }
    assert_true(reads > 0 && refuses > 0);
    free(text);
}

/* Data of the usual and the unusual spelling, right and wrong: with each budget the request gets
 * the answer that it gets without one, or is refused for the budget. */
static char *with_data(const char *leaf, unsigned leaves, unsigned columns, size_t *bytes)
{
    const size_t room = leaves * (strlen(leaf) + 1) + 256;
    char *text = malloc(room);
    assert_non_null(text);
    size_t at = (size_t)snprintf(
        text, room, "{\"inputs\":[{\"name\":\"scores\",\"shape\":[1,%u],\"datatype\":\"FP32\",\"data\":[",
        columns);
    for (unsigned i = 0; i < leaves; i++)
        at += (size_t)snprintf(text + at, room - at, "%s%s", i ? "," : "", leaf);
    *bytes = at + (size_t)snprintf(text + at, room - at, "]}]}");
    return text;
}

static enum rankd_status parse_within(struct rk_budget *budget, const char *text, size_t bytes,
                                      struct rk_err *err)
{
    struct rk_json_heap heap;
    struct rk_wire_request wire;
    const struct rk_wire_source source = {
        .body = text, .bytes = bytes, .json_bytes = bytes, .budget = budget};
    *err = (struct rk_err){0};
    rk_json_heap_open(&heap, budget, 0);
    (void)!rk_wire_request_parse(&wire, rk_model_find("rank"), &source, err);
    rk_json_heap_close(&heap);
    rk_wire_request_clear(&wire);
    assert_int_equal(rk_budget_used(budget), 0);
    return err->status;
}

static void any_data_are_read_within_any_budget(void **state)
{
    (void)state;
    enum { LEAVES = 3000 };
    static const struct {
        const char *leaf;
        unsigned columns;
    } forms[] = {{"\"\\u0049nfinity\"", LEAVES},  {"\"-Infinity\"", LEAVES}, {"\"-Infinity\"", LEAVES - 1},
                 {"{\"a\":[1]}", LEAVES},         {"\"\\u0049\"", LEAVES},   {"1", LEAVES},
                 {"[\"\\u0049nfinity\"]", LEAVES}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        size_t bytes;
        struct rk_err free_of_it, err;
        char *text = with_data(forms[i].leaf, LEAVES, forms[i].columns, &bytes);
        struct rk_budget *plenty = rk_budget_new((size_t)1 << 30, NULL, NULL);
        const enum rankd_status want = parse_within(plenty, text, bytes, &free_of_it);
        rk_budget_free(plenty);
        for (size_t limit = 0; limit < 100000; limit += 1009) {
            struct rk_budget *budget = rk_budget_new(limit, NULL, NULL);
            const enum rankd_status status = parse_within(budget, text, bytes, &err);
            if (status != RANKD_TOO_LARGE)
                assert_string_equal(err.text, free_of_it.text);
            if (limit > 80000) /* values that are read one by one take the memory of one */
                assert_int_equal(status, want);
            rk_budget_free(budget);
        }
        free(text);
    }
}

/* The text of a token grows in steps, and one that fails must not be the last that Jansson asks
 * for. */
static void a_long_string_is_read_whole_or_refused(void **state)
{
    (void)state;
    enum { LENGTH = 70000 };
    char *text = malloc(LENGTH + 32);
    assert_non_null(text);
    size_t bytes = (size_t)sprintf(text, "{\"id\":\"");
    memset(text + bytes, 'x', LENGTH);
    bytes += LENGTH + (size_t)sprintf(text + bytes + LENGTH, "\",\"b\":[1,\"c\"]}");
    size_t reads = 0, refuses = 0;
    for (size_t limit = 0; limit < (size_t)1 << 20; limit += 499) {
        struct rk_budget *budget = rk_budget_new(limit, NULL, NULL);
        struct rk_json_heap heap;
        struct rk_err err = {0};
        rk_json_heap_open(&heap, budget, 0);
        json_t *value = rk_json_parse_new(text, bytes, "the request", &err);
        if (value)
            assert_int_equal(json_string_length(json_object_get(value, "id")), LENGTH);
        else
            assert_int_equal(err.status, RANKD_TOO_LARGE);
        reads += value != NULL;
        refuses += value == NULL;
        json_decref(value);
        rk_json_heap_close(&heap);
        rk_budget_free(budget);
    }
    assert_true(reads > 0 && refuses > 0);
    free(text);
}

static void what_others_have_is_503_and_what_never_fits_is_413(void **state)
{
    (void)state;
    const size_t limit = 1 << 20;
    struct rk_budget *budget = rk_budget_new(limit, NULL, NULL);
    struct rk_json_heap heap;
    struct rk_err err = {0};
    assert_true(rk_budget_take(budget, limit - 100));
    rk_json_heap_open(&heap, budget, 0);
    assert_null(rk_json_parse_new(document, sizeof document - 1, "the request", &err));
    assert_int_equal(err.status, RANKD_OVERLOADED);
    rk_json_heap_close(&heap);
    rk_budget_give(budget, limit - 100);
    assert_int_equal(read_within(budget, limit - 100, document, sizeof document - 1), RANKD_TOO_LARGE);
    assert_int_equal(read_within(budget, 100, document, sizeof document - 1), RANKD_OK);
    rk_budget_free(budget);
}

static void without_a_heap_documents_are_of_malloc(void **state)
{
    (void)state;
    struct rk_err err = {0};
    json_t *value = rk_json_parse_new(document, sizeof document - 1, "the request", &err);
    assert_non_null(value);
    assert_string_equal(json_string_value(json_object_get(value, "id")), "a");
    json_decref(value);
}

int main(void)
{
    rk_json_heap_install();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_budget_reads_it_or_refuses_it),
        cmocka_unit_test(any_data_are_read_within_any_budget),
        cmocka_unit_test(a_long_string_is_read_whole_or_refused),
        cmocka_unit_test(what_others_have_is_503_and_what_never_fits_is_413),
        cmocka_unit_test(without_a_heap_documents_are_of_malloc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
