/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/disk/states.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bank/append.h"
#include "bank/durable_bank.h"

static const char *const tags[STATES_TAGS] = {"t", "u"};
static const char *const durabilities[] = {"always", "interval", "none"};

/* --- the model --- */

static void now_on_disk(struct model *model)
{
    model->history[0] = model->now;
    model->histories = 1;
}

void model_start(struct model *model)
{
    *model = (struct model){.now = {.generation = 1}, .next = 1};
    now_on_disk(model);
}

static void append(struct model *model, size_t count)
{
    struct state *now = &model->now;
    for (size_t i = 0; i < count; i++) {
        if (now->items == STATES_CAPACITY) {
            memmove(now->item, now->item + 1, (STATES_CAPACITY - 1) * sizeof *now->item);
            now->items--;
        }
        now->item[now->items++] = model->next++;
    }
    now->version++;
}

/* STATES_TAGS: none. */
static size_t free_tag(const struct model *model)
{
    size_t t = 0;
    while (t < STATES_TAGS && model->tag[t].there)
        t++;
    return t;
}

static size_t extreme_tag(const struct model *model, bool newest)
{
    size_t found = STATES_TAGS;
    for (size_t t = 0; t < STATES_TAGS; t++) {
        if (model->tag[t].there &&
            (found == STATES_TAGS || newest == (model->tag[t].taken > model->tag[found].taken)))
            found = t;
    }
    return found;
}

static enum rankd_status take_checkpoint(struct model *model)
{
    size_t t = free_tag(model);
    if (t == STATES_TAGS)
        return RANKD_CONFLICT;
    model->tag[t].there = true;
    model->tag[t].taken = ++model->taken;
    model->tag[t].state = model->now;
    return RANKD_OK;
}

static enum rankd_status restore(struct model *model)
{
    size_t t = extreme_tag(model, true);
    if (t == STATES_TAGS)
        return RANKD_NOT_FOUND;
    uint64_t generation = model->now.generation + 1;
    model->now = model->tag[t].state;
    model->now.generation = generation;
    now_on_disk(model);
    return RANKD_OK;
}

static enum rankd_status forget(struct model *model)
{
    size_t t = extreme_tag(model, false);
    if (t == STATES_TAGS)
        return RANKD_NOT_FOUND;
    model->tag[t].there = false;
    return RANKD_OK;
}

static void clear(struct model *model)
{
    model->now.items = 0;
    model->now.generation++;
    now_on_disk(model);
}

enum rankd_status model_apply(struct model *model, char letter, int durability)
{
    switch (letter) {
    case 'a':
    case 'A':
        append(model, letter == 'a' ? 1 : STATES_CAPACITY);
        if (durability == RK_DURABILITY_ALWAYS)
            now_on_disk(model);
        else
            model->history[model->histories++] = model->now;
        return RANKD_OK;
    case 'C':
        clear(model);
        return RANKD_OK;
    case 'K':
        return take_checkpoint(model);
    case 'R':
        return restore(model);
    case 'D':
        return forget(model);
    case 'B':
        model_start(model);
        return RANKD_OK;
    default: /* F, S */
        now_on_disk(model);
        return RANKD_OK;
    }
}

bool state_is(const struct state *a, const struct state *b)
{
    return a->generation == b->generation && a->version == b->version && a->items == b->items &&
           memcmp(a->item, b->item, a->items * sizeof *a->item) == 0;
}

static void add(struct XXH3_state_s *into, const struct state *state)
{
    const uint64_t head[] = {state->generation, state->version, state->items};
    (void)XXH3_128bits_update(into, head, sizeof head);
    (void)XXH3_128bits_update(into, state->item, state->items * sizeof *state->item);
}

void model_digest(const struct model *model, struct XXH3_state_s *into)
{
    const uint64_t head[] = {extreme_tag(model, true), extreme_tag(model, false), model->histories};
    (void)XXH3_128bits_update(into, head, sizeof head);
    add(into, &model->now);
    for (size_t t = 0; t < STATES_TAGS; t++) {
        if (model->tag[t].there)
            add(into, &model->tag[t].state);
    }
    for (size_t i = 0; i < model->histories; i++)
        add(into, &model->history[i]);
}

/* --- the daemon --- */

static void free_banks(struct rk_banks *banks)
{
    for (size_t i = 0; i < banks->count; i++)
        rk_durable_bank_release(banks->bank[i]);
    free((void *)banks->bank);
    if (banks->lock_fd >= 0)
        (void)close(banks->lock_fd);
    if (banks->folder_fd >= 0)
        (void)close(banks->folder_fd);
    free(banks);
}

bool daemon_start(struct daemon *daemon, int durability)
{
    struct rk_err err = {0};
    struct rk_banks *banks = calloc(1, sizeof *banks);
    *daemon = (struct daemon){.durability = durability, .banks = banks};
    daemon->config.banks = 10;
    daemon->config.bank_items = 1000;
    daemon->config.bank_bytes = (uint64_t)1 << 30;
    banks->config = &daemon->config;
    banks->lock_fd = banks->folder_fd = -1;
    banks->plain_io = true;
    (void)snprintf(banks->data, sizeof banks->data, "/disk/data");
    pthread_mutex_init(&banks->lock, NULL);
    rk_turns_init(&banks->turns);
    if (rk_data_lock(banks, &err) == RANKD_OK && rk_data_load(banks, &err) == RANKD_OK)
        return true;
    free_banks(banks);
    daemon->banks = NULL;
    return false;
}

void daemon_stop(struct daemon *daemon, bool clean)
{
    struct rk_banks *banks = daemon->banks;
    for (size_t i = 0; banks && clean && i < banks->count; i++)
        rk_durable_bank_flush(banks->bank[i]);
    if (banks)
        free_banks(banks);
    daemon->banks = NULL;
}

static enum rankd_status create_bank(struct daemon *daemon, struct rk_err *err)
{
    char body[160];
    struct rk_text out = {0};
    int length =
        snprintf(body, sizeof body, "{\"kind\":\"scores\",\"lists\":1,\"capacity\":%d,\"durability\":\"%s\"}",
                 STATES_CAPACITY, durabilities[daemon->durability]);
    (void)rk_banks_create(daemon->banks, "b", body, (size_t)length, &out, err);
    rk_text_free(&out);
    return err->status;
}

void daemon_create(struct daemon *daemon)
{
    struct rk_err err = {0};
    if (create_bank(daemon, &err) != RANKD_OK)
        abort();
}

static void nothing(struct rk_bank_waiter *waiter)
{
    (void)waiter;
}

static enum rankd_status append_items(struct rk_durable_bank *bank, size_t count, float first,
                                      struct rk_err *err)
{
    struct rk_bank_waiter waiter = {.wait = nothing, .wake = nothing};
    size_t bytes = count * rk_batch_item_bytes(&bank->config.shape);
    struct rk_append item = {.waiter = &waiter, .read = rk_bank_now(bank->memory)};
    void *block = malloc(bytes);
    if (!block || !rk_batch_at(&bank->config.shape, count, block, bytes, &item.batch))
        abort();
    float *scores = item.batch.column[0];
    int8_t *targets = item.batch.column[1];
    for (size_t i = 0; i < count; i++) {
        scores[i] = first + (float)i;
        targets[i] = 1;
    }
    if (!rk_durable_bank_append(bank, &item))
        rk_durable_bank_commit(bank);
    *err = item.err;
    rk_batch_free(&item.batch);
    return err->status;
}

/* With the disk's tags; the model says which one. */
static enum rankd_status operate(struct daemon *daemon, const struct model *before, char letter,
                                 struct rk_err *err)
{
    struct rk_text out = {0};
    size_t t = letter == 'K' ? free_tag(before) : extreme_tag(before, letter == 'R');
    const char *tag = tags[t % STATES_TAGS];
    if (letter == 'C')
        (void)rk_banks_clear(daemon->banks, "b", &out, err);
    else if (letter == 'K')
        (void)rk_banks_checkpoint(daemon->banks, "b", tag, &out, err);
    else if (letter == 'R')
        (void)rk_banks_restore(daemon->banks, "b", tag, &out, err);
    else if (letter == 'D')
        (void)rk_banks_delete_checkpoint(daemon->banks, "b", tag, err);
    else if (rk_banks_delete(daemon->banks, "b", err) == RANKD_OK)
        (void)create_bank(daemon, err);
    rk_text_free(&out);
    return err->status;
}

enum rankd_status daemon_apply(struct daemon *daemon, const struct model *before, char letter,
                               struct rk_err *err)
{
    if (letter == 'S') {
        daemon_stop(daemon, true);
        return daemon_start(daemon, daemon->durability) ? RANKD_OK
                                                        : rk_fail(err, RANKD_INTERNAL, "not started");
    }
    if (letter != 'a' && letter != 'A' && letter != 'F')
        return operate(daemon, before, letter, err);
    struct rk_durable_bank *bank = rk_banks_find(daemon->banks, "b", err);
    if (!bank)
        return err->status;
    if (letter == 'F')
        rk_durable_bank_flush(bank);
    else
        (void)append_items(bank, letter == 'a' ? 1 : STATES_CAPACITY, before->next, err);
    rk_durable_bank_release(bank);
    return err->status;
}

static void look_at(const struct rk_durable_bank *bank, struct state *state)
{
    const struct rk_bank_snapshot *view = rk_bank_hold(bank->memory);
    *state = (struct state){.generation = view->generation, .version = view->version};
    for (size_t c = 0; c < view->scores.chunks; c++) {
        const struct rk_bank_scores_chunk *chunk = &view->scores.chunk[c];
        for (size_t i = 0; i < chunk->items && state->items < STATES_CAPACITY; i++)
            state->item[state->items++] = chunk->scores[i];
    }
    rk_bank_release(view);
}

bool daemon_look(struct daemon *daemon, struct state *state, bool tag[STATES_TAGS], char *why, size_t size)
{
    struct rk_err err = {0};
    struct rk_text out = {0};
    struct rk_durable_bank *bank = rk_banks_find(daemon->banks, "b", &err);
    if (!bank)
        return false;
    (void)snprintf(why, size, "%s", bank->refused);
    look_at(bank, state);
    (void)rk_banks_checkpoints(daemon->banks, "b", &out, &err);
    rk_text_add(&out, "", 1);
    for (size_t t = 0; t < STATES_TAGS; t++) {
        char text[32];
        (void)snprintf(text, sizeof text, "\"tag\":\"%s\"", tags[t]);
        tag[t] = out.data && strstr(out.data, text);
    }
    rk_text_free(&out);
    rk_durable_bank_release(bank);
    return true;
}
