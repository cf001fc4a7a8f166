/* SPDX-License-Identifier: Apache-2.0 */
/* The decisions of the scripts of the Redis store, against a server of the test: verdicts, the
 * chain, trimming, and payloads that checkpoints hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bank/kind.h"
#include "bank_store/redis.h"
#include "bank_store/redis_link.h"
#include "base/clock.h"

#define UID "0123456789abcdef0123456789abcdef"
#define DEADLINE (rk_now_ns() + UINT64_C(20000000000))

static const struct rk_bank_shape shape = {
    .kind = &rk_bank_kind_embeddings, .dim = 2, .capacity = 8, .dtype = RK_FP32};
static pid_t server;
static struct rk_redis_address address = {"127.0.0.1", ""};
static struct rk_bank_store *store;

/* --- the server --- */

static void find_port(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof any;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof any), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&any, &size), 0);
    (void)snprintf(address.port, sizeof address.port, "%d", ntohs(any.sin_port));
    (void)close(fd);
}

static struct rk_redis_reply *ask(const char *a, const char *b, const char *c)
{
    struct rk_err err = {0};
    struct rk_redis_link *link = rk_redis_link_open(&address, DEADLINE, &err);
    struct rk_redis_reply *reply = NULL;
    if (link) {
        rk_redis_send_words(link, a, b, c, NULL);
        reply = rk_redis_next(link, 1 << 20, &err);
    }
    rk_redis_link_close(link);
    return reply;
}

static long long count_keys(const char *pattern)
{
    struct rk_redis_reply *keys = ask("KEYS", pattern, NULL);
    assert_non_null(keys);
    const long long count = (long long)keys->parts;
    rk_redis_reply_free(keys);
    return count;
}

static int begin_all(void **state)
{
    char url[64];
    struct rk_err err = {0};
    (void)state;
    find_port();
    server = fork();
    if (server == 0) {
        (void)!freopen("/dev/null", "w", stdout);
        (void)execlp("redis-server", "redis-server", "--port", address.port, "--bind", "127.0.0.1", "--save",
                     "", (char *)NULL);
        _exit(127);
    }
    (void)snprintf(url, sizeof url, "redis://127.0.0.1:%s", address.port);
    const struct rk_redis_options options = {.url = url,
                                             .password_file = "",
                                             .tail = "",
                                             .timeout_ns = UINT64_C(20000000000),
                                             .keep = {.kept = 6, .most = 9, .age_ms = 600000}};
    store = rk_redis_store_open(&options, &err);
    for (int i = 0; store && i < 500; i++) {
        struct rk_redis_reply *pong = ask("PING", NULL, NULL);
        const bool up = pong != NULL;
        rk_redis_reply_free(pong);
        if (up)
            return 0;
        (void)usleep(20000);
    }
    return 1;
}

static int end_all(void **state)
{
    (void)state;
    store->ops->close(store);
    (void)kill(server, SIGKILL);
    (void)waitpid(server, NULL, 0);
    return 0;
}

/* --- a bank and its batches --- */

static int begin_bank(void **state)
{
    struct rk_stored_state made;
    struct rk_err err = {0};
    (void)state;
    rk_redis_reply_free(ask("FLUSHALL", NULL, NULL));
    assert_int_equal(store->ops->create(store, "b", UID, "{}", &made, &err), RANKD_OK);
    assert_string_equal(made.uid, UID);
    assert_true(rk_chain_same(made.chain, rk_chain_first(UID)));
    return 0;
}

struct redis_append {
    struct rk_batch batch;
    struct rk_stored_append stored;
};

static void make(struct redis_append *one, uint64_t name, size_t items, struct rk_bank_position read)
{
    struct rk_err err = {0};
    assert_int_equal(rk_batch_take(&shape, items, &one->batch, &err), RANKD_OK);
    memset(one->batch.block, (int)name, one->batch.bytes);
    one->stored = (struct rk_stored_append){
        .batch = &one->batch, .named = true, .empty = items == 0, .generation = read.generation};
    one->stored.id = (struct rk_batch_id){
        .name = {name, 1}, .content = rk_record_hash(one->batch.block, one->batch.bytes), .read = read};
}

/* Appends one batch; `oldest` as in the table of functions. */
static struct rk_stored_append put_at(uint64_t name, size_t items, struct rk_bank_position read,
                                      uint64_t oldest, const char *uid)
{
    struct redis_append one;
    struct rk_err err = {0};
    unsigned replicas;
    const struct rk_stored_durability none = {.deadline_ns = DEADLINE};
    make(&one, name, items, read);
    assert_int_equal(
        store->ops->append(store, "b", uid, &one.stored, 1, oldest, &none, NULL, &replicas, &err), RANKD_OK);
    rk_batch_free(&one.batch);
    return one.stored;
}

static struct rk_stored_append put(uint64_t name)
{
    return put_at(name, 2, (struct rk_bank_position){1, 0, 0}, 0, UID);
}

static struct rk_stored_state now(void)
{
    struct rk_stored_state state;
    struct rk_err err = {0};
    assert_int_equal(store->ops->state(store, "b", &state, &err), RANKD_OK);
    return state;
}

/* --- the tests --- */

static void verdicts_of_the_script(void **state)
{
    (void)state;
    const struct rk_bank_position start = {1, 0, 0}, later = {1, 1, 2};
    struct rk_stored_append first = put(7), again = put(7);
    assert_int_equal(first.verdict, RK_STORED_OK);
    assert_int_equal(first.entry.place.version, 1);
    assert_int_equal(again.verdict, RK_STORED_OK); /* an earlier attempt, whose reply was lost */
    assert_int_equal(again.entry.place.version, 1);
    struct rk_stored_append other = put_at(7, 2, later, 0, UID);
    assert_int_equal(other.verdict, RK_STORED_DUP);
    assert_int_equal(other.entry.id.read.version, 0);
    struct rk_stored_append content = put_at(7, 3, start, 0, UID);
    assert_int_equal(content.verdict, RK_STORED_DUP);
    assert_true(content.entry.id.content == first.id.content &&
                content.entry.id.content != content.id.content);
    struct rk_stored_append old = put_at(8, 2, (struct rk_bank_position){2, 0, 0}, 0, UID);
    assert_int_equal(old.verdict, RK_STORED_GENERATION);
    assert_int_equal(old.entry.generation, 1);
    assert_int_equal(put_at(9, 2, start, 0, "another").verdict, RK_STORED_GONE);
    struct rk_stored_append empty = put_at(10, 0, later, 0, UID), second = put(11);
    assert_true(empty.verdict == RK_STORED_OK && empty.entry.kind == RK_STORED_ID);
    assert_true(empty.entry.place.version == 1 && empty.entry.place.sub == 1);
    assert_true(second.entry.place.version == 2 && second.entry.place.sub == 0);
    assert_int_equal(now().place.version, 2);
    assert_int_equal(now().end, 4);
}

static enum rankd_status collect(void *context, const char *bank, const struct rk_stored_entry *entry,
                                 struct rk_err *err)
{
    struct rk_chain *chain = context;
    (void)bank, (void)err;
    *chain = rk_chain_next(*chain, entry);
    assert_true(rk_chain_same(*chain, entry->chain));
    return RANKD_OK;
}

static void the_scripts_chain_as_the_daemon_does(void **state)
{
    (void)state;
    struct rk_chain chain = rk_chain_first(UID);
    struct rk_stored_state cleared;
    struct rk_err err = {0};
    for (uint64_t n = 1; n <= 4; n++)
        (void)put_at(n, n == 3 ? 0 : n, (struct rk_bank_position){1, 0, 0}, 0, UID);
    assert_int_equal(store->ops->clear(store, "b", UID, &cleared, &err), RANKD_OK);
    (void)put_at(9, 2, (struct rk_bank_position){2, 3, 7}, 0, UID);
    assert_int_equal(store->ops->index(store, "b", (struct rk_stored_place){0}, collect, &chain, &err),
                     RANKD_OK);
    assert_true(rk_chain_same(chain, now().chain));
    assert_true(cleared.generation == 2 && cleared.base == cleared.end && cleared.cleared == 2);
}

static void names_outlive_payloads_and_are_forgotten_in_order(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 30; n++)
        (void)put_at(n, 2, (struct rk_bank_position){1, 0, 0}, n > 3 ? n - 3 : 0, UID);
    assert_int_equal(now().first, 27);
    struct rk_redis_reply *length = ask("XLEN", "rankd:{b}:index", NULL);
    struct rk_redis_reply *names = ask("HLEN", "rankd:{b}:ids", NULL);
    assert_int_equal(length->integer, 9); /* `most`, because they are young */
    assert_int_equal(names->integer, 9);
    rk_redis_reply_free(length);
    rk_redis_reply_free(names);
    assert_int_equal(put(22).verdict, RK_STORED_OK); /* known: the same attempt */
    assert_int_equal(put(22).entry.place.version, 22);
    assert_int_equal(put(5).entry.place.version, 31); /* forgotten: appended */
}

static void a_checkpoint_holds_its_payloads(void **state)
{
    (void)state;
    struct rk_stored_checkpoint taken;
    struct rk_stored_state restored;
    struct rk_err err = {0}, twice = {0}, missing = {0};
    for (uint64_t n = 1; n <= 4; n++)
        (void)put(n);
    assert_int_equal(store->ops->checkpoint(store, "b", UID, "t", 5, 8, &taken, &err), RANKD_OK);
    assert_true(taken.version == 4 && taken.items == 8 && taken.generation == 1 && taken.created == 5);
    assert_int_equal(store->ops->checkpoint(store, "b", UID, "t", 5, 8, &taken, &twice), RANKD_CONFLICT);
    for (uint64_t n = 5; n <= 8; n++)
        (void)put_at(n, 2, (struct rk_bank_position){1, 4, 8}, 0, UID);
    assert_int_equal(store->ops->restore(store, "b", UID, "t", &restored, &err), RANKD_OK);
    assert_true(restored.generation == 2 && restored.place.version == 4 && restored.end == 8);
    assert_int_equal(restored.first, 1);
    assert_int_equal(put_at(4, 2, (struct rk_bank_position){2, 4, 8}, 0, UID).verdict, RK_STORED_DUP);
    assert_int_equal(put_at(5, 2, (struct rk_bank_position){2, 4, 8}, 0, UID).entry.place.version, 5);
    struct rk_chain chain = rk_chain_first(UID);
    assert_int_equal(store->ops->index(store, "b", (struct rk_stored_place){0}, collect, &chain, &err),
                     RANKD_OK);
    assert_int_equal(store->ops->forget(store, "b", UID, "t", &err), RANKD_OK);
    assert_int_equal(store->ops->forget(store, "b", UID, "t", &missing), RANKD_NOT_FOUND);
    assert_int_equal(count_keys("rankd:{b}:c:*"), 0);
    assert_int_equal(count_keys("rankd:{b}:held"), 0);
    assert_true(count_keys("rankd:{b}:p:*") >= 5); /* the payloads that the bank needs are still there */
    assert_int_equal(store->ops->remove(store, "b", UID, &err), RANKD_OK);
    assert_int_equal(count_keys("rankd:{b}:*"), 1); /* the record of the deletion */
    assert_true(now().uid[0] == '\0');
}

int main(void)
{
    if (!rk_redis_store_built())
        return 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(verdicts_of_the_script, begin_bank),
        cmocka_unit_test_setup(the_scripts_chain_as_the_daemon_does, begin_bank),
        cmocka_unit_test_setup(names_outlive_payloads_and_are_forgotten_in_order, begin_bank),
        cmocka_unit_test_setup(a_checkpoint_holds_its_payloads, begin_bank),
    };
    return cmocka_run_group_tests(tests, begin_all, end_all);
}
