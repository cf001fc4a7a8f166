/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "error_body.h"
#include "http_json.h"
#include "http_memory.h"
#include "request.h"
#include "targets.h"

enum { ROOM = 64 };

/* The outputs are the requested ones, and the caller may read all of their bytes. */
static void check(const struct rankd_reply *reply, const struct rankd_http_room *rooms)
{
    for (int port = 0; port < RANKD_OUT_COUNT; port++) {
        const struct rankd_tensor *output = &reply->outputs[port];
        if (reply->status != RANKD_OK || !rooms[port].wanted) {
            assert(!output->data && !(reply->owned >> port & 1u));
            continue;
        }
        assert(output->data && output->port == port && output->rank >= 1 && output->rank <= 2);
        assert(rankd_output_fits(output));
        for (uint64_t i = 0; i < output->bytes; i++)
            (void)((volatile const char *)output->data)[i];
    }
}

void rk_fuzz_reply(const uint8_t *data, size_t bytes)
{
    if (bytes < 4)
        return;
    struct rankd_piece *pieces = NULL;
    struct rankd_http_room rooms[RANKD_OUT_COUNT] = {0};
    struct rankd_reply reply;
    struct rankd_error error = {0};
    static char given[RANKD_OUT_COUNT][ROOM];
    for (int port = 0; port < RANKD_OUT_COUNT; port++) {
        rooms[port].wanted = data[0] >> port & 1;
        if (data[1] >> port & 1)
            rooms[port].to = given[port], rooms[port].bytes = ROOM;
    }
    /* A block of exactly that size, so that a sanitizer detects a read beyond it. */
    size_t json = data[2] | (size_t)data[3] << 8, size = bytes - 4;
    char *body = malloc(size ? size : 1);
    assert(body);
    memcpy(body, data + 4, size);
    int status = rankd_http_decode(&pieces, body, size, json, rooms, &reply);
    assert(status == reply.status && (status == RANKD_OK) == (reply.error[0] == '\0'));
    check(&reply, rooms);
    assert(rankd_fail_json(&error, RANKD_INVALID, body, size) == RANKD_INVALID);
    assert(error.text[0] && !strchr(error.text, '\n'));
    rankd_http_give_all(&pieces);
    free(body);
}
