/* SPDX-License-Identifier: Apache-2.0 */
/* A daemon's copy of a bank in a store (bank_store/bank_store.h), and the threads that maintain it:
 * one reads the ends of all indexes (replica_tail.c), one compares the copies with the store twice
 * a second (replica_audit.c), some read whole banks (replica_join.c), and the commit threads append
 * (replica_commit.c). Waiting requests are parked; no thread that serves requests waits for the
 * store.
 *
 *        create, start, found in the store
 *                 |
 *                 v      index and payloads are read           newer entries        applied
 *      +------> joining --------------------------> current --------------> behind -------> current
 *      |          ^                                    |  ^
 *      |          | another generation, a gap          |  | the store answers an audit
 *      |          | in the index, a payload gone       |  |
 *      |          +------------------------------------+  |
 *      |                                               |  |
 *      |                  no audit for two seconds     v  |
 *      |                                              stale --- none for --bank-stale ---> refusing
 *      |                                               |                                     |
 *      |     the store is behind this copy, or has     |            answers again: current   |
 *      |     another chain at its version              v                                     |
 *      +------------------------------------------- forked <---------------------------------+
 *
 *      any of them --- the store has no bank of this uid any more ---> gone (never made anew silently)
 *
 * current, behind and stale serve requests; joining, forked, refusing and gone refuse them with the
 * reason. The state is a function of the fields below (rk_replica_state_of). */
#ifndef RK_BANK_REPLICA_H
#define RK_BANK_REPLICA_H

#include "bank/durable_bank.h"
#include "bank_store/bank_store.h"

enum rk_replica_state {
    RK_REPLICA_JOINING,
    RK_REPLICA_CURRENT,
    RK_REPLICA_BEHIND,
    RK_REPLICA_STALE,
    RK_REPLICA_REFUSING,
    RK_REPLICA_FORKED,
    RK_REPLICA_GONE,
    RK_REPLICA_STATES
};
extern const char *const rk_replica_state_names[RK_REPLICA_STATES];

/* Shared by all copies of a daemon; replica_audit.c starts it. */
struct rk_replicas {
    struct rk_bank_store *store;
    char who[RK_STORED_UID_BYTES]; /* this daemon */
    uint64_t timeout_ns, stale_ns;
    unsigned acknowledgements;       /* replicas of the store that must have a batch */
    char cache[RK_CONFIG_TEXT + 16]; /* folder of payload caches; "" = none */
    struct rk_banks *banks;
    struct rk_log *log;
    struct rk_threads join;
    bool joins; /* the threads are running */
    pthread_t tail, audit;
    bool tailing, auditing; /* likewise */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* stopping */
    bool stopping;
    pthread_cond_t due; /* the tail must not rest: stopping, or hastened */
    bool hastened;
    bool echo;                  /* of the tail: its last read had only batches of this daemon */
    uint64_t news_ns;           /* likewise: the time of its last batch of another daemon */
    atomic_bool surveyed;       /* the banks of the store were read once */
    bool unanswered;            /* of the audit: the last one failed, and was logged */
    char unserved[RK_ERR_TEXT]; /* likewise: the last logged reason why a bank of the store is not served */
};

/* An append that was sent by the thread that computed it; a commit thread reads the answer. */
struct rk_replica_sent {
    struct rk_append *append; /* NULL: none */
    struct rk_stored_append stored;
    struct rk_stored_durability durable;
    struct rk_stored_begun *begun;
    uint64_t oldest, begun_ns;
};

/* The bank's lock guards all members. */
struct rk_replica {
    struct rk_replicas *shared;
    struct rk_durable_bank *bank;
    char uid[RK_STORED_UID_BYTES];
    struct rk_chain chain; /* at bank->next */
    uint64_t sub;          /* place of the newest applied entry behind bank->next.version */
    uint64_t known;        /* newest version that is known to be in the store */
    uint64_t audited_ns;   /* time of the last agreement with the store */
    uint64_t reported;     /* generation that was reported to the store */
    bool joining, forked, gone;
    bool join_queued;
    uint64_t join_done, join_total, join_cached; /* batches; and how many of them were in the local cache */
    uint64_t join_next_ns;                       /* after a failed join: the earliest time of the next */
    char trouble[RK_ERR_TEXT];                   /* the reason why the last join failed; "" = it did not */
    struct rk_append *committing;                /* on their way into the store */
    struct rk_append *awaiting;                  /* in the store, not applied here yet */
    struct rk_task join_task;
    struct rk_replica_sent sent; /* with the writer lock */
    bool crowded; /* several appends waited at the end of the last group: gather them, do not send at once */
    bool deferring; /* ended appends are gathered: */
    struct rk_append *ended;

    /* For operators. */
    atomic_uint_least64_t forks, joins;
    struct rk_histogram waits; /* times until the store's acknowledgement */
};

/* Reads the bank of a join_task whole, and releases it: rk_replica_join_task(). */
typedef void rk_replica_join_run(struct rk_task *task);

/* A new copy, which `join` has to read first. NULL: no memory. The bank owns it, and frees it as
 * one piece. */
struct rk_replica *rk_replica_new(struct rk_replicas *shared, struct rk_durable_bank *bank, const char *uid,
                                  rk_replica_join_run *join);

/* True: the threads that maintain copies have to end. Takes the lock of `shared`. */
bool rk_replicas_stopping(struct rk_replicas *shared);
/* A request waits for the tail, which must not rest now. Takes the lock of `shared`. */
void rk_replicas_hasten(struct rk_replicas *shared);

enum rk_replica_state rk_replica_state_of(const struct rk_replica *replica, uint64_t version,
                                          uint64_t now_ns);

/* RANKD_OK if requests may read the copy; otherwise the reason. The lock is held. */
enum rankd_status rk_replica_check(const struct rk_durable_bank *bank, struct rk_err *err)
    __attribute__((warn_unused_result));

/* The outcome of applying an entry of the index. */
enum rk_replica_applied {
    RK_APPLIED,     /* now or before */
    RK_APPLY_LATER, /* there is no memory now, or the batch is no longer in memory */
    RK_APPLY_JOIN,  /* it does not follow the last one: the bank has to be read anew */
    RK_APPLY_FORKED /* the store has another history than this copy */
};
/* Checks the entry and applies it. `batch` NULL: this daemon's own batch of that name, if it is
 * still in memory; an entry that is not a batch needs none. The lock is held. */
enum rk_replica_applied rk_replica_apply(struct rk_durable_bank *bank, const struct rk_stored_entry *entry,
                                         const struct rk_batch *batch) __attribute__((warn_unused_result));
/* True: its payload is needed, because the entry is not applied yet and its batch is not this
 * daemon's own. The lock is held. */
bool rk_replica_needs_payload(const struct rk_durable_bank *bank, const struct rk_stored_entry *entry);

/* The store has another history: counts and logs that, and reads the bank again. `there` is the
 * store's version. The lock is held. */
void rk_replica_fork(struct rk_durable_bank *bank, uint64_t there);
/* Reads the bank anew, on a thread of its own. The lock is held. */
void rk_replica_rejoin(struct rk_durable_bank *bank);
/* The store no longer has the bank. The lock is held. */
void rk_replica_gone(struct rk_durable_bank *bank);

/* Resumes the requests that wait for the present version or, if `now_ns` is not 0, those that have
 * waited too long. The lock is held. */
void rk_replica_wake(struct rk_durable_bank *bank, uint64_t now_ns);
/* The bank was deleted: ends all requests that wait for it. The lock is held. */
void rk_replica_end(struct rk_durable_bank *bank);
/* Ends the append with an error: the store lost a batch that it had acknowledged. */
void rk_replica_lost(const struct rk_durable_bank *bank, struct rk_append *append);
/* Resumes an ended append, or gathers it for the thread that resumes them. The lock is held. */
void rk_replica_finish(struct rk_durable_bank *bank, struct rk_append *append);

/* --- the parts --- */

/* replica_commit.c: appends a waiting group; the writer lock is held, the lock is not. */
void rk_replica_commit(struct rk_durable_bank *bank, struct rk_append *group);
/* Sends an append at once, if no append is in progress, nothing has to be waited for, and the last
 * append was alone too (otherwise appends that follow closely would wait for two round trips).
 * True: sent, and the writer lock is taken for the commit thread that calls rk_replica_commit()
 * next, which completes it. The lock is held, and released in between. */
bool rk_replica_begin(struct rk_durable_bank *bank, struct rk_append *append);
void rk_replica_commit_sent(struct rk_durable_bank *bank);

/* replica_join.c: reads the whole bank and replaces the copy. The lock is not held. The task does
 * this and releases the bank. */
rk_replica_join_run rk_replica_join_task;
enum rankd_status rk_replica_join(struct rk_durable_bank *bank, struct rk_err *err)
    __attribute__((warn_unused_result));

/* replica_tail.c, replica_audit.c: one round of their threads. */
enum rankd_status rk_replica_tail_once(struct rk_replicas *shared, uint64_t wait_ms, struct rk_err *err)
    __attribute__((warn_unused_result));
enum rankd_status rk_replica_audit_once(struct rk_replicas *shared, struct rk_err *err)
    __attribute__((warn_unused_result));
void *rk_replica_tail_loop(void *shared);

/* Starts and stops all threads. Takes ownership of the store. With --data, which is locked,
 * payloads are cached there. NULL and *err on failure. */
struct rk_replicas *rk_replicas_start(struct rk_banks *banks, struct rk_bank_store *store, struct rk_err *err)
    __attribute__((warn_unused_result));
void rk_replicas_stop(struct rk_replicas *shared); /* NULL is fine */

#endif
