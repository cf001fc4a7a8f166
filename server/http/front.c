/* SPDX-License-Identifier: Apache-2.0 */
#include "http/front.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "access/access.h"
#include "base/clock.h"
#include "base/descriptors.h"
#include "base/log.h"
#include "base/patient.h"
#include "http/exchange.h"
#include "http/listen.h"
#include "http/places.h"
#include "http/tls.h"

enum { ANNOUNCE_MS = 1000 };

static void on_connection(void *closure, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct rk_http *http = closure;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        rk_conn_free(&http->conns, *context);
        *context = NULL;
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    *context = info ? rk_conn_new(&http->conns, info->connect_fd) : NULL;
}

/* The request line has arrived: the exchange begins. Copies the path before libmicrohttpd unescapes
 * it. */
static void *on_request_line(void *closure, const char *uri, struct MHD_Connection *connection)
{
    struct rk_http *http = closure;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct rk_conn *conn = info ? info->socket_context : NULL;
    struct rk_exchange *exchange = conn ? calloc(1, sizeof *exchange) : NULL;
    if (!exchange)
        return NULL;
    exchange->http = http;
    exchange->conn = conn;
    exchange->connection = connection;
    exchange->number = ++conn->requests;
    exchange->begun_ns = rk_now_ns();
    exchange->query = "";
    exchange->uri = strdup(uri);
    if (!exchange->uri) {
        free(exchange);
        return NULL;
    }
    rk_conn_phase(&http->conns, conn, RK_PHASE_HEADER);
    return exchange;
}

static enum MHD_Result on_header(struct rk_exchange *exchange, const char *method)
{
    struct rk_http *http = exchange->http;
    exchange->step = RK_STEP_READING;
    exchange->counted = true;
    rk_conn_phase(&http->conns, exchange->conn, RK_PHASE_BODY);
    if (rk_exchange_header(exchange, method))
        return rk_exchange_answer(exchange);
    exchange->counted_in_flight = !exchange->route || exchange->route->kind != RK_ROUTE_LIGHT;
    if (exchange->counted_in_flight)
        rk_metric_add(http->env->metrics, RK_METRIC_in_flight, 0, 0, 1);
    if (exchange->err.status == RANKD_TOO_LARGE)
        rk_exchange_tell(exchange);
    return MHD_YES;
}

/* The body of a refused request is read and dropped, so that the client gets to reading the
 * answer. */
static void on_piece(struct rk_exchange *exchange, const char *bytes, size_t count)
{
    struct rk_budget *budget = exchange->http->env->budget;
    if (exchange->err.status == RANKD_OK &&
        rk_body_add(&exchange->body, budget, bytes, count, &exchange->err) != RANKD_OK) {
        rk_body_free(&exchange->body, budget);
        if (exchange->err.status == RANKD_TOO_LARGE)
            rk_exchange_tell(exchange);
    }
}

static enum MHD_Result on_access(void *closure, struct MHD_Connection *connection, const char *url,
                                 const char *method, const char *version, const char *upload,
                                 size_t *upload_size, void **context)
{
    struct rk_exchange *exchange = *context;
    (void)closure, (void)connection, (void)url, (void)version;
    if (!exchange)
        return MHD_NO;
    if (exchange->step == RK_STEP_BEGUN)
        return on_header(exchange, method);
    if (*upload_size) {
        on_piece(exchange, upload, *upload_size);
        *upload_size = 0;
        return MHD_YES;
    }
    if (exchange->step == RK_STEP_READING && rk_exchange_run(exchange))
        return MHD_YES;
    return exchange->step == RK_STEP_ANSWERED ? rk_exchange_answer(exchange) : MHD_YES;
}

static void on_completed(void *closure, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code)
{
    struct rk_http *http = closure;
    struct rk_exchange *exchange = *context;
    (void)connection, (void)code;
    *context = NULL;
    if (!exchange)
        return;
    struct rk_conn *conn = exchange->conn;
    rk_exchange_end(exchange);
    const bool more = rk_framing_in_head(&conn->guard.framing);
    rk_conn_phase(&http->conns, conn, more ? RK_PHASE_HEADER : RK_PHASE_IDLE);
}

/* wire.h decodes the path: libmicrohttpd must not change it. */
static size_t leave_escaped(void *closure, struct MHD_Connection *connection, char *text)
{
    (void)closure, (void)connection;
    return strlen(text);
}

static struct MHD_Daemon *start_daemon(struct rk_http *http, int listener)
{
    const struct rk_config *config = http->env->config;
    /* Half of the memory is the read buffer: a body comes in pieces of that size. It is mapped, and
     * untouched while the connection is idle. */
    const size_t memory = config->header_bytes > 65536 ? 2 * config->header_bytes : 131072;
    static char priorities[] = RK_TLS_PRIORITIES;
    struct MHD_OptionItem secure[] = {{MHD_OPTION_HTTPS_CERT_CALLBACK2, 0, (void *)(intptr_t)rk_tls_retrieve},
                                      {MHD_OPTION_HTTPS_PRIORITIES, 0, priorities},
                                      {MHD_OPTION_END, 0, NULL}};
    struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
    /* The limit of each thread, because one thread may have all connections. */
    const unsigned limit = ((unsigned)http->conns.limit + RK_SPARE_PLACES) * http->threads;
    struct MHD_OptionItem several[] = {{MHD_OPTION_THREAD_POOL_SIZE, http->threads, NULL},
                                       {MHD_OPTION_END, 0, NULL}};
    return MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | (http->tls ? MHD_USE_TLS : 0u), 0, NULL,
        NULL, on_access, http, MHD_OPTION_LISTEN_SOCKET, listener, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
        http, MHD_OPTION_NOTIFY_CONNECTION, on_connection, http, MHD_OPTION_URI_LOG_CALLBACK, on_request_line,
        http, MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped, NULL, MHD_OPTION_CONNECTION_MEMORY_LIMIT, memory,
        MHD_OPTION_CONNECTION_LIMIT, limit, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_ARRAY,
        http->tls ? secure : none, MHD_OPTION_ARRAY, http->threads > 1 ? several : none, MHD_OPTION_END);
}

enum rankd_status rk_http_check(const struct rk_config *config, struct rk_err *err)
{
    struct sockaddr_storage address;
    if (strcmp(config->http, "off") == 0)
        return RANKD_OK;
    return rk_listen_parse(config->http, &address, err);
}

static void free_http(struct rk_http *http)
{
    rk_tls_free(http->tls);
    rk_inline_free(http->inlines);
    free(http);
}

static enum rankd_status listen_and_serve(struct rk_http *http, struct rk_err *err)
{
    const struct rk_config *config = http->env->config;
    const bool tls = config->tls_cert[0] != '\0';
    if (tls && !(http->tls = rk_tls_new(config, err)))
        return err->status;
    const int listener = rk_listen_open(config->http, tls, http->url, err);
    if (listener < 0)
        return err->status;
    const uint64_t limit = rk_descriptors_for(config->connections, RK_SPARE_PLACES, http->env->log);
    if (!rk_conns_start(&http->conns, config, http->env->metrics, !tls, limit)) {
        (void)close(listener);
        return rk_fail(err, RANKD_INTERNAL, "http: no thread could be started");
    }
    http->daemon = start_daemon(http, listener);
    if (http->daemon)
        return RANKD_OK;
    (void)close(listener);
    rk_conns_stop(&http->conns);
    return rk_fail(err, RANKD_INTERNAL, "http: libmicrohttpd could not be started");
}

enum rankd_status rk_http_start(const struct rk_transport_env *env, struct rk_http **http, struct rk_err *err)
{
    *http = NULL;
    if (strcmp(env->config->http, "off") == 0)
        return RANKD_OK;
    struct rk_http *made = calloc(1, sizeof *made);
    if (!made)
        return rk_fail(err, RANKD_INTERNAL, "no memory");
    made->env = env;
    made->threads = (unsigned)env->config->http_threads;
    made->inlines = rk_inline_new(made->threads);
    if (!made->inlines) {
        free_http(made);
        return rk_fail(err, RANKD_INTERNAL, "no memory");
    }
    if (listen_and_serve(made, err) != RANKD_OK) {
        free_http(made);
        return err->status;
    }
    *http = made;
    return RANKD_OK;
}

/* Waits for requests that were received completely, until they are answered, the time is up, or a
 * shutdown is forced. */
static void drain(struct rk_http *http)
{
    const struct rk_transport_env *env = http->env;
    rk_places_drain(&http->conns);
    const uint64_t until = rk_now_ns() + env->config->drain_timeout * 1000000u;
    while (atomic_load(&http->in_flight) && !atomic_load(&env->lifecycle->force_shutdown) &&
           rk_now_ns() < until)
        (void)nanosleep(&(struct timespec){0, 5000000}, NULL);
    if (atomic_load(&http->in_flight))
        rk_log_say(env->log, RK_LOG_WARN, "http", "%zu requests were not waited for",
                   atomic_load(&http->in_flight));
    /* A suspended connection can't be stopped: what is queued is dropped, what runs ends at its
     * deadline. */
    if (atomic_load(&http->in_flight)) {
        rk_worker_pool_abandon(env->infer.workers);
        rk_worker_pool_abandon(env->api.admin_queue);
    }
    while (!rk_worker_pool_idle(env->infer.workers) || !rk_worker_pool_idle(env->api.admin_queue))
        (void)nanosleep(&(struct timespec){0, 1000000}, NULL);
}

void rk_http_stop(struct rk_http *http)
{
    if (!http)
        return;
    const MHD_socket listener = MHD_quiesce_daemon(http->daemon);
    /* Refuses new connections. The descriptor stays open until no thread can accept from it, so
     * that its number is not reused. */
    if (listener != MHD_INVALID_SOCKET)
        (void)shutdown(listener, SHUT_RD);
    drain(http);
    MHD_stop_daemon(http->daemon);
    if (listener != MHD_INVALID_SOCKET)
        (void)close(listener);
    rk_conns_stop(&http->conns);
    free_http(http);
}

bool rk_http_has_tls(const struct rk_http *http)
{
    return http && http->tls;
}

enum rankd_status rk_http_reload(const struct rk_http *http, struct rk_err *err)
{
    return rk_http_has_tls(http) ? rk_tls_reload(http->tls, err) : RANKD_OK;
}

void rk_http_announce(const struct rk_http *http, int fd)
{
    char line[RK_URL_TEXT + 16];
    if (!http)
        return;
    const int length = snprintf(line, sizeof line, "listening on %s\n", http->url);
    if (rk_patient_write(fd, line, (size_t)length, ANNOUNCE_MS) <= 0)
        rk_log_say(http->env->log, RK_LOG_WARN, "http", "standard output takes no \"listening on %s\"",
                   http->url);
}
