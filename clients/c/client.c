/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of rankd.h: they check their arguments and call the client's transport. */
#include <pthread.h>
#include <string.h>

#include "error.h"
#ifndef RANKD_WITHOUT_HTTP
#include "http.h"
#endif
#include "request.h"
#include "ring.h"

static const struct rankd_transport_kind kinds[] = {
    {"unix:", rankd_ring_open},
#ifndef RANKD_WITHOUT_HTTP
    {"http://", rankd_http_open},
    {"https://", rankd_http_open},
#endif
};

#ifdef RANKD_WITHOUT_HTTP
static const char allowed[] = "unix:PATH: this librankd was built without HTTP";
#else
static const char allowed[] = "unix:PATH, http://HOST:PORT or https://HOST:PORT";
#endif

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static rankd_client *all;

/* ---- Fork ---- */

static void before_fork(void)
{
    (void)pthread_mutex_lock(&all_lock);
}

static void after_fork_parent(void)
{
    (void)pthread_mutex_unlock(&all_lock);
}

static void after_fork_child(void)
{
    for (rankd_client *client = all; client != NULL; client = client->next) {
        atomic_store(&client->forked, true);
        client->transport->forked(client);
    }
    all = NULL;
    (void)pthread_mutex_unlock(&all_lock);
}

static void install_fork_handlers(void)
{
    (void)pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

static void enlist(rankd_client *client)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, install_fork_handlers);
    (void)pthread_mutex_lock(&all_lock);
    client->previous = NULL;
    client->next = all;
    if (all != NULL)
        all->previous = client;
    all = client;
    (void)pthread_mutex_unlock(&all_lock);
}

static void delist(rankd_client *client)
{
    (void)pthread_mutex_lock(&all_lock);
    if (client->previous != NULL)
        client->previous->next = client->next;
    else
        all = client->next;
    if (client->next != NULL)
        client->next->previous = client->previous;
    (void)pthread_mutex_unlock(&all_lock);
}

/* RANKD_OK if the client may be used here. */
static int look_at(const rankd_client *client, const char **sentence)
{
    int status = client == NULL                                                ? RANKD_MISUSE
                 : atomic_load_explicit(&client->forked, memory_order_relaxed) ? RANKD_FORKED
                                                                               : RANKD_OK;
    *sentence = status == RANKD_MISUSE   ? "the client is NULL"
                : status == RANKD_FORKED ? "this client belongs to the parent process; open one in the child"
                                         : "";
    return status;
}

static bool is_usable(const rankd_client *client)
{
    const char *unused;
    return look_at(client, &unused) == RANKD_OK;
}

static int check(const rankd_client *client, struct rankd_error *error)
{
    const char *sentence;
    int status = look_at(client, &sentence);
    return status == RANKD_OK ? status : rankd_fail(error, status, "%s", sentence);
}

/* For calls that put their sentence into a reply. */
static int check_reply(const rankd_client *client, struct rankd_reply *reply)
{
    const char *sentence;
    int status = look_at(client, &sentence);
    if (reply == NULL)
        return status == RANKD_OK ? RANKD_MISUSE : status;
    return status == RANKD_OK ? status : rankd_reply_fail(reply, status, sentence);
}

/* ---- The calls ---- */

static const struct rankd_transport_kind *kind_of(const char *url)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strncmp(url, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
            return &kinds[i];
    }
    return NULL;
}

int rankd_open(const char *url, const struct rankd_options *options, rankd_client **client,
               struct rankd_error *error)
{
    static const struct rankd_options defaults;
    if (client != NULL)
        *client = NULL;
    if (client == NULL || url == NULL)
        return rankd_fail(error, RANKD_MISUSE, "rankd_open needs a url and a place for the client");
    if (options == NULL)
        options = &defaults;
    const struct rankd_transport_kind *kind = kind_of(url);
    if (kind == NULL)
        return rankd_fail(error, RANKD_MISUSE, "url is '%s'; it may be %s", url, allowed);
    int status = kind->open(url, options, client, error);
    if (status == RANKD_OK && *client != NULL)
        enlist(*client);
    return status;
}

void rankd_close(rankd_client *client)
{
    /* A forked child frees nothing, because other threads of the parent may have been changing that
     * memory at the moment of the fork. */
    if (!is_usable(client))
        return;
    delist(client);
    client->transport->close(client);
}

int rankd_reconnect(rankd_client *client, struct rankd_error *error)
{
    int status = check(client, error);
    return status != RANKD_OK ? status : client->transport->reconnect(client, error);
}

void *rankd_alloc(rankd_client *client, uint64_t bytes)
{
    return is_usable(client) ? client->transport->alloc(client, bytes) : NULL;
}

void rankd_free(rankd_client *client, void *memory)
{
    if (memory != NULL && is_usable(client))
        client->transport->release(client, memory);
}

void rankd_arena(rankd_client *client, uint64_t *bytes, uint64_t *largest_free)
{
    uint64_t all_bytes = 0, largest = 0;
    if (is_usable(client))
        client->transport->arena(client, &all_bytes, &largest);
    if (bytes != NULL)
        *bytes = all_bytes;
    if (largest_free != NULL)
        *largest_free = largest;
}

int rankd_submit(rankd_client *client, const struct rankd_request *request, uint64_t *tag,
                 struct rankd_error *error)
{
    int status = check(client, error);
    if (status == RANKD_OK)
        status = rankd_check_request(request, error);
    if (status == RANKD_OK && tag == NULL)
        status = rankd_fail(error, RANKD_MISUSE, "rankd_submit needs a place for the tag");
    return status != RANKD_OK ? status : client->transport->submit(client, request, tag, error);
}

int rankd_poll(rankd_client *client, uint64_t tag, struct rankd_reply *reply)
{
    int status = check_reply(client, reply);
    return status != RANKD_OK ? status : client->transport->wait(client, tag, 0, reply);
}

int rankd_wait(rankd_client *client, uint64_t tag, uint64_t timeout_ns, struct rankd_reply *reply)
{
    int status = check_reply(client, reply);
    if (status != RANKD_OK)
        return status;
    status = client->transport->wait(client, tag, timeout_ns, reply);
    return status == RANKD_PENDING ? RANKD_TIMEOUT : status;
}

int rankd_infer(rankd_client *client, const struct rankd_request *request, struct rankd_reply *reply)
{
    struct rankd_error error = {0};
    uint64_t tag = 0;
    int status = check_reply(client, reply); /* before anything is sent for which no thread could wait */
    if (status != RANKD_OK)
        return status;
    status = rankd_submit(client, request, &tag, &error);
    if (status != RANKD_OK)
        return rankd_reply_fail(reply, status, error.text);
    return rankd_wait(client, tag, UINT64_MAX, reply);
}

int rankd_cancel(rankd_client *client, uint64_t tag)
{
    int status = check(client, NULL);
    return status != RANKD_OK ? status : client->transport->cancel(client, tag, false);
}

void rankd_forget(rankd_client *client, uint64_t tag)
{
    if (is_usable(client))
        (void)client->transport->cancel(client, tag, true);
}

void rankd_reply_clear(rankd_client *client, struct rankd_reply *reply)
{
    if (client == NULL || reply == NULL)
        return;
    for (int port = 0; port < RANKD_OUT_COUNT; port++) {
        if ((reply->owned & 1u << port) != 0) {
            rankd_free(client, reply->outputs[port].data);
            reply->outputs[port].data = NULL;
        }
    }
    reply->owned = 0;
}

/* No character that would end a line or change the request. */
static bool is_word(const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        if ((unsigned char)*at <= ' ' || *at == '\x7f' || *at == '#')
            return false;
    }
    return text[0] != '\0';
}

int rankd_call(rankd_client *client, const char *method, const char *path, const void *body,
               size_t body_bytes, uint64_t timeout_ns, char **answer, size_t *answer_bytes,
               struct rankd_error *error)
{
    size_t unused;
    if (answer != NULL)
        *answer = NULL;
    int status = check(client, error);
    if (status != RANKD_OK)
        return status;
    if (answer == NULL || method == NULL || path == NULL || (body == NULL && body_bytes != 0))
        return rankd_fail(
            error, RANKD_MISUSE,
            "rankd_call needs a method, a path, a body if it has bytes, and room for the answer");
    if (path[0] != '/' || !is_word(path) || !is_word(method))
        return rankd_fail(error, RANKD_MISUSE, "'%s %s' is not a method and a path without blanks", method,
                          path);
    return client->transport->call(client, method, path, body, body_bytes, timeout_ns, answer,
                                   answer_bytes != NULL ? answer_bytes : &unused, error);
}

uint64_t rankd_daemon_id(rankd_client *client)
{
    return is_usable(client) ? client->transport->daemon_id(client) : 0;
}

const char *rankd_version(void)
{
    return RK_VERSION;
}
