/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of JSON documents: with any budget a document is read or refused, and all memory is
 * freed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json_heap.h"
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
        cmocka_unit_test(what_others_have_is_503_and_what_never_fits_is_413),
        cmocka_unit_test(without_a_heap_documents_are_of_malloc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
