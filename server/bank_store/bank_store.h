/* SPDX-License-Identifier: Apache-2.0 */
/* Banks that several daemons share, in a store outside of them: what a daemon asks of such a store, as a
 * table of functions. Redis (redis.c) is one; the tests have another, in memory, that loses, delays and
 * forks.
 *
 * A bank there is a log. An entry of its index says what was appended (or cleared, or restored); the batch
 * itself, the payload, lies beside it. Each entry that changes the bank has a chain value, a hash over that
 * of the entry before and of its own contents: two daemons that are at the same generation, version and chain
 * have the same items in the same order.
 *
 * Every function may be called by any thread, and by several at once. Each waits for the store, as long as
 * the store's own timeout at most or until the deadline that it is given: no thread that serves requests
 * calls them. RANKD_OVERLOADED: the store did not answer, or not in time; what was asked for may have
 * happened or not. RANKD_INTERNAL: it answered something that it must not. */
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
    RK_STORED_ID,     /* an empty batch's id: neither version nor chain change */
    RK_STORED_CLEAR,  /* a new generation, empty */
    RK_STORED_RESTORE /* a new generation, which goes on behind a checkpoint */
};

/* A place in the index. Entries that are no versions stand behind the version that they found, as 1, 2, … */
struct rk_stored_place {
    uint64_t version, sub;
};

struct rk_stored_entry {
    enum rk_stored_kind kind;
    struct rk_stored_place place;
    uint64_t generation, end; /* behind it */
    uint64_t items, bytes;    /* of its batch, and of the payload */
    struct rk_batch_id id;    /* stamp_ns: the store's clock, Unix time in ns */
    bool named;               /* the id is a sender's; otherwise the daemon drew it */
    struct rk_chain chain;    /* behind it; of an ID: as before */
};

/* A bank as the store has it. */
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

/* A batch on its way into a bank. */
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

/* How far the append of a group has to get before it counts. */
struct rk_stored_durability {
    unsigned replicas; /* that must have it */
    bool on_disk;      /* the store's own disk too */
    uint64_t deadline_ns;
};

struct rk_stored_checkpoint {
    char tag[RK_STORED_NAME_BYTES];
    char config[RK_STORED_CONFIG_BYTES];
    uint64_t version, generation, items, bytes, created;
};

/* What one look at the store tells. */
struct rk_stored_survey {
    struct rk_stored_state *bank; /* malloc'ed */
    size_t count;
    char gone[8][RK_STORED_UID_BYTES]; /* uids of banks that were deleted lately, among those asked for */
    size_t gone_count;
};

/* The server, for operators. "": it does not tell. */
struct rk_stored_server {
    char where[320], product[16], version[32], role[16], policy[32], appendonly[8], appendfsync[16];
    bool waitaof;       /* it can wait for its own disk on request */
    unsigned replicas;  /* that follow it */
    unsigned daemons;   /* that were heard of in the last three seconds */
    long long clock_ms; /* its clock minus this machine's */
};

struct rk_stored_payload {
    struct rk_record_head head;
    const void *block; /* valid during the call */
    size_t bytes;
};

/* `entry` is whole and checked as to its form, not as to the chain. Returning another status than RANKD_OK
 * ends the call with it. */
typedef enum rankd_status rk_stored_on_entry(void *context, const char *bank,
                                             const struct rk_stored_entry *entry, struct rk_err *err);
/* The payload of entry number `i`; `bytes` NULL: the store has none. */
typedef enum rankd_status rk_stored_on_payload(void *context, size_t i, const void *bytes, size_t count,
                                               struct rk_err *err);

/* Where a tail has got to, of one bank. */
struct rk_stored_cursor {
    char bank[RK_STORED_NAME_BYTES];
    struct rk_stored_place place;
};

struct rk_bank_store;
struct rk_stored_begun; /* the store's */

struct rk_bank_store_ops {
    void (*close)(struct rk_bank_store *store);

    /* Is it there, and fit for banks? It must not evict keys; and `on_disk`: what is appended must be on its
     * disk before it says so. RANKD_UNSUPPORTED: it is unfit. */
    enum rankd_status (*check)(struct rk_bank_store *store, bool on_disk, struct rk_err *err);

    /* What it is like now. The sentence of a failure says why no bank can use it. */
    enum rankd_status (*about)(struct rk_bank_store *store, struct rk_stored_server *about,
                               struct rk_err *err);

    /* Says that the daemon `who` lives, and reads the state of every bank that the store knows or that is
     * asked for: `known[i]` are names. The survey's memory is the caller's: free(survey->bank). */
    enum rankd_status (*survey)(struct rk_bank_store *store, const char *who, const char *const *known,
                                size_t count, struct rk_stored_survey *survey, struct rk_err *err);
    /* One bank's state; uid "" where there is none. */
    enum rankd_status (*state)(struct rk_bank_store *store, const char *bank, struct rk_stored_state *state,
                               struct rk_err *err);

    /* Creates the bank unless it is there; `state` is what is there then. */
    enum rankd_status (*create)(struct rk_bank_store *store, const char *bank, const char *uid,
                                const char *config, struct rk_stored_state *state, struct rk_err *err);
    enum rankd_status (*remove)(struct rk_bank_store *store, const char *bank, const char *uid,
                                struct rk_err *err);

    /* Puts a group on its way without waiting for anything, if that can be done now: threads that serve
     * requests may call it. What it returns belongs to the `append` of the same group, with the same
     * arguments, which must follow. NULL, or no such function: nothing was sent. */
    struct rk_stored_begun *(*begin)(struct rk_bank_store *store, const char *bank, const char *uid,
                                     struct rk_stored_append *group, size_t count, uint64_t oldest,
                                     const struct rk_stored_durability *durability);
    /* Appends a group in order, each by itself, and waits until all are as durable as asked: fills verdicts.
     * `oldest`: the oldest version whose payload somebody may still read. *replicas: that have it. `begun`:
     * what `begin` returned, or NULL. RANKD_OVERLOADED: repeat it, with the same names. */
    enum rankd_status (*append)(struct rk_bank_store *store, const char *bank, const char *uid,
                                struct rk_stored_append *group, size_t count, uint64_t oldest,
                                const struct rk_stored_durability *durability, struct rk_stored_begun *begun,
                                unsigned *replicas, struct rk_err *err);

    /* Entries behind the cursors, in order for each bank; waits up to `wait_ms` for one. One thread. */
    enum rankd_status (*tail)(struct rk_bank_store *store, const struct rk_stored_cursor *cursor,
                              size_t count, uint64_t wait_ms, rk_stored_on_entry *visit, void *context,
                              struct rk_err *err);
    /* All entries behind `place` up to now. */
    enum rankd_status (*index)(struct rk_bank_store *store, const char *bank, struct rk_stored_place place,
                               rk_stored_on_entry *visit, void *context, struct rk_err *err);
    /* Payloads in order. `tailing`: over the connection of the tail, whose thread calls. */
    enum rankd_status (*payloads)(struct rk_bank_store *store, const char *bank,
                                  const struct rk_stored_entry *entry, size_t count, bool tailing,
                                  rk_stored_on_payload *visit, void *context, struct rk_err *err);

    /* RANKD_NOT_FOUND: no such bank of that uid, or no such checkpoint; RANKD_CONFLICT: there is one. */
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

    /* The daemon `who` serves that generation of the bank. And how many daemons, of those that were heard of
     * in the last three seconds, do not yet. */
    enum rankd_status (*serves)(struct rk_bank_store *store, const char *bank, const char *uid,
                                const char *who, uint64_t generation, struct rk_err *err);
    enum rankd_status (*count_behind)(struct rk_bank_store *store, const char *bank, const char *uid,
                                      uint64_t generation, unsigned *daemons, struct rk_err *err);
};

struct rk_bank_store {
    const struct rk_bank_store_ops *ops;
};

/* --- what stores have in common --- */

/* What remains known of batch ids after their payloads went: bank/ids.h says the same of a daemon's own. */
struct rk_stored_keep {
    uint64_t kept, most, age_ms;
};
struct rk_stored_keep rk_stored_keep_default(void);

/* The chain of a new bank, and of the entry that follows `before`. */
struct rk_chain rk_chain_first(const char *uid);
struct rk_chain rk_chain_next(struct rk_chain before, const struct rk_stored_entry *entry);
bool rk_chain_same(struct rk_chain a, struct rk_chain b);

/* In hexadecimal, 32 digits and a NUL; and back, false if it is none. */
void rk_chain_text(struct rk_chain chain, char text[RK_STORED_UID_BYTES]);
bool rk_chain_parse(const char *text, size_t bytes, struct rk_chain *chain);

/* An entry as the text that stands in the index, and back: its place is told apart. False: it is none. */
enum { RK_STORED_ENTRY_BYTES = 512 };
void rk_stored_entry_write(const struct rk_stored_entry *entry, char text[RK_STORED_ENTRY_BYTES]);
bool rk_stored_entry_parse(const char *text, size_t bytes, struct rk_stored_place place,
                           struct rk_stored_entry *entry);

/* The payload of a batch: a record as on disk (store/record.h), of version 0, with the id without `read`. And
 * what is in one: false unless it is that of this entry, undamaged, in a bank of this shape. The block is
 * copied into batch, which is the caller's. */
bool rk_stored_payload_write(struct rk_text *out, const struct rk_batch *batch, const struct rk_batch_id *id);
enum rankd_status rk_stored_payload_read(const void *bytes, size_t count, const struct rk_bank_shape *shape,
                                         const struct rk_stored_entry *entry, struct rk_batch *batch,
                                         struct rk_err *err) __attribute__((warn_unused_result));

/* A new uid, random. False if the system has no randomness. */
bool rk_stored_uid_draw(char uid[RK_STORED_UID_BYTES]) __attribute__((warn_unused_result));

#endif
