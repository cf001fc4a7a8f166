/* SPDX-License-Identifier: Apache-2.0 */
/* JSON in and out on one core: a request's text into tensors, and a gradient into text, beside
 * Jansson, bare parsers and bare printers. MB/s are of text and of processor time, the best of
 * several runs. */
#include <float.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "base/fp32_text.h"
#include "bench/json_peers.h"
#include "codec/decimal.h"
#include "codec/infer_request.h"
#include "codec/numbers.h"

enum { SIDE = 1024, COUNT = SIDE * SIDE, RUNS = 7, PADDING = 64 };

static char *request;
static size_t request_bytes;
static double *values;
static float *floats;
static char *out;

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Returns the number of processed bytes. */
typedef size_t work(void);

static void report(const char *name, work *run)
{
    double best = DBL_MAX;
    size_t bytes = 0;
    for (int i = 0; i < RUNS; i++) {
        const double begun = now();
        bytes = run();
        const double took = now() - begun;
        best = took < best ? took : best;
    }
    printf("%-44s %9.1f MB/s %8.1f ns a number\n", name, (double)bytes / best * 1e-6, best * 1e9 / COUNT);
}

static size_t read_request(void)
{
    const struct rk_wire_source source = {
        .body = request, .bytes = request_bytes, .json_bytes = request_bytes};
    struct rk_wire_request wire;
    struct rk_err err = {0};
    if (rk_wire_request_parse(&wire, rk_model_find("ap"), &source, &err) != RANKD_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    rk_wire_request_clear(&wire);
    return request_bytes;
}

static size_t read_jansson(void)
{
    json_decref(json_loadb(request, request_bytes, JSON_REJECT_DUPLICATES, NULL));
    return request_bytes;
}

static size_t read_simdjson(void)
{
    return rk_peer_simdjson(request, request_bytes, values) ? request_bytes : 0;
}

/* Bare numbers: the first array of the request, from bracket to bracket, and nothing else. */
typedef const char *read_number(const char *at, const char *end, double *value);

static size_t read_numbers(read_number *read)
{
    const char *begun = strstr(request, "\"data\":[") + 8, *end = strchr(begun, ']') + 1, *at = begun;
    for (size_t i = 0; at < end; i++)
        at = read(at, end, &values[i]) + 1;
    return (size_t)(end - begun);
}

static const char *number_strtod(const char *at, const char *end, double *value)
{
    char *after;
    (void)end;
    *value = strtod(at, &after);
    return after;
}

static const char *number_own(const char *at, const char *end, double *value)
{
    struct rk_decimal number;
    const char *after = rk_decimal_scan(at, end, &number);
    *value = rk_decimal_real(&number);
    return after;
}

static size_t read_strtod(void)
{
    return read_numbers(number_strtod);
}

static size_t read_own(void)
{
    return read_numbers(number_own);
}

static size_t read_fast_float(void)
{
    return read_numbers(rk_peer_fast_float);
}

static size_t print_own(void)
{
    size_t bytes = 0;
    for (size_t i = 0; i < COUNT; i++)
        bytes += rk_fp32_text(floats[i], out + bytes);
    return bytes;
}

static size_t print_to_chars(void)
{
    size_t bytes = 0;
    for (size_t i = 0; i < COUNT; i++)
        bytes += rk_peer_to_chars(floats[i], out + bytes, 32);
    return bytes;
}

static size_t print_searched(void)
{
    size_t bytes = 0;
    for (size_t i = 0; i < COUNT; i++) {
        int length = 0;
        for (int digits = 6; digits <= 9; digits++) {
            length = snprintf(out + bytes, 32, "%.*g", digits, (double)floats[i]);
            if (strtof(out + bytes, NULL) == floats[i])
                break;
        }
        bytes += (size_t)length;
    }
    return bytes;
}

static size_t print_reply(void)
{
    struct rk_text text = {0};
    rk_json_open(&text, NULL, '{');
    rk_numbers_write(&text, RK_FP32, floats, COUNT);
    const size_t bytes = text.length;
    rk_text_free(&text);
    return bytes;
}

/* FP32 in the form that Python writes: the digits of the FP64 of the same value. */
static void make_request(bool short_numbers)
{
    char *at = request;
    at += sprintf(at, "{\"inputs\":[{\"name\":\"scores\",\"shape\":[%d,%d],\"datatype\":\"FP32\",\"data\":[",
                  SIDE, SIDE);
    for (size_t i = 0; i < COUNT; i++) {
        floats[i] = (float)rand() / (float)RAND_MAX;
        at += sprintf(at, short_numbers ? "%s%.6g" : "%s%.17g", i ? "," : "", (double)floats[i]);
    }
    at += sprintf(at, "]},{\"name\":\"targets\",\"shape\":[%d,%d],\"datatype\":\"INT8\",\"data\":[", SIDE,
                  SIDE);
    for (size_t i = 0; i < COUNT; i++)
        at += sprintf(at, "%s%d", i ? "," : "", i % 32 == 0);
    at += sprintf(at, "]}]}");
    request_bytes = (size_t)(at - request);
}

static void report_reading(const char *what)
{
    printf("%s, %d x %d, %zu bytes\n", what, SIDE, SIDE, request_bytes);
    report("request into tensors", read_request);
    report("  Jansson, bare", read_jansson);
    report("  simdjson, bare", read_simdjson);
    report("numbers alone, own reader", read_own);
    report("  fast_float", read_fast_float);
    report("  strtod", read_strtod);
}

int main(void)
{
    request = calloc(1, (size_t)COUNT * 32 + 4096);
    values = malloc(sizeof *values * 2 * COUNT);
    floats = malloc(sizeof *floats * COUNT);
    out = malloc((size_t)COUNT * 32 + PADDING);
    if (!request || !values || !floats || !out)
        return 1;
    make_request(true);
    report_reading("six digits");
    make_request(false);
    report_reading("seventeen digits");
    printf("FP32 into text\n");
    report("array into a reply", print_reply);
    report("numbers alone, own printer", print_own);
    report("  std::to_chars (scientific where shorter)", print_to_chars);
    report("  snprintf and strtof", print_searched);
    for (size_t i = 0; i < COUNT; i++)
        floats[i] = i % 16 == 0 ? floats[i] : 0;
    report("array into a reply, 15 of 16 zeros", print_reply);
    memset(floats, 0, sizeof *floats * COUNT);
    report("array into a reply, zeros", print_reply);
    return 0;
}
