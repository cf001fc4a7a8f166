/* SPDX-License-Identifier: Apache-2.0 */
/* The store of Redis, from below: one connection (redis_link.c), Sentinel (sentinel.c), connections to the
 * master (redis_connect.c), appends (redis_append.c), what operators are told (redis_about.c), what is read
 * (redis_read.c) and followed (redis_tail.c), operations on banks (redis_admin.c), and the table of all of
 * them (redis.c); and what each does for the others. */
#ifndef RK_BANK_STORE_REDIS_INTERNAL_H
#define RK_BANK_STORE_REDIS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "bank_store/redis.h"
#include "bank_store/redis_link.h"
#include "bank_store/scripts.h"

enum { RK_REDIS_IDLE = 8, RK_REDIS_KEY_BYTES = 320, RK_REDIS_SMALL = 1 << 20, RK_REDIS_PAGE = 64 << 20 };

/* How the store's own disk takes what is appended. */
enum rk_redis_disk { RK_REDIS_DISK_UNKNOWN, RK_REDIS_DISK_NONE, RK_REDIS_DISK_ALWAYS, RK_REDIS_DISK_WAITAOF };

struct rk_redis {
    struct rk_bank_store store; /* first */
    struct rk_redis_url url;
    struct rk_redis_address replica; /* to read from; host "" = none */
    char password_file[4096];
    uint64_t timeout_ns;
    struct rk_stored_keep keep;
    pthread_mutex_t lock;
    struct rk_redis_link *idle[RK_REDIS_IDLE]; /* the lock's */
    size_t idle_count;
    struct rk_redis_address master; /* the lock's: what Sentinel said last; host "" = nothing yet */
    atomic_uint epoch;              /* raised when the master moves: connections of before are closed */
    atomic_int disk;
    struct rk_redis_link *tail; /* the tailing thread's */
};

static inline struct rk_redis *rk_redis_of(struct rk_bank_store *store)
{
    return (struct rk_redis *)store;
}

/* redis_connect.c */
/* A connection to the master that is ready: authenticated, fit, with scripts. `fresh`: one that answers for
 * sure. Given back, it is kept or, broken, closed. */
struct rk_redis_link *rk_redis_take(struct rk_redis *redis, bool fresh, uint64_t deadline_ns,
                                    struct rk_err *err) __attribute__((warn_unused_result));
void rk_redis_give(struct rk_redis *redis, struct rk_redis_link *link);
/* One that is at hand, NULL: none. Waits for nothing. */
struct rk_redis_link *rk_redis_take_idle(struct rk_redis *redis);
/* The same to the replica that is read from, or the master where there is none. */
struct rk_redis_link *rk_redis_connect_tail(struct rk_redis *redis, struct rk_err *err)
    __attribute__((warn_unused_result));
/* Where the master is; connections to one of before are not used again. */
enum rankd_status rk_redis_find_master(struct rk_redis *redis, uint64_t deadline_ns,
                                       struct rk_redis_address *master, struct rk_err *err)
    __attribute__((warn_unused_result));
/* Loads the scripts again: the server has forgotten them. */
enum rankd_status rk_redis_load_scripts(struct rk_redis_link *link, struct rk_err *err)
    __attribute__((warn_unused_result));
/* The master is another one, or none: connections of before are not used again. */
void rk_redis_moved(struct rk_redis *redis);
uint64_t rk_redis_deadline(const struct rk_redis *redis);
/* "PREFIX:{BANK}:rest" */
void rk_redis_key(const struct rk_redis *redis, const char *bank, const char *rest,
                  char key[RK_REDIS_KEY_BYTES]);
/* RANKD_OVERLOADED with what the server said; notes that the link, or the master, is of no more use. */
enum rankd_status rk_redis_refused(struct rk_redis *redis, struct rk_redis_link *link,
                                   const struct rk_redis_reply *reply, struct rk_err *err);
/* Is the master there and fit, and with `on_disk` its disk too? */
enum rankd_status rk_redis_check(struct rk_bank_store *store, bool on_disk, struct rk_err *err);

/* sentinel.c: where the master is. One Sentinel that answers is enough. */
enum rankd_status rk_redis_ask_sentinel(const struct rk_redis_url *url, const char *password,
                                        uint64_t deadline_ns, struct rk_redis_address *master,
                                        struct rk_err *err) __attribute__((warn_unused_result));

/* redis_about.c */
enum rankd_status rk_redis_about(struct rk_bank_store *store, struct rk_stored_server *about,
                                 struct rk_err *err);

/* redis_append.c */
struct rk_stored_begun *rk_redis_append_begin(struct rk_bank_store *store, const char *bank, const char *uid,
                                              struct rk_stored_append *group, size_t count, uint64_t oldest,
                                              const struct rk_stored_durability *durability);
enum rankd_status rk_redis_append(struct rk_bank_store *store, const char *bank, const char *uid,
                                  struct rk_stored_append *group, size_t count, uint64_t oldest,
                                  const struct rk_stored_durability *durability,
                                  struct rk_stored_begun *begun, unsigned *replicas, struct rk_err *err);
/* A place "v-k" of the index. */
bool rk_redis_place_parse(const struct rk_redis_reply *reply, struct rk_stored_place *place);

/* redis_read.c */
enum rankd_status rk_redis_survey(struct rk_bank_store *store, const char *who, const char *const *known,
                                  size_t count, struct rk_stored_survey *survey, struct rk_err *err);
enum rankd_status rk_redis_state(struct rk_bank_store *store, const char *bank, struct rk_stored_state *state,
                                 struct rk_err *err);
/* redis_tail.c */
enum rankd_status rk_redis_tail(struct rk_bank_store *store, const struct rk_stored_cursor *cursor,
                                size_t count, uint64_t wait_ms, rk_stored_on_entry *visit, void *context,
                                struct rk_err *err);
enum rankd_status rk_redis_index(struct rk_bank_store *store, const char *bank, struct rk_stored_place place,
                                 rk_stored_on_entry *visit, void *context, struct rk_err *err);
enum rankd_status rk_redis_payloads(struct rk_bank_store *store, const char *bank,
                                    const struct rk_stored_entry *entry, size_t count, bool tailing,
                                    rk_stored_on_payload *visit, void *context, struct rk_err *err);
/* redis_admin.c */
enum rankd_status rk_redis_create(struct rk_bank_store *store, const char *bank, const char *uid,
                                  const char *config, struct rk_stored_state *state, struct rk_err *err);
enum rankd_status rk_redis_remove(struct rk_bank_store *store, const char *bank, const char *uid,
                                  struct rk_err *err);
enum rankd_status rk_redis_clear(struct rk_bank_store *store, const char *bank, const char *uid,
                                 struct rk_stored_state *state, struct rk_err *err);
enum rankd_status rk_redis_checkpoint(struct rk_bank_store *store, const char *bank, const char *uid,
                                      const char *tag, uint64_t created, uint64_t capacity,
                                      struct rk_stored_checkpoint *checkpoint, struct rk_err *err);
enum rankd_status rk_redis_checkpoints(struct rk_bank_store *store, const char *bank, const char *uid,
                                       struct rk_stored_checkpoint **checkpoint, size_t *count,
                                       struct rk_err *err);
enum rankd_status rk_redis_restore(struct rk_bank_store *store, const char *bank, const char *uid,
                                   const char *tag, struct rk_stored_state *state, struct rk_err *err);
enum rankd_status rk_redis_forget(struct rk_bank_store *store, const char *bank, const char *uid,
                                  const char *tag, struct rk_err *err);
enum rankd_status rk_redis_serves(struct rk_bank_store *store, const char *bank, const char *uid,
                                  const char *who, uint64_t generation, struct rk_err *err);
enum rankd_status rk_redis_count_behind(struct rk_bank_store *store, const char *bank, const char *uid,
                                        uint64_t generation, unsigned *daemons, struct rk_err *err);

#endif
