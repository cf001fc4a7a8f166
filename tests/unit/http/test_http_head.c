/* SPDX-License-Identifier: Apache-2.0 */
/* The framing of HTTP: every form of tests/data/http_forms.txt, whole and cut at every byte, with
 * room for one byte and for all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/framing.h"

enum { LINE = 4096, OUT = 8192, LIMIT = 1024 };

static const char chunked[] =
    "POST /v2/repository/index HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
static const char follower[] = "GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";

/* The result of a message and the request after it. */
struct result {
    char out[OUT];
    size_t bytes;
    uint64_t requests, refused;
    int http_status;
    char text[RK_ERR_TEXT];
};

static void feed(struct rk_framing *framing, struct result *result, const char *bytes, size_t count,
                 size_t room)
{
    struct rk_in in = {bytes, count};
    size_t before;
    do {
        struct rk_room space = {result->out + result->bytes, room};
        before = result->bytes;
        assert_true(result->bytes + room <= OUT);
        rk_framing_move(framing, &in, &space);
        result->bytes = (size_t)(space.at - result->out);
    } while (in.left || result->bytes != before);
}

/* The message, received as two pieces, passed on in pieces of at most `room` bytes. */
static struct result run(const char *bytes, size_t count, size_t cut, size_t room)
{
    struct rk_framing framing;
    struct result result;
    memset(&result, 0, sizeof result);
    rk_framing_start(&framing, LIMIT);
    feed(&framing, &result, bytes, cut, room);
    feed(&framing, &result, bytes + cut, count - cut, room);
    result.requests = framing.requests;
    result.refused = framing.refused;
    result.http_status = framing.http_status;
    (void)snprintf(result.text, sizeof result.text, "%s", framing.err.text);
    rk_framing_end(&framing);
    return result;
}

static int hex(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

static size_t unescape(const char *text, char *out)
{
    size_t at = 0;
    for (; *text && *text != '\n'; text++) {
        if (*text == '$' && at == 0) {
            memcpy(out, chunked, sizeof chunked - 1);
            at = sizeof chunked - 1;
        } else if (*text != '\\') {
            out[at++] = *text;
        } else if (*++text == 'x') {
            out[at++] = (char)(hex(text[1]) * 16 + hex(text[2]));
            text += 2;
        } else {
            out[at++] = *text == 'r'   ? '\r'
                        : *text == 'n' ? '\n'
                        : *text == 't' ? '\t'
                        : *text == '0' ? '\0'
                                       : *text;
        }
    }
    return at;
}

static void check(const char *line, const char *bytes, size_t count, bool refused, int status)
{
    const struct result whole = run(bytes, count, 0, OUT / 2);
    if ((whole.refused != 0) != refused || (refused && whole.http_status != status))
        fail_msg("%d (%s) for %s", whole.http_status, whole.text, line);
    if (refused)
        assert_true(whole.refused == whole.requests && whole.text[0]);
    else
        assert_int_equal(whole.requests, 2);
    for (size_t cut = 1; cut < count; cut++) {
        const struct result cuts = run(bytes, count, cut, OUT / 2);
        assert_memory_equal(&cuts, &whole, sizeof whole);
    }
    const struct result slow = run(bytes, count, count / 2, 1);
    assert_memory_equal(&slow, &whole, sizeof whole);
}

static void every_form_is_taken_or_refused_however_it_arrives(void **state)
{
    (void)state;
    static char line[LINE], bytes[LINE];
    unsigned forms = 0;
    FILE *file = fopen("tests/data/http_forms.txt", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        char *end;
        const int status = (int)strtol(line, &end, 10);
        if (status == 0)
            continue;
        const bool followed = strncmp(end, " 200 ", 5) == 0;
        size_t count = unescape(end + (followed ? 5 : 1), bytes);
        memcpy(bytes + count, follower, sizeof follower - 1);
        count += sizeof follower - 1;
        check(line, bytes, count, !followed && status != 200, status);
        forms++;
    }
    (void)fclose(file);
    assert_true(forms > 150);
}

static void what_is_passed_on_is_the_request_and_the_fields_that_are_read(void **state)
{
    (void)state;
    static const char sent[] = "\r\nPOST /v2?a&b?c HTTP/1.1\r\nX-A: 1\r\nhost:\tlocalhost \r\nCookie: a=b\r\n"
                               "Transfer-Encoding: Chunked\r\nAccept-Encoding: gzip\r\n\r\n"
                               "00a;x=y\r\n0123456789\r\n0\r\nX: y\r\n\r\n";
    static const char passed[] = "POST /v2\x01"
                                 "a&b?c HTTP/1.1\r\nhost:localhost\r\nTransfer-Encoding:Chunked\r\n"
                                 "Accept-Encoding:gzip\r\n\r\n"
                                 "a\r\n0123456789\r\n0\r\n\r\n";
    const struct result result = run(sent, sizeof sent - 1, 0, OUT / 2);
    assert_int_equal(result.bytes, sizeof passed - 1);
    assert_memory_equal(result.out, passed, sizeof passed - 1);
}

static void a_refused_chunk_ends_the_body_where_it_is(void **state)
{
    (void)state;
    static const struct {
        const char *sent, *passed;
    } cases[] = {{"3\n", "0\r\n\r\n"},
                 {"1\r\naX", "1\r\na\r\n0\r\n\r\n"},
                 {"1\r\na\r\n0\r\n X", "1\r\na\r\n0\r\n\r\n"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char sent[512];
        const int count = snprintf(sent, sizeof sent, "%s%s", chunked, cases[i].sent);
        const struct result result = run(sent, (size_t)count, 0, OUT / 2);
        const size_t body = strlen(cases[i].passed);
        assert_true(result.bytes > body && result.refused == 1);
        assert_memory_equal(result.out + result.bytes - body, cases[i].passed, body);
    }
}

static void the_limit_holds_for_all_of_a_head_and_of_a_trailer(void **state)
{
    (void)state;
    static const char begin[] = "GET / HTTP/1.1\r\nHost: a\r\nX: ", end[] = "\r\n\r\n";
    static char sent[4 * LIMIT];
    const size_t fixed = sizeof begin - 1 + sizeof end - 1;
    for (size_t total = LIMIT; total <= LIMIT + 1; total++) {
        memcpy(sent, begin, sizeof begin - 1);
        memset(sent + sizeof begin - 1, 'x', total - fixed);
        memcpy(sent + total - sizeof end + 1, end, sizeof end - 1);
        const struct result result = run(sent, total, 0, OUT / 2);
        assert_int_equal(result.http_status, total > LIMIT ? RK_HEAD_HEADER_TOO_LARGE : 0);
    }
    const int count = snprintf(sent, sizeof sent, "%s0\r\nX: %0*d\r\n\r\n", chunked, LIMIT, 0);
    const struct result trailer = run(sent, (size_t)count, 0, OUT / 2);
    assert_int_equal(trailer.http_status, RK_HEAD_HEADER_TOO_LARGE);
    memset(sent, '\r', sizeof sent);
    for (size_t i = 1; i < sizeof sent; i += 2)
        sent[i] = '\n';
    const struct result empty_lines = run(sent, sizeof sent, 0, OUT / 2);
    assert_int_equal(empty_lines.http_status, RK_HEAD_HEADER_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_is_taken_or_refused_however_it_arrives),
        cmocka_unit_test(what_is_passed_on_is_the_request_and_the_fields_that_are_read),
        cmocka_unit_test(a_refused_chunk_ends_the_body_where_it_is),
        cmocka_unit_test(the_limit_holds_for_all_of_a_head_and_of_a_trailer),
    };
    return cmocka_run_group_tests_name("http_head", tests, NULL, NULL);
}
