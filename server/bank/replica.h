/* SPDX-License-Identifier: Apache-2.0 */
/* A daemon's copy of a bank that lies in a store (bank_store/bank_store.h), and what keeps it: one thread
 * that reads the ends of all indexes (replica_tail.c), one that compares with the store twice a second
 * (replica_audit.c), some that read banks whole (replica_join.c); the commit threads append
 * (replica_commit.c). Requests wait parked; no thread that serves them waits for the store.
 *
 *        create, start, found in the store
 *                 |
 *                 v      index and payloads are read        newer entries are known     they are applied
 *      +------> joining --------------------------> current ------------------> behind -------------> current
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
 *      any of them --- the store has no bank of this uid any more ---> gone: nothing makes it anew silently
 *
 * current, behind and stale serve requests; joining, forked, refusing and gone refuse them with the reason.
 * The state is a function of the fields below (rk_replica_state_of). */
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

/* What all copies of a daemon share; replica_audit.c starts it. */
struct rk_replicas {
    struct rk_bank_store *store;
    char who[RK_STORED_UID_BYTES]; /* this daemon */
    uint64_t timeout_ns, stale_ns;
    unsigned acknowledgements; /* replicas of the store that must have a batch */
    struct rk_banks *banks;
    struct rk_log *log;
    struct rk_threads join;
    bool joins; /* the threads are up */
    pthread_t tail, audit;
    bool tailing, auditing; /* likewise */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* stopping */
    bool stopping;
    pthread_cond_t due; /* the tail has to go on: stopping, or hastened */
    bool hastened;
    bool echo;            /* the tail's: its last read had nothing but what this daemon appended itself */
    uint64_t news_ns;     /* likewise: when it last read a batch of another daemon */
    atomic_bool surveyed; /* the store has told its banks once */
    bool unanswered;      /* the audit's: the last one failed, and was logged */
    char unserved[RK_ERR_TEXT]; /* likewise: why a bank of the store is not served, logged last */
};

/* An append that the thread which computed it put on its way itself; a commit thread reads the answer. */
struct rk_replica_sent {
    struct rk_append *append; /* NULL: none */
    struct rk_stored_append stored;
    struct rk_stored_durability durable;
    struct rk_stored_begun *begun;
    uint64_t oldest, begun_ns;
};

/* The bank's lock is over all of it. */
struct rk_replica {
    struct rk_replicas *shared;
    struct rk_durable_bank *bank;
    char uid[RK_STORED_UID_BYTES];
    struct rk_chain chain; /* at bank->next */
    uint64_t sub;          /* place of the newest applied entry behind bank->next.version */
    uint64_t known;        /* newest version that is known to be in the store */
    uint64_t audited_ns;   /* when the store agreed last */
    uint64_t reported;     /* generation that the store was told of */
    bool joining, forked, gone;
    bool join_queued;
    uint64_t join_done, join_total; /* batches */
    uint64_t join_next_ns;          /* after one that failed: not before */
    char trouble[RK_ERR_TEXT];      /* why the last one failed; "" = it did not */
    struct rk_append *committing;   /* on their way into the store */
    struct rk_append *awaiting;     /* there, and not applied here */
    struct rk_task join_task;
    struct rk_replica_sent sent; /* the writer lock's */
    bool deferring;              /* appends that end are gathered: */
    struct rk_append *ended;

    /* For operators. */
    atomic_uint_least64_t forks, joins;
    struct rk_histogram waits; /* of the store's acknowledgement */
};

/* Reads the bank of a join_task whole, and releases it: rk_replica_join_task(). */
typedef void rk_replica_join_run(struct rk_task *task);

/* A copy that has to be read first, by `join`. NULL: no memory. The bank owns it, and frees it as one piece.
 */
struct rk_replica *rk_replica_new(struct rk_replicas *shared, struct rk_durable_bank *bank, const char *uid,
                                  rk_replica_join_run *join);

/* True: what keeps copies has to end. Takes the lock of `shared`. */
bool rk_replicas_stopping(struct rk_replicas *shared);
/* Somebody waits for what the tail brings: it does not rest now. Takes the lock of `shared`. */
void rk_replicas_hasten(struct rk_replicas *shared);

enum rk_replica_state rk_replica_state_of(const struct rk_replica *replica, uint64_t version,
                                          uint64_t now_ns);

/* RANKD_OK where requests may read it; otherwise the reason. The lock is held. */
enum rankd_status rk_replica_check(const struct rk_durable_bank *bank, struct rk_err *err)
    __attribute__((warn_unused_result));

/* What came of an entry of the index. */
enum rk_replica_applied {
    RK_APPLIED,     /* or it had been before */
    RK_APPLY_LATER, /* there is no memory now, or the batch is not at hand any more */
    RK_APPLY_JOIN,  /* it does not follow: the bank has to be read anew */
    RK_APPLY_FORKED /* the store has another history than this copy */
};
/* Judges the entry and applies it. `batch` NULL: the own one of that name, if it is still here; an entry that
 * is no batch needs none. The lock is held. */
enum rk_replica_applied rk_replica_apply(struct rk_durable_bank *bank, const struct rk_stored_entry *entry,
                                         const struct rk_batch *batch) __attribute__((warn_unused_result));
/* True: its payload is needed, because it was not applied yet and is none of our own. The lock is held. */
bool rk_replica_needs_payload(const struct rk_durable_bank *bank, const struct rk_stored_entry *entry);

/* The store has another history: counted, logged and read again. `there` is its version. The lock is held. */
void rk_replica_fork(struct rk_durable_bank *bank, uint64_t there);
/* Reads the bank anew, on a thread of its own. The lock is held. */
void rk_replica_rejoin(struct rk_durable_bank *bank);
/* The store has no such bank any more. The lock is held. */
void rk_replica_gone(struct rk_durable_bank *bank);

/* Wakes what waits for the present version; or, `now_ns` not 0, what has waited too long. The lock is held.
 */
void rk_replica_wake(struct rk_durable_bank *bank, uint64_t now_ns);
/* The bank was deleted: nobody waits for it any more. The lock is held. */
void rk_replica_end(struct rk_durable_bank *bank);
/* It ends with an error: the store lost a batch that it had acknowledged. */
void rk_replica_lost(const struct rk_durable_bank *bank, struct rk_append *append);
/* Tells an append how it ended, or gathers it for who does so. The lock is held. */
void rk_replica_finish(struct rk_durable_bank *bank, struct rk_append *append);

/* --- the parts --- */

/* replica_commit.c: appends a group that waits; the writer lock is held, the lock is not. */
void rk_replica_commit(struct rk_durable_bank *bank, struct rk_append *group);
/* Puts an append on its way at once, if nobody writes and nothing has to be waited for: true, and the writer
 * lock is taken for the commit thread that calls the next one, which appends what was sent. The lock is held,
 * and released in between. */
bool rk_replica_begin(struct rk_durable_bank *bank, struct rk_append *append);
void rk_replica_commit_sent(struct rk_durable_bank *bank);

/* replica_join.c: reads the bank whole and exchanges the copy. The lock is not held. A task does so and
 * releases the bank. */
rk_replica_join_run rk_replica_join_task;
enum rankd_status rk_replica_join(struct rk_durable_bank *bank, struct rk_err *err)
    __attribute__((warn_unused_result));

/* replica_tail.c, replica_audit.c: what their threads do once. */
enum rankd_status rk_replica_tail_once(struct rk_replicas *shared, uint64_t wait_ms, struct rk_err *err)
    __attribute__((warn_unused_result));
enum rankd_status rk_replica_audit_once(struct rk_replicas *shared, struct rk_err *err)
    __attribute__((warn_unused_result));
void *rk_replica_tail_loop(void *shared);

/* Starts and stops all of it. The store is taken over. NULL and *err on failure. */
struct rk_replicas *rk_replicas_start(struct rk_banks *banks, struct rk_bank_store *store, struct rk_err *err)
    __attribute__((warn_unused_result));
void rk_replicas_stop(struct rk_replicas *shared); /* NULL is fine */

#endif
