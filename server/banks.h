/* The banks of a daemon by name: created, listed, deleted, used by requests.
 *
 * A bank that is used is held by reference: deleting it takes its name away at once and its memory when the
 * last request is done. */
#ifndef RK_BANKS_H
#define RK_BANKS_H

#include "app.h"
#include "bank/bank.h"
#include "codec/text.h"
#include "request.h"
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

/* Starts the registry; with --data it locks the folder and reads every bank back. A bank that can't be read
 * is there, refuses requests with the reason, and does not keep the daemon from starting. */
enum rankd_status rk_banks_start(struct rk_app *app, struct rk_err *err);
void rk_banks_stop(struct rk_app *app);

/* True for a name of a bank or a checkpoint: [A-Za-z0-9._-]{1,64}, not "." or "..". Otherwise RANKD_INVALID;
 * `what` names it. */
bool rk_bank_name_check(const char *what, const char *name, struct rk_err *err)
    __attribute__((warn_unused_result));

/* --- operations of the API; each writes the JSON of its answer --- */
enum rankd_status rk_banks_create(struct rk_banks *banks, const char *name, const void *body, size_t bytes,
                                  struct rk_text *out, struct rk_err *err);
enum rankd_status rk_banks_show(struct rk_banks *banks, const char *name, struct rk_text *out,
                                struct rk_err *err);
enum rankd_status rk_banks_list(struct rk_banks *banks, struct rk_text *out, struct rk_err *err);
enum rankd_status rk_banks_delete(struct rk_banks *banks, const char *name, struct rk_err *err);
enum rankd_status rk_banks_clear(struct rk_banks *banks, const char *name, struct rk_text *out,
                                 struct rk_err *err);
enum rankd_status rk_banks_checkpoint(struct rk_banks *banks, const char *name, const char *tag,
                                      struct rk_text *out, struct rk_err *err);
enum rankd_status rk_banks_checkpoints(struct rk_banks *banks, const char *name, struct rk_text *out,
                                       struct rk_err *err);
enum rankd_status rk_banks_restore(struct rk_banks *banks, const char *name, const char *tag,
                                   struct rk_text *out, struct rk_err *err);
enum rankd_status rk_banks_forget(struct rk_banks *banks, const char *name, const char *tag,
                                  struct rk_err *err);

/* --- use by a request --- */

/* What a request has of the bank that it names, from begin to end. */
struct rk_bank_use {
    struct rk_named_bank *bank;
    const struct rk_bank_view *view;
    struct rk_batch_id id; /* of this request's batch; name zero: none */
    bool running;          /* `id` is entered as running */
    bool retry;            /* the batch was appended before: `id` is the original's */
};

/* If the request names a bank: finds it, waits for a running original of the same batch_id (until
 * deadline_ns), holds the version to read and sets request->memory. Otherwise *use stays empty.
 * RANKD_NOT_FOUND, RANKD_CONFLICT, RANKD_DEADLINE, RANKD_INTERNAL (the bank could not be read back). */
enum rankd_status rk_bank_use_begin(struct rk_banks *banks, struct rk_request *request, uint64_t deadline_ns,
                                    struct rk_bank_use *use, struct rk_err *err)
    __attribute__((warn_unused_result));

/* After rk_run() succeeded: appends the batch unless the request says otherwise or is a retry, and fills
 * info's bank_version_appended. RANKD_CONFLICT (cleared or restored meanwhile; a retry with other content),
 * RANKD_NO_SPACE, RANKD_INVALID, RANKD_INTERNAL (read-only). */
enum rankd_status rk_bank_use_append(struct rk_bank_use *use, const struct rk_request *request,
                                     struct rk_info *info, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Always, once, at the end; fine on an empty one. */
void rk_bank_use_end(struct rk_bank_use *use);

#endif
