/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "http/framing.h"
#include "targets.h"

enum { LIMIT = 2048, EXTRA = 128 };

struct passed {
    char *bytes;
    size_t count;
    uint64_t requests, refused;
    int http_status;
};

/* In pieces of `piece` bytes, passed on to room for `room`. */
static struct passed run(const uint8_t *data, size_t bytes, size_t piece, size_t room)
{
    struct rk_framing framing;
    struct passed passed = {.bytes = malloc(bytes + EXTRA)};
    assert(passed.bytes);
    rk_framing_start(&framing, LIMIT);
    for (size_t at = 0; at < bytes; at += piece) {
        const size_t count = bytes - at < piece ? bytes - at : piece;
        char *copy = malloc(count); /* of exactly that size, so that a sanitizer detects a read beyond it */
        assert(copy);
        memcpy(copy, data + at, count);
        struct rk_in in = {copy, count};
        size_t before;
        do {
            const size_t left = bytes + EXTRA - passed.count;
            struct rk_room space = {passed.bytes + passed.count, room < left ? room : left};
            before = passed.count;
            rk_framing_move(&framing, &in, &space);
            passed.count = (size_t)(space.at - passed.bytes);
        } while (in.left || passed.count != before);
        free(copy);
    }
    passed.requests = framing.requests;
    passed.refused = framing.refused;
    passed.http_status = framing.http_status;
    assert(!framing.refused || (framing.err.text[0] && framing.refused == framing.requests));
    rk_framing_end(&framing);
    return passed;
}

/* The passed-on bytes are read again without a change: their form has only one reading. The mark of
 * the query is not a valid character of a target, so it is replaced first. */
static void read_again(const struct passed *passed)
{
    char *again = malloc(passed->count + 1);
    assert(again);
    memcpy(again, passed->bytes, passed->count);
    for (size_t i = 0; i < passed->count; i++)
        again[i] = again[i] == RK_HEAD_QUERY ? '?' : again[i];
    const struct passed second =
        run((const uint8_t *)again, passed->count, passed->count + 1, passed->count + 1);
    assert(!second.refused || passed->refused || passed->count == 0);
    if (!second.refused && !passed->refused)
        assert(second.requests == passed->requests);
    free(second.bytes);
    free(again);
}

void rk_fuzz_http_head(const uint8_t *data, size_t bytes)
{
    if (bytes < 2)
        return;
    const size_t piece = 1 + data[0] % 16, room = 1 + data[0] / 16;
    const struct passed whole = run(data + 1, bytes - 1, bytes, bytes + EXTRA);
    const struct passed cut = run(data + 1, bytes - 1, piece, room);
    assert(whole.count == cut.count && memcmp(whole.bytes, cut.bytes, whole.count) == 0);
    assert(whole.requests == cut.requests && whole.refused == cut.refused &&
           whole.http_status == cut.http_status);
    read_again(&whole);
    free(whole.bytes);
    free(cut.bytes);
}
