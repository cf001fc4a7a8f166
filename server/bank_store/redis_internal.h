/* SPDX-License-Identifier: Apache-2.0 */
/* The Redis store, from the bottom up: one connection (redis_link.c), Sentinel (sentinel.c),
 * connections to the master (redis_connect.c), appends (redis_append.c), the report for operators
 * (redis_about.c), reading (redis_read.c) and following (redis_tail.c), operations on banks
 * (redis_admin.c), and the table of all of them (redis.c). This header declares the functions that
 * they share. */
#ifndef RK_BANK_STORE_REDIS_INTERNAL_H
#define RK_BANK_STORE_REDIS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "bank_store/redis.h"
#include "bank_store/redis_link.h"
#include "bank_store/scripts.h"

enum { RK_REDIS_IDLE = 8, RK_REDIS_KEY_BYTES = 320, RK_REDIS_SMALL = 1 << 20, RK_REDIS_PAGE = 64 << 20 };

/* How appends reach the store's own disk. */
enum rk_redis_disk { RK_REDIS_DISK_UNKNOWN, RK_REDIS_DISK_NONE, RK_REDIS_DISK_ALWAYS, RK_REDIS_DISK_WAITAOF };

struct rk_redis {
    struct rk_bank_store store; /* first */
    struct rk_redis_url url;
    struct rk_redis_address replica; /* to read from; host "" = none */
    char password_file[4096];
    uint64_t timeout_ns;
    struct rk_stored_keep keep;
    pthread_mutex_t lock;
    struct rk_redis_link *idle[RK_REDIS_IDLE]; /* with the lock */
    size_t idle_count;
    struct rk_redis_address master; /* with the lock: the last answer of Sentinel; host "" = none yet */
    atomic_uint epoch;              /* raised when the master changes: earlier connections are closed */
    atomic_int disk;
    struct rk_redis_link *tail; /* of the tailing thread */
};

static inline struct rk_redis *rk_redis_of(struct rk_bank_store *store)
{
    return (struct rk_redis *)store;
}

/* redis_connect.c */
/* Takes a connection to the master that is ready: authenticated, fit, with scripts. `fresh`: it has
 * just answered. rk_redis_give() keeps it or, if it is broken, closes it. */
struct rk_redis_link *rk_redis_take(struct rk_redis *redis, bool fresh, uint64_t deadline_ns,
                                    struct rk_err *err) __attribute__((warn_unused_result));
void rk_redis_give(struct rk_redis *redis, struct rk_redis_link *link);
/* Takes an idle connection, without waiting; NULL: there is none. */
struct rk_redis_link *rk_redis_take_idle(struct rk_redis *redis);
/* Connects to the replica that is read from, or to the master if there is none. */
struct rk_redis_link *rk_redis_connect_tail(struct rk_redis *redis, struct rk_err *err)
    __attribute__((warn_unused_result));
/* Finds the master. Connections to an earlier one are not used again. */
enum rankd_status rk_redis_find_master(struct rk_redis *redis, uint64_t deadline_ns,
                                       struct rk_redis_address *master, struct rk_err *err)
    __attribute__((warn_unused_result));
/* Loads the scripts again: the server has forgotten them. */
enum rankd_status rk_redis_load_scripts(struct rk_redis_link *link, struct rk_err *err)
    __attribute__((warn_unused_result));
/* The master has changed, or there is none: earlier connections are not used again. */
void rk_redis_moved(struct rk_redis *redis);
uint64_t rk_redis_deadline(const struct rk_redis *redis);
/* "PREFIX:{BANK}:rest" */
void rk_redis_key(const struct rk_redis *redis, const char *bank, const char *rest,
                  char key[RK_REDIS_KEY_BYTES]);
/* RANKD_OVERLOADED with the server's sentence; marks the link, or the master, as unusable. */
enum rankd_status rk_redis_refused(struct rk_redis *redis, struct rk_redis_link *link,
                                   const struct rk_redis_reply *reply, struct rk_err *err);
/* Checks that the master answers and is fit, with `on_disk` its disk too. */
enum rankd_status rk_redis_check(struct rk_bank_store *store, bool on_disk, struct rk_err *err);

/* sentinel.c: asks for the address of the master. One Sentinel that answers is enough. */
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
