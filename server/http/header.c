/* SPDX-License-Identifier: Apache-2.0 */
/* What a request's header says, and whether the request may go on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "access/access.h"
#include "base/budget.h"
#include "codec/model_find.h"
#include "http/exchange.h"
#include "http/places.h"
#include "http/wire.h"

enum {
    DROP_AT_MOST = 64 << 20
}; /* bytes of a refused body that are read, so that the client gets to the answer */

/* Of the fields that head.c passes on: all others are NULL. */
static const char *header(const struct rk_exchange *exchange, const char *name)
{
    return MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, name);
}

static enum rankd_status check_access(struct rk_exchange *exchange)
{
    struct rk_access *access = exchange->http->env->access;
    const char *host = header(exchange, "Host"), *origin = header(exchange, "Origin");
    struct rk_err unknown = {0};
    char named[256];
    size_t length;
    const char *authority;
    (void)rk_head_target(exchange->uri, &authority, &length);
    if (length) { /* RFC 9112 §3.2.2: it stands for the Host */
        (void)snprintf(named, sizeof named, "%.*s", (int)(length < sizeof named ? length : 0), authority);
        host = named;
    }
    if (rk_access_page(access, host, origin, &exchange->err) != RANKD_OK)
        return exchange->err.status;
    const enum rankd_status known =
        rk_access_identify(access, header(exchange, "Authorization"), &exchange->who, &unknown);
    if (!exchange->route || exchange->route->scope == RK_SCOPE_NONE)
        return RANKD_OK;
    if (known != RANKD_OK)
        return rk_fail(&exchange->err, known, "%s", unknown.text);
    return rk_access_permit(&exchange->who, exchange->route->scope, &exchange->err);
}

/* HEAD goes with GET, and OPTIONS with every path. */
static void add_implied(char allow[64])
{
    const size_t at = strlen(allow);
    (void)snprintf(allow + at, 64 - at, "%s, OPTIONS", strstr(allow, "GET") ? ", HEAD" : "");
}

static enum rankd_status find_route(struct rk_exchange *exchange)
{
    const char *verb = strcmp(exchange->method, "HEAD") == 0 ? "GET" : exchange->method;
    if (rk_wire_path(exchange->uri, exchange->path, sizeof exchange->path, &exchange->query,
                     &exchange->err) != RANKD_OK)
        return exchange->err.status;
    if (strcmp(exchange->path, "*") == 0) /* the whole server, which only OPTIONS may ask for */
        (void)snprintf(exchange->answer.allow, sizeof exchange->answer.allow, "GET, PUT, POST, DELETE");
    else
        exchange->route =
            rk_route_find(verb, exchange->path, &exchange->match, exchange->answer.allow, &exchange->err);
    if (exchange->options && exchange->answer.allow[0]) {
        add_implied(exchange->answer.allow);
        memset(&exchange->err, 0, sizeof exchange->err);
        return RANKD_OK;
    }
    if (!exchange->route)
        return exchange->err.status;
    exchange->answer.allow[0] = '\0';
    exchange->is_infer = exchange->route->kind == RK_ROUTE_INFER;
    return RANKD_OK;
}

/* Announced length of the body; 0 = none or unknown. That it is a number was checked (head.h). */
static size_t announced(const struct rk_exchange *exchange)
{
    const char *text = header(exchange, "Content-Length");
    return text ? (size_t)strtoull(text, NULL, 10) : 0;
}

static enum rankd_status check_body(struct rk_exchange *exchange)
{
    const struct rk_config *config = exchange->http->env->config;
    struct rk_body *body = &exchange->body;
    exchange->json_length = header(exchange, "Inference-Header-Content-Length");
    const bool binary = exchange->is_infer && exchange->json_length;
    const bool json_rules = !binary && config->json_bytes < config->body_bytes;
    body->limit = json_rules ? config->json_bytes : config->body_bytes;
    body->announced = announced(exchange);
    if (body->announced > body->limit)
        return rk_fail(&exchange->err, RANKD_TOO_LARGE,
                       "the body has %zu bytes; it may have at most %zu (--%s)", body->announced, body->limit,
                       json_rules ? "json-bytes" : "body-bytes");
    const size_t budget = rk_budget_limit(exchange->http->env->budget);
    if (body->announced > budget)
        return rk_fail(&exchange->err, RANKD_TOO_LARGE,
                       "the body has %zu bytes; all requests together may take %zu of memory "
                       "(--budget-bytes)",
                       body->announced, budget);
    const char *encoding = header(exchange, "Content-Encoding");
    if (!rk_encoding_parse(encoding, &exchange->encoding)) {
        exchange->http_status = 415;
        return rk_fail(&exchange->err, RANKD_INVALID,
                       "Content-Encoding was \"%.64s\"; it must be gzip, deflate or identity", encoding);
    }
    exchange->accepted = rk_encoding_accepted(header(exchange, "Accept-Encoding"));
    return RANKD_OK;
}

static enum rankd_status check_model(struct rk_exchange *exchange)
{
    if (!exchange->is_infer)
        return RANKD_OK;
    exchange->wire.request.model = rk_model_find_or_fail(exchange->match.names[0], &exchange->err);
    exchange->meta.transport = exchange->json_length ? RK_TRANSPORT_HTTP_BINARY : RK_TRANSPORT_HTTP_JSON;
    exchange->meta.who = &exchange->who;
    exchange->meta.id = exchange->wire.id;
    return exchange->err.status;
}

static enum rankd_status check_running(struct rk_exchange *exchange)
{
    const char *why = rk_lifecycle_unready(exchange->http->env->lifecycle);
    if (!exchange->route || exchange->route->scope == RK_SCOPE_NONE || !why)
        return RANKD_OK;
    return rk_fail(&exchange->err, RANKD_OVERLOADED, "rankd is %s; try again in a moment", why);
}

static enum rankd_status check_place(struct rk_exchange *exchange)
{
    const struct rk_route *route = exchange->route;
    exchange->spare = rk_places_is_spare(&exchange->http->conns, exchange->conn);
    if (!exchange->spare || (route->kind == RK_ROUTE_LIGHT &&
                             (route->scope == RK_SCOPE_NONE || route->scope == RK_SCOPE_METRICS)))
        return RANKD_OK;
    return rk_fail(&exchange->err, RANKD_OVERLOADED,
                   "all %zu connections are taken (--connections); try again in a moment",
                   exchange->http->conns.limit);
}

bool rk_exchange_header(struct rk_exchange *exchange, const char *method)
{
    const char *expect = header(exchange, "Expect");
    (void)snprintf(exchange->who.name, sizeof exchange->who.name, "anonymous");
    if (rk_guard_verdict(&exchange->conn->guard, exchange->number, &exchange->http_status, &exchange->err) !=
        RANKD_OK) {
        exchange->close_after = true;
        return true;
    }
    (void)snprintf(exchange->method, sizeof exchange->method, "%s", method);
    exchange->options = strcmp(exchange->method, "OPTIONS") == 0;
    if (find_route(exchange) == RANKD_OK && check_access(exchange) == RANKD_OK &&
        check_running(exchange) == RANKD_OK && check_place(exchange) == RANKD_OK &&
        check_body(exchange) == RANKD_OK)
        (void)check_model(exchange);
    if (exchange->err.status == RANKD_OK)
        return false;
    if (!exchange->body.announced)
        exchange->body.announced = announced(exchange);
    exchange->close_after = exchange->spare || exchange->body.announced > DROP_AT_MOST ||
                            (expect && strcasecmp(expect, "100-continue") == 0);
    return exchange->close_after;
}
