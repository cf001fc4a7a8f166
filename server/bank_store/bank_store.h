/* SPDX-License-Identifier: Apache-2.0 */
/* The interface of a store, a server that holds banks for several daemons: a table of functions.
 * Redis (redis.c) implements it; the tests have another store, in memory, that loses, delays and
 * forks.
 *
 * A bank in a store is a log. An entry of its index records an append (or a clear, or a restore);
 * the batch itself, the payload, is stored separately. Each entry that changes the bank has a chain
 * value, a hash over the chain of the entry before it and its own content: two daemons at the same
 * generation, version and chain have the same items in the same order.
 *
 * Every function may be called by any thread, and by several at once. Each waits for the store, at
 * most for the store's own timeout or until the given deadline; threads that serve requests do not
 * call them. RANKD_OVERLOADED: no answer, or not in time; the operation may have happened or not.
 * RANKD_INTERNAL: the answer is not a valid one. */
#ifndef RK_BANK_STORE_H
#define RK_BANK_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/text.h"
#include "store/record.h"

enum {
    RK_STORED_UID_BYTES = 33,  /* 128 bits in hexadecimal and the NUL; of a bank, and of a daemon */
    RK_STORED_NAME_BYTES = 65, /* of a bank or a checkpoint, with the NUL */
    RK_STORED_CONFIG_BYTES = 1024
};

/* 128 bits of SHA-1. */
struct rk_chain {
    unsigned char byte[16];
};

enum rk_stored_kind {
    RK_STORED_BATCH,  /* a version */
    RK_STORED_ID,     /* the id of an empty batch: version and chain do not change */
    RK_STORED_CLEAR,  /* a new generation, empty */
    RK_STORED_RESTORE /* a new generation, which continues from a checkpoint */
};

/* A place in the index. Entries that are not versions follow the version at the time, with `sub` 1,
 * 2, … */
struct rk_stored_place {
    uint64_t version, sub;
};

struct rk_stored_entry {
    enum rk_stored_kind kind;
    struct rk_stored_place place;
    uint64_t generation, end; /* after it */
    uint64_t items, bytes;    /* of its batch, and of the payload */
    struct rk_batch_id id;    /* stamp_ns: the store's clock, Unix time in ns */
    bool named;               /* the sender gave the id; otherwise the daemon drew it */
    struct rk_chain chain;    /* after it; unchanged by an ID */
};

/* The state of a bank in the store. */
struct rk_stored_state {
    char name[RK_STORED_NAME_BYTES];
    char uid[RK_STORED_UID_BYTES]; /* "": there is no such bank */
    char config[RK_STORED_CONFIG_BYTES];
    uint64_t generation, end;
    struct rk_stored_place place; /* of the newest entry */
    uint64_t first;               /* the oldest version whose payload is kept */
    uint64_t base, cleared;       /* struct rk_origin */
    struct rk_chain chain;
};

/* The result of an append. */
enum rk_stored_verdict {
    RK_STORED_OK,
    RK_STORED_DUP,        /* the name is known: `entry` is the original's */
    RK_STORED_GENERATION, /* the bank is at another generation, entry.generation; nothing was appended */
    RK_STORED_GONE,       /* there is no bank of that uid */
    RK_STORED_FULL,       /* the store has no memory left; nothing was appended */
    RK_STORED_UNKNOWN     /* no answer: it may have been appended or not */
};
struct rk_stored_append {
    const struct rk_batch *batch;
    struct rk_batch_id id; /* name, content and read are set; the name is never zero */
    bool named, empty;
    uint64_t generation; /* that it was computed against */
    enum rk_stored_verdict verdict;
    struct rk_stored_entry entry; /* with OK and DUP */
};

/* The durability that a group needs before it counts as appended. */
struct rk_stored_durability {
    unsigned replicas; /* that must have the group */
    bool on_disk;      /* the store's own disk too */
    uint64_t deadline_ns;
};

struct rk_stored_checkpoint {
    char tag[RK_STORED_NAME_BYTES];
    char config[RK_STORED_CONFIG_BYTES];
    uint64_t version, generation, items, bytes, created;
};

/* The banks of the store at one time. */
struct rk_stored_survey {
    struct rk_stored_state *bank; /* malloc'ed */
    size_t count;
    char gone[8][RK_STORED_UID_BYTES]; /* uids of recently deleted banks, among the requested ones */
    size_t gone_count;
};

/* The server, for operators. "": unknown. */
struct rk_stored_server {
    char where[320], product[16], version[32], role[16], policy[32], appendonly[8], appendfsync[16];
    bool waitaof;       /* it can wait for its own disk on request */
    unsigned replicas;  /* that follow it */
    unsigned daemons;   /* that were active in the last three seconds */
    long long clock_ms; /* its clock minus this machine's */
};

struct rk_stored_payload {
    struct rk_record_head head;
    const void *block; /* valid during the call */
    size_t bytes;
};

/* The form of `entry` is checked, its chain is not. A status other than RANKD_OK ends the call with
 * that status. */
typedef enum rankd_status rk_stored_on_entry(void *context, const char *bank,
                                             const struct rk_stored_entry *entry, struct rk_err *err);
/* The payload of entry number `i`; `bytes` NULL: the store has none. */
typedef enum rankd_status rk_stored_on_payload(void *context, size_t i, const void *bytes, size_t count,
                                               struct rk_err *err);

/* The position of a tail in one bank. */
struct rk_stored_cursor {
    char bank[RK_STORED_NAME_BYTES];
    struct rk_stored_place place;
};

struct rk_bank_store;
struct rk_stored_begun; /* the store's */

struct rk_bank_store_ops {
    void (*close)(struct rk_bank_store *store);

    /* Checks that the store answers and is fit for banks: it must not evict keys and, with
     * `on_disk`, must acknowledge an append only after it is on its disk. RANKD_UNSUPPORTED: it is
     * unfit. */
    enum rankd_status (*check)(struct rk_bank_store *store, bool on_disk, struct rk_err *err);

    /* Its present state. The sentence of a failure says why no bank can use it. */
    enum rankd_status (*about)(struct rk_bank_store *store, struct rk_stored_server *about,
                               struct rk_err *err);

    /* Reports that the daemon `who` is alive, and reads the state of every bank in the store and of
     * the banks `known[i]` (names). The survey's memory is the caller's: free(survey->bank). */
    enum rankd_status (*survey)(struct rk_bank_store *store, const char *who, const char *const *known,
                                size_t count, struct rk_stored_survey *survey, struct rk_err *err);
    /* The state of one bank; uid "" if there is none. */
    enum rankd_status (*state)(struct rk_bank_store *store, const char *bank, struct rk_stored_state *state,
                               struct rk_err *err);

    /* Creates the bank unless it exists; `state` is the state after that. */
    enum rankd_status (*create)(struct rk_bank_store *store, const char *bank, const char *uid,
                                const char *config, struct rk_stored_state *state, struct rk_err *err);
    enum rankd_status (*remove)(struct rk_bank_store *store, const char *bank, const char *uid,
                                struct rk_err *err);

    /* Sends a group without waiting, if that is possible now: threads that serve requests may call
     * it. `append` with the same group and arguments must follow, and takes the returned value.
     * NULL, or no such function: nothing was sent. */
    struct rk_stored_begun *(*begin)(struct rk_bank_store *store, const char *bank, const char *uid,
                                     struct rk_stored_append *group, size_t count, uint64_t oldest,
                                     const struct rk_stored_durability *durability);
    /* Appends the batches of a group in order, each in its own step, and waits until all have the
     * requested durability. Fills their verdicts. `oldest`: the oldest version whose payload may
     * still be read. *replicas: the number that have the group. `begun`: the result of `begin`, or
     * NULL. RANKD_OVERLOADED: repeat it, with the same names. */
    enum rankd_status (*append)(struct rk_bank_store *store, const char *bank, const char *uid,
                                struct rk_stored_append *group, size_t count, uint64_t oldest,
                                const struct rk_stored_durability *durability, struct rk_stored_begun *begun,
                                unsigned *replicas, struct rk_err *err);

    /* Visits the entries after the cursors, in order for each bank; waits up to `wait_ms` for one.
     * To be called by one thread only. */
    enum rankd_status (*tail)(struct rk_bank_store *store, const struct rk_stored_cursor *cursor,
                              size_t count, uint64_t wait_ms, rk_stored_on_entry *visit, void *context,
                              struct rk_err *err);
    /* Visits all entries after `place` up to now. */
    enum rankd_status (*index)(struct rk_bank_store *store, const char *bank, struct rk_stored_place place,
                               rk_stored_on_entry *visit, void *context, struct rk_err *err);
    /* Visits payloads in order. `tailing`: the thread of the tail calls, and its connection is
     * used. */
    enum rankd_status (*payloads)(struct rk_bank_store *store, const char *bank,
                                  const struct rk_stored_entry *entry, size_t count, bool tailing,
                                  rk_stored_on_payload *visit, void *context, struct rk_err *err);

    /* RANKD_NOT_FOUND: no such bank of that uid, or no such checkpoint; RANKD_CONFLICT: there is
     * one. */
    enum rankd_status (*clear)(struct rk_bank_store *store, const char *bank, const char *uid,
                               struct rk_stored_state *state, struct rk_err *err);
    enum rankd_status (*checkpoint)(struct rk_bank_store *store, const char *bank, const char *uid,
                                    const char *tag, uint64_t created, uint64_t capacity,
                                    struct rk_stored_checkpoint *checkpoint, struct rk_err *err);
    enum rankd_status (*checkpoints)(struct rk_bank_store *store, const char *bank, const char *uid,
                                     struct rk_stored_checkpoint **checkpoint, size_t *count,
                                     struct rk_err *err);
    enum rankd_status (*restore)(struct rk_bank_store *store, const char *bank, const char *uid,
                                 const char *tag, struct rk_stored_state *state, struct rk_err *err);
    enum rankd_status (*forget)(struct rk_bank_store *store, const char *bank, const char *uid,
                                const char *tag, struct rk_err *err);

    /* Reports that the daemon `who` serves that generation of the bank; and counts the daemons, of
     * those that were active in the last three seconds, that do not yet. */
    enum rankd_status (*serves)(struct rk_bank_store *store, const char *bank, const char *uid,
                                const char *who, uint64_t generation, struct rk_err *err);
    enum rankd_status (*count_behind)(struct rk_bank_store *store, const char *bank, const char *uid,
                                      uint64_t generation, unsigned *daemons, struct rk_err *err);
};

struct rk_bank_store {
    const struct rk_bank_store_ops *ops;
};

/* --- shared by all stores --- */

/* How long batch ids are remembered after their payloads were deleted: as bank/ids.h for local
 * banks. */
struct rk_stored_keep {
    uint64_t kept, most, age_ms;
};
struct rk_stored_keep rk_stored_keep_default(void);

/* The chain of a new bank, and of the entry that follows `before`. */
struct rk_chain rk_chain_first(const char *uid);
struct rk_chain rk_chain_next(struct rk_chain before, const struct rk_stored_entry *entry);
bool rk_chain_same(struct rk_chain a, struct rk_chain b);

/* To 32 hexadecimal digits and a NUL, and back. False: not a chain. */
void rk_chain_text(struct rk_chain chain, char text[RK_STORED_UID_BYTES]);
bool rk_chain_parse(const char *text, size_t bytes, struct rk_chain *chain);

/* To the text of an entry in the index, and back; its place is stored separately. False: not an
 * entry. */
enum { RK_STORED_ENTRY_BYTES = 512 };
void rk_stored_entry_write(const struct rk_stored_entry *entry, char text[RK_STORED_ENTRY_BYTES]);
bool rk_stored_entry_parse(const char *text, size_t bytes, struct rk_stored_place place,
                           struct rk_stored_entry *entry);

/* Writes the payload of a batch: a record as on disk (store/record.h), of version 0, with the id
 * without `read`. Reads one: an error unless it is undamaged, belongs to this entry and fits a bank
 * of this shape. The block is copied into *batch, which the caller owns. */
bool rk_stored_payload_write(struct rk_text *out, const struct rk_batch *batch, const struct rk_batch_id *id);
enum rankd_status rk_stored_payload_read(const void *bytes, size_t count, const struct rk_bank_shape *shape,
                                         const struct rk_stored_entry *entry, struct rk_batch *batch,
                                         struct rk_err *err) __attribute__((warn_unused_result));

/* A new uid, random. False if the system has no randomness. */
bool rk_stored_uid_draw(char uid[RK_STORED_UID_BYTES]) __attribute__((warn_unused_result));

#endif
