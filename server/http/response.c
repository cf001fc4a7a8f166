/* SPDX-License-Identifier: Apache-2.0 */
/* The response of libmicrohttpd for an exchange: its body, borrowed or copied, and its header
 * fields. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/exchange.h"

static void add_header(struct MHD_Response *response, const char *name, const char *value)
{
    (void)MHD_add_response_header(response, name, value);
}

enum {
    COPIED_MOST = 256 << 10
}; /* bytes of a reply that is copied, so that one write sends it with its header */

/* The reply in one piece, in memory that libmicrohttpd frees. NULL: it goes in its parts. */
static struct MHD_Response *whole_response(const struct rk_wire_reply *out)
{
    const size_t bytes = rk_wire_reply_bytes(out);
    void *whole = bytes <= COPIED_MOST ? rk_wire_reply_join(out, bytes) : NULL;
    if (!whole)
        return NULL;
    struct MHD_Response *response = MHD_create_response_from_buffer(bytes, whole, MHD_RESPMEM_MUST_FREE);
    if (!response)
        free(whole);
    return response;
}

static struct MHD_Response *infer_response(struct rk_exchange *exchange)
{
    struct MHD_IoVec pieces[1 + RK_OUT_COUNT];
    const struct rk_wire_reply *out = &exchange->out;
    struct MHD_Response *response;
    if (exchange->packed) {
        response =
            MHD_create_response_from_buffer(exchange->packed_bytes, exchange->packed, MHD_RESPMEM_PERSISTENT);
    } else if (out->parts == 1) {
        response = MHD_create_response_from_buffer(out->json.length, out->json.data, MHD_RESPMEM_PERSISTENT);
    } else if (!(response = whole_response(out))) {
        for (size_t i = 0; i < out->parts; i++)
            pieces[i] = (struct MHD_IoVec){out->part[i].data, out->part[i].bytes};
        response = MHD_create_response_from_iovec(pieces, (unsigned)out->parts, NULL, NULL);
    }
    if (!response)
        return NULL;
    add_header(response, "Content-Type", out->binary ? "application/octet-stream" : "application/json");
    if (out->binary) {
        char length[24];
        (void)snprintf(length, sizeof length, "%zu", out->part[0].bytes);
        add_header(response, "Inference-Header-Content-Length", length);
    }
    if (exchange->packed)
        add_header(response, "Content-Encoding", exchange->accepted == RK_ENCODING_GZIP ? "gzip" : "deflate");
    return response;
}

static struct MHD_Response *api_response(struct rk_exchange *exchange)
{
    struct rk_answer *answer = &exchange->answer;
    exchange->sent_bytes = answer->body_bytes;
    struct MHD_Response *response =
        MHD_create_response_from_buffer(answer->body_bytes, answer->body, MHD_RESPMEM_PERSISTENT);
    if (!response)
        return NULL;
    if (answer->content_type && answer->body_bytes)
        add_header(response, "Content-Type", answer->content_type);
    if (answer->allow[0])
        add_header(response, "Allow", answer->allow);
    if (answer->http_status == RANKD_UNAUTHORIZED)
        add_header(response, "WWW-Authenticate", "Bearer");
    if (answer->retry_after_s) {
        char seconds[16];
        (void)snprintf(seconds, sizeof seconds, "%u", answer->retry_after_s);
        add_header(response, "Retry-After", seconds);
    }
    if (answer->content_type && strncmp(answer->content_type, "text/html", 9) == 0)
        add_header(
            response, "Content-Security-Policy",
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
            "img-src data:; base-uri 'none'; frame-ancestors 'none'");
    add_header(response, "X-Content-Type-Options", "nosniff");
    return response;
}

struct MHD_Response *rk_exchange_response(struct rk_exchange *exchange, bool computed)
{
    return computed ? infer_response(exchange) : api_response(exchange);
}
