/* SPDX-License-Identifier: Apache-2.0 */
/* The fuzz targets over their corpus and over seeded mutations of it: the short form of `make
 * fuzz`. Files in the corpus that a fuzzer once crashed on stay there. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fuzz/targets.h"

typedef void target(const uint8_t *data, size_t bytes);

enum { SEED_MAX = 1 << 16, MUTATIONS = 3000 };

static uint64_t random_state;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static size_t mutate(uint8_t *data, size_t bytes)
{
    static const uint8_t interesting[] = {0,   1,   0x7f, 0x80, 0xff, '"', '[', ']',
                                          '{', '}', ',',  '-',  '9',  'e', '\\'};
    for (unsigned left = (unsigned)(random_next() % 6) + 1; left > 0 && bytes > 0; left--) {
        size_t at = random_next() % bytes;
        switch (random_next() % 5) {
        case 0:
            data[at] ^= (uint8_t)(1u << random_next() % 8);
            break;
        case 1:
            data[at] = interesting[random_next() % sizeof interesting];
            break;
        case 2:
            bytes = at; /* cut */
            break;
        case 3: /* double a piece */
            if (bytes < SEED_MAX / 2) {
                size_t length = random_next() % (bytes - at);
                memmove(data + at + length, data + at, bytes - at);
                bytes += length;
            }
            break;
        default: { /* take a piece out */
            size_t length = random_next() % (bytes - at);
            memmove(data + at, data + at + length, bytes - at - length);
            bytes -= length;
        }
        }
    }
    return bytes;
}

/* Every file of tests/fuzz/corpus/<name>, then mutations of files picked at random. */
static void run_corpus(const char *name, target *run)
{
    static uint8_t seed[64][SEED_MAX], data[SEED_MAX];
    size_t size[64], seeds = 0;
    char folder[256], path[768];
    (void)snprintf(folder, sizeof folder, "tests/fuzz/corpus/%s", name);
    DIR *listing = opendir(folder);
    assert_non_null(listing);
    for (struct dirent *entry; (entry = readdir(listing)) && seeds < 64;) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (!file)
            continue;
        size[seeds] = fread(seed[seeds], 1, SEED_MAX, file);
        (void)fclose(file);
        run(seed[seeds], size[seeds]);
        seeds++;
    }
    closedir(listing);
    assert_true(seeds > 0);
    random_state = 20201;
    for (int i = 0; i < MUTATIONS; i++) {
        size_t which = random_next() % seeds;
        memcpy(data, seed[which], size[which]);
        run(data, mutate(data, size[which]));
    }
}

static void an_inference_request_of_any_bytes_is_computed_or_refused(void **state)
{
    (void)state;
    run_corpus("infer_request", rk_fuzz_infer_request);
}

static void json_of_any_bytes_is_read_as_jansson_reads_it(void **state)
{
    (void)state;
    run_corpus("json_tensors", rk_fuzz_json_tensors);
    for (size_t i = 0; i < sizeof rk_fuzz_json_outcomes / sizeof *rk_fuzz_json_outcomes; i++)
        assert_true(rk_fuzz_json_outcomes[i] > 10);
}

static void a_compressed_body_of_any_bytes_is_inflated_or_refused(void **state)
{
    (void)state;
    run_corpus("inflate", rk_fuzz_inflate);
}

static void a_connection_of_any_bytes_is_framed_the_same_however_it_is_cut(void **state)
{
    (void)state;
    run_corpus("http_head", rk_fuzz_http_head);
}

static void what_a_store_sends_is_read_or_refused(void **state)
{
    (void)state;
    run_corpus("stored", rk_fuzz_stored);
}

static void scores_of_any_bytes_are_ranked_the_same_by_every_set_of_kernels(void **state)
{
    (void)state;
    run_corpus("run", rk_fuzz_run);
}

static void a_file_of_any_bytes_is_an_array_or_refused(void **state)
{
    (void)state;
    run_corpus("array", rk_fuzz_array);
}

static void a_file_of_any_bytes_is_a_batch_or_refused(void **state)
{
    (void)state;
    run_corpus("batch", rk_fuzz_batch);
}

static void a_reply_of_any_bytes_is_taken_or_called_wrong(void **state)
{
    (void)state;
    run_corpus("reply", rk_fuzz_reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_inference_request_of_any_bytes_is_computed_or_refused),
        cmocka_unit_test(json_of_any_bytes_is_read_as_jansson_reads_it),
        cmocka_unit_test(a_compressed_body_of_any_bytes_is_inflated_or_refused),
        cmocka_unit_test(a_connection_of_any_bytes_is_framed_the_same_however_it_is_cut),
        cmocka_unit_test(what_a_store_sends_is_read_or_refused),
        cmocka_unit_test(scores_of_any_bytes_are_ranked_the_same_by_every_set_of_kernels),
        cmocka_unit_test(a_file_of_any_bytes_is_an_array_or_refused),
        cmocka_unit_test(a_file_of_any_bytes_is_a_batch_or_refused),
        cmocka_unit_test(a_reply_of_any_bytes_is_taken_or_called_wrong),
    };
    return cmocka_run_group_tests_name("fuzz", tests, NULL, NULL);
}
