/* A bank in a request: which version it reads, whether its batch was appended before, the append. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bank/named.h"
#include "bank/registry.h"

static bool is_named(const struct rk_batch_id *id)
{
    return id->name[0] || id->name[1];
}

static bool is_running(const struct rk_named_bank *bank, const uint64_t name[2])
{
    for (const struct rk_running *r = bank->running; r; r = r->next) {
        if (r->name[0] == name[0] && r->name[1] == name[1])
            return true;
    }
    return false;
}

static bool add_running(struct rk_named_bank *bank, const uint64_t name[2])
{
    struct rk_running *running = malloc(sizeof *running);
    if (!running)
        return false;
    *running = (struct rk_running){{name[0], name[1]}, bank->running};
    bank->running = running;
    return true;
}

static void drop_running(struct rk_named_bank *bank, const uint64_t name[2])
{
    for (struct rk_running **at = &bank->running; *at; at = &(*at)->next) {
        struct rk_running *running = *at;
        if (running->name[0] == name[0] && running->name[1] == name[1]) {
            *at = running->next;
            free(running);
            pthread_cond_broadcast(&bank->moved);
            return;
        }
    }
}

/* The original of a retry may still be computed, on another worker. The lock is held. */
static enum rankd_status wait_for_original(struct rk_named_bank *bank, const uint64_t name[2],
                                           uint64_t deadline_ns, struct rk_err *err)
{
    const struct timespec until = {(time_t)(deadline_ns / 1000000000u), (long)(deadline_ns % 1000000000u)};
    while (is_running(bank, name)) {
        int late = deadline_ns ? pthread_cond_timedwait(&bank->moved, &bank->lock, &until)
                               : pthread_cond_wait(&bank->moved, &bank->lock);
        if (late && is_running(bank, name))
            return rk_fail(
                err, RANKD_DEADLINE,
                "the deadline passed while an earlier request with the same batch_id was computed");
    }
    return RANKD_OK;
}

/* Decides between a first time and a retry. The lock is held. */
static enum rankd_status begin_named(struct rk_bank_use *use, const char *batch_id, uint64_t deadline_ns,
                                     struct rk_err *err)
{
    struct rk_named_bank *bank = use->bank;
    uint64_t name[2];
    rk_ids_name(batch_id, name);
    if (wait_for_original(bank, name, deadline_ns, err) != RANKD_OK)
        return err->status;
    const struct rk_batch_id *known = rk_ids_find(&bank->ids, name);
    if (!known) {
        if (!add_running(bank, name))
            return rk_fail(err, RANKD_OVERLOADED, "no memory for the request");
        memcpy(use->id.name, name, sizeof name);
        use->running = true;
        return RANKD_OK;
    }
    use->id = *known;
    use->retry = true;
    /* A restore raised the generation of what lies behind it; the items are the same ones. */
    struct rk_bank_point read = known->read;
    read.generation = bank->next.generation;
    use->view = rk_bank_hold_at(bank->memory, read);
    if (!use->view)
        return rk_fail(err, RANKD_CONFLICT,
                       "batch_id \"%.64s\" was appended to bank \"%s\" as version %llu, and the items that "
                       "it was computed against "
                       "are gone; send the next batch with an id of its own",
                       batch_id, bank->name, (unsigned long long)known->appended);
    return RANKD_OK;
}

static enum rankd_status begin_locked(struct rk_bank_use *use, const struct rk_request *request,
                                      uint64_t deadline_ns, struct rk_err *err)
{
    struct rk_named_bank *bank = use->bank;
    if (bank->unreadable)
        return rk_fail(err, RANKD_INTERNAL, "bank \"%s\" could not be read back: %.400s", bank->name,
                       bank->refused);
    if (request->params.batch_id[0] && request->params.enqueue)
        return begin_named(use, request->params.batch_id, deadline_ns, err);
    return RANKD_OK;
}

enum rankd_status rk_bank_use_begin(struct rk_banks *banks, struct rk_request *request, uint64_t deadline_ns,
                                    struct rk_bank_use *use, struct rk_err *err)
{
    memset(use, 0, sizeof *use);
    if (!request->params.bank[0])
        return RANKD_OK;
    use->bank = rk_banks_find(banks, request->params.bank, err);
    if (!use->bank)
        return err->status;
    pthread_mutex_lock(&use->bank->lock);
    enum rankd_status status = begin_locked(use, request, deadline_ns, err);
    pthread_mutex_unlock(&use->bank->lock);
    if (status != RANKD_OK) {
        rk_bank_use_end(use);
        return status;
    }
    if (!use->view)
        use->view = rk_bank_hold(use->bank->memory);
    request->memory = use->view;
    return RANKD_OK;
}

static enum rankd_status append_batch(struct rk_bank_use *use, const struct rk_batch *batch,
                                      const char *batch_id, struct rk_info *info, struct rk_err *err)
{
    uint64_t content = rk_record_hash(batch->block, batch->bytes);
    if (use->retry) {
        if (content != use->id.content)
            return rk_fail(
                err, RANKD_CONFLICT,
                "batch_id \"%.64s\" was used for another batch before; each batch needs an id of its own",
                batch_id);
        info->bank_version_appended = use->id.appended;
        return RANKD_OK;
    }
    use->id.content = content;
    use->id.read = rk_bank_view_point(use->view);
    uint64_t version = 0;
    if (rk_named_append(use->bank, batch, use->id.read, &use->id, &version, err) != RANKD_OK)
        return err->status;
    info->bank_version_appended = version;
    return RANKD_OK;
}

enum rankd_status rk_bank_use_append(struct rk_bank_use *use, const struct rk_request *request,
                                     struct rk_info *info, struct rk_err *err)
{
    struct rk_batch batch;
    if (!use->bank || !request->params.enqueue)
        return RANKD_OK;
    if (rk_batch_new(&use->bank->config.shape, request, &batch, err) != RANKD_OK)
        return err->status;
    enum rankd_status status = append_batch(use, &batch, request->params.batch_id, info, err);
    rk_batch_free(&batch);
    return status;
}

void rk_bank_use_end(struct rk_bank_use *use)
{
    if (!use->bank)
        return;
    if (use->view)
        rk_bank_release(use->bank->memory, use->view);
    if (use->running && is_named(&use->id)) {
        pthread_mutex_lock(&use->bank->lock);
        drop_running(use->bank, use->id.name);
        pthread_mutex_unlock(&use->bank->lock);
    }
    rk_named_release(use->bank);
    memset(use, 0, sizeof *use);
}
