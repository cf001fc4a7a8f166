/* SPDX-License-Identifier: Apache-2.0 */
/* The banks of a daemon by name: created, listed, deleted, used by requests.
 *
 * A bank in use is held by reference: deleting it removes its name at once, and its memory after
 * the last request. */
#ifndef RK_BANKS_H
#define RK_BANKS_H

#include "bank/bank.h"
#include "base/err.h"
#include "base/text.h"
#include "config/config.h"
#include "request/request.h"
#include "store/record.h"

enum rk_durability { RK_DURABILITY_ALWAYS, RK_DURABILITY_INTERVAL, RK_DURABILITY_NONE };
enum rk_on_full { RK_ON_FULL_REFUSE, RK_ON_FULL_MEMORY };
#define RK_DURABILITY_WORDS "always|interval|none"
#define RK_ON_FULL_WORDS "refuse|memory"

#define RK_BANK_NAME_BYTES 65 /* with the NUL */

struct rk_bank_config {
    struct rk_bank_shape shape;
    int durability, on_full;
};

struct rk_banks;
struct rk_log;

/* Starts the registry; with --data it locks the folder and reads every bank back. A bank that can't
 * be read exists, refuses requests with the reason, and does not prevent the start of the daemon.
 * Both arguments are used until the stop. NULL and *err on failure. */
struct rk_banks *rk_banks_start(const struct rk_config *config, struct rk_log *log, struct rk_err *err)
    __attribute__((warn_unused_result));
void rk_banks_stop(struct rk_banks *banks);

/* Writes the metrics of all banks; a rk_metrics_collector, `banks` a struct rk_banks (gauges.c). */
void rk_banks_gauges(void *banks, struct rk_text *out);

/* True for a name of a bank or a checkpoint: [A-Za-z0-9._-]{1,64}, not "." or "..". Otherwise
 * RANKD_INVALID; `what` names it. */
bool rk_bank_name_check(const char *what, const char *name, struct rk_err *err)
    __attribute__((warn_unused_result));

/* --- operations of the API; each writes the JSON of its answer --- */
enum rankd_status rk_banks_create(struct rk_banks *banks, const char *name, const void *body, size_t bytes,
                                  struct rk_text *out, struct rk_err *err);
enum rankd_status rk_banks_show(struct rk_banks *banks, const char *name, struct rk_text *out,
                                struct rk_err *err);
enum rankd_status rk_banks_list(struct rk_banks *banks, struct rk_text *out, struct rk_err *err);
/* The store, as it is now; RANKD_NOT_FOUND where there is none, RANKD_OVERLOADED where no bank can
 * use it. */
enum rankd_status rk_banks_store(struct rk_banks *banks, struct rk_text *out, struct rk_err *err);
enum rankd_status rk_banks_delete(struct rk_banks *banks, const char *name, struct rk_err *err);
enum rankd_status rk_banks_clear(struct rk_banks *banks, const char *name, struct rk_text *out,
                                 struct rk_err *err);
enum rankd_status rk_banks_checkpoint(struct rk_banks *banks, const char *name, const char *tag,
                                      struct rk_text *out, struct rk_err *err);
enum rankd_status rk_banks_checkpoints(struct rk_banks *banks, const char *name, struct rk_text *out,
                                       struct rk_err *err);
enum rankd_status rk_banks_restore(struct rk_banks *banks, const char *name, const char *tag,
                                   struct rk_text *out, struct rk_err *err);
enum rankd_status rk_banks_delete_checkpoint(struct rk_banks *banks, const char *name, const char *tag,
                                             struct rk_err *err);

/* --- use by a request --- */

/* A request that waits for a bank: for its disk or for another request. No thread waits. `wait` is
 * called first, by the thread that asks; then `wake`, once, by another one and perhaps before the
 * asking call returns. In both the bank is locked: they may only pass the result on, and must not
 * call functions of the bank. */
struct rk_bank_waiter {
    void (*wait)(struct rk_bank_waiter *waiter);
    void (*wake)(struct rk_bank_waiter *waiter);
    /* In place of wake, for an append that is over: the calling thread brings the request to its
     * end itself. The bank is not locked. NULL: there is no such way. */
    void (*finish)(struct rk_bank_waiter *waiter);
};

/* A batch on its way into a bank. */
struct rk_append {
    struct rk_batch batch;
    uint64_t deadline_ns; /* of the request; 0: none */
    bool named;           /* the id is the sender's; in a store, every batch has one */
    bool again;           /* in a store: the batch is there already, and the request is computed again */
    bool confirms;        /* in a store: this copy has the batch; the store is asked to have it durably */
    struct rk_append_stored {
        uint64_t version, generation; /* its version there */
        unsigned char chain[16];
        uint64_t give_up_ns;
    } stored;
    struct rk_bank_position read; /* what it was computed against */
    struct rk_batch_id id;        /* name zero: none */
    bool empty;                   /* the batch was empty: only the id is stored, and the version stays */
    struct rk_bank_position after;
    struct rk_bank_reservation *room; /* in memory, from before it is written to disk until it is visible */
    struct rk_err err;                /* how it ended */
    struct rk_bank_waiter *waiter;
    struct rk_append *next; /* the bank's, while it waits */
};

/* The use of a bank by a request, from begin to end. Zero before. */
struct rk_bank_transaction {
    struct rk_bank_waiter waiter; /* set by the caller before begin */
    struct rk_durable_bank *bank;
    const struct rk_bank_snapshot *view;
    const struct rk_bank_snapshot *part; /* the part of it that is ranked; NULL: all */
    struct rk_append append;             /* its id is that of this request's batch */
    uint64_t deadline_ns;
    size_t copied;         /* bytes of the request's tensors, as sent, that were copied for the append */
    bool running;          /* the id is entered as running */
    bool retry;            /* the batch was appended before: the id is the original's */
    uint64_t wait_version; /* the request waits for that version; 0: for none */
    struct rk_bank_transaction *next; /* the bank's, while it waits for the original */
};

/* If the request names a bank: finds it, holds the version to read and sets request->bank_snapshot
 * and bank_whole. Otherwise *use stays empty. *later: an original of the same batch_id still runs;
 * the request waits, nothing of it may be touched any more, and when it is woken (at the latest
 * about a second behind deadline_ns) begin is called again. RANKD_NOT_FOUND, RANKD_CONFLICT,
 * RANKD_DEADLINE, RANKD_INTERNAL (the bank could not be read back). */
enum rankd_status rk_bank_transaction_begin(struct rk_banks *banks, struct rk_request *request,
                                            uint64_t deadline_ns, struct rk_bank_transaction *transaction,
                                            bool *later, struct rk_err *err)
    __attribute__((warn_unused_result));

/* After rk_engine_run() succeeded: appends the batch unless the request says otherwise or is a
 * retry, and fills info's bank_version_appended. Of an empty batch only the batch_id is stored, and
 * the version stays. *later: it waits for the disk; nothing of it may be touched any more, and when
 * it is woken rk_bank_transaction_appended() tells how it went. RANKD_CONFLICT (cleared or restored
 * meanwhile; a retry with other content), RANKD_NO_SPACE, RANKD_INVALID, RANKD_INTERNAL
 * (read-only). */
enum rankd_status rk_bank_transaction_append(struct rk_bank_transaction *transaction,
                                             const struct rk_request *request, struct rk_info *info,
                                             bool *later, struct rk_err *err)
    __attribute__((warn_unused_result));
enum rankd_status rk_bank_transaction_appended(struct rk_bank_transaction *transaction, struct rk_info *info,
                                               struct rk_err *err) __attribute__((warn_unused_result));

/* After an append that ended with RANKD_OK: the batch was in the bank's store before, appended
 * through another daemon. The result is void: the transaction ends, and the request, begun again,
 * finds the original. */
bool rk_bank_transaction_begin_again(struct rk_bank_transaction *transaction)
    __attribute__((warn_unused_result));

/* Sets the reply's fields about a bank in a store, at the version that was read. */
void rk_bank_transaction_describe(struct rk_bank_transaction *transaction, struct rk_info *info);

/* From here on no request waits for a version that may never exist. */
void rk_banks_refuse(struct rk_banks *banks);

/* Once for a request that got its result, before the end: counts for operators. */
void rk_bank_transaction_count(struct rk_bank_transaction *transaction, const struct rk_info *info);

/* Must be called once at the end; allowed on an empty one. */
void rk_bank_transaction_end(struct rk_bank_transaction *transaction);

#endif
