/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/support/memory_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct memory_store *memory_of(struct rk_bank_store *store)
{
    return (struct memory_store *)store;
}

static enum rankd_status answer(const struct memory_store *memory, struct rk_err *err)
{
    return memory->silent ? rk_fail(err, RANKD_OVERLOADED, "the store is silent") : RANKD_OK;
}

static bool take(unsigned *fault)
{
    const bool there = *fault > 0;
    *fault -= there;
    return there;
}

static void close_store(struct rk_bank_store *store)
{
    (void)store;
}

static enum rankd_status check(struct rk_bank_store *store, bool on_disk, struct rk_err *err)
{
    (void)on_disk;
    return answer(memory_of(store), err);
}

static enum rankd_status read_state(struct rk_bank_store *store, const char *bank,
                                    struct rk_stored_state *state, struct rk_err *err)
{
    struct memory_store *memory = memory_of(store);
    *state = memory->state;
    if (strcmp(bank, memory->state.name) != 0)
        state->uid[0] = '\0';
    return answer(memory, err);
}

static enum rankd_status survey(struct rk_bank_store *store, const char *who, const char *const *known,
                                size_t count, struct rk_stored_survey *out, struct rk_err *err)
{
    (void)who, (void)known, (void)count;
    *out = (struct rk_stored_survey){0};
    if (answer(memory_of(store), err) != RANKD_OK)
        return err->status;
    out->bank = malloc(sizeof *out->bank);
    if (!out->bank)
        return rk_fail(err, RANKD_OVERLOADED, "no memory");
    out->bank[0] = memory_of(store)->state;
    out->count = 1;
    return RANKD_OK;
}

static const struct rk_stored_entry *find_name(const struct memory_store *memory,
                                               const struct rk_batch_id *id)
{
    for (size_t i = 0; i < memory->count; i++) {
        const uint64_t *name = memory->entry[i].id.name;
        if (name[0] == id->name[0] && name[1] == id->name[1])
            return &memory->entry[i];
    }
    return NULL;
}

static void put(struct memory_store *memory, const struct rk_stored_entry *entry)
{
    memory->entry[memory->count++] = *entry;
    memory->state.place = entry->place;
    memory->state.end = entry->end;
    memory->state.chain = entry->chain;
    memory->state.generation = entry->generation;
}

static void append_one(struct memory_store *memory, struct rk_stored_append *append)
{
    struct rk_stored_state *state = &memory->state;
    const struct rk_stored_entry *known = find_name(memory, &append->id);
    if (known) {
        const struct rk_bank_position *a = &known->id.read, *b = &append->id.read;
        const bool own = a->generation == b->generation && a->version == b->version && a->end == b->end;
        append->verdict = own ? RK_STORED_OK : RK_STORED_DUP;
        append->entry = *known;
        return;
    }
    if (append->generation != state->generation) {
        append->verdict = RK_STORED_GENERATION;
        append->entry.generation = state->generation;
        return;
    }
    struct rk_stored_entry entry = {.kind = append->empty ? RK_STORED_ID : RK_STORED_BATCH,
                                    .place = {state->place.version + !append->empty, 0},
                                    .generation = state->generation,
                                    .end = state->end + append->batch->items,
                                    .items = append->batch->items,
                                    .id = append->id,
                                    .named = append->named};
    if (append->empty)
        entry.place.sub = state->place.sub + 1;
    entry.id.appended = append->empty ? 0 : entry.place.version;
    entry.chain = rk_chain_next(state->chain, &entry);
    struct rk_text *payload = &memory->payload[memory->count];
    payload->length = 0;
    (void)!rk_stored_payload_write(payload, append->batch, &append->id);
    entry.bytes = payload->length;
    put(memory, &entry);
    append->verdict = RK_STORED_OK;
    append->entry = entry;
}

static enum rankd_status append(struct rk_bank_store *store, const char *bank, const char *uid,
                                struct rk_stored_append *group, size_t count, uint64_t oldest,
                                const struct rk_stored_durability *durability, struct rk_stored_begun *begun,
                                unsigned *replicas, struct rk_err *err)
{
    struct memory_store *memory = memory_of(store);
    (void)bank, (void)oldest, (void)begun;
    *replicas = durability->replicas;
    if (answer(memory, err) != RANKD_OK)
        return err->status;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(uid, memory->state.uid) != 0)
            group[i].verdict = RK_STORED_GONE;
        else
            append_one(memory, &group[i]);
    }
    return take(&memory->lost) ? rk_fail(err, RANKD_OVERLOADED, "the answer was lost") : RANKD_OK;
}

static bool is_behind(struct rk_stored_place a, struct rk_stored_place b)
{
    return a.version > b.version || (a.version == b.version && a.sub > b.sub);
}

static enum rankd_status read_index(struct rk_bank_store *store, const char *bank,
                                    struct rk_stored_place place, rk_stored_on_entry *visit, void *context,
                                    struct rk_err *err)
{
    struct memory_store *memory = memory_of(store);
    if (answer(memory, err) != RANKD_OK)
        return err->status;
    for (size_t i = 0; i < memory->count && err->status == RANKD_OK; i++) {
        if (is_behind(memory->entry[i].place, place))
            (void)!visit(context, bank, &memory->entry[i], err);
    }
    return err->status;
}

static enum rankd_status tail(struct rk_bank_store *store, const struct rk_stored_cursor *cursor,
                              size_t count, uint64_t wait_ms, rk_stored_on_entry *visit, void *context,
                              struct rk_err *err)
{
    struct memory_store *memory = memory_of(store);
    (void)wait_ms;
    if (answer(memory, err) != RANKD_OK || count == 0)
        return err->status;
    size_t first = 0;
    while (first < memory->count && !is_behind(memory->entry[first].place, cursor->place))
        first++;
    size_t end = memory->count;
    if (end > first + 1 && take(&memory->late))
        end = first + 1;
    const bool swap = end > first + 1 && take(&memory->swapped);
    const bool wrong = end > first && take(&memory->wrong);
    for (size_t i = first; i < end && err->status == RANKD_OK; i++) {
        struct rk_stored_entry entry = memory->entry[swap && i < first + 2 ? 2 * first + 1 - i : i];
        if (wrong && i == first)
            entry.chain.byte[3] ^= 1;
        (void)!visit(context, cursor->bank, &entry, err);
    }
    return err->status;
}

static enum rankd_status payloads(struct rk_bank_store *store, const char *bank,
                                  const struct rk_stored_entry *entry, size_t count, bool tailing,
                                  rk_stored_on_payload *visit, void *context, struct rk_err *err)
{
    struct memory_store *memory = memory_of(store);
    (void)bank, (void)tailing;
    if (answer(memory, err) != RANKD_OK)
        return err->status;
    for (size_t i = 0; i < count && err->status == RANKD_OK; i++) {
        const struct rk_stored_entry *own = find_name(memory, &entry[i].id);
        const struct rk_text *payload = own ? &memory->payload[own - memory->entry] : NULL;
        if (!payload || take(&memory->missing))
            (void)!visit(context, i, NULL, 0, err);
        else
            (void)!visit(context, i, payload->data, payload->length - (take(&memory->damaged) ? 7 : 0), err);
    }
    return err->status;
}

static enum rankd_status clear(struct rk_bank_store *store, const char *bank, const char *uid,
                               struct rk_stored_state *state, struct rk_err *err)
{
    struct memory_store *memory = memory_of(store);
    (void)bank, (void)uid;
    if (answer(memory, err) != RANKD_OK)
        return err->status;
    struct rk_stored_entry entry = {.kind = RK_STORED_CLEAR,
                                    .place = {memory->state.place.version, memory->state.place.sub + 1},
                                    .generation = memory->state.generation + 1,
                                    .end = memory->state.end};
    entry.chain = rk_chain_next(memory->state.chain, &entry);
    put(memory, &entry);
    memory->state.base = entry.end;
    memory->state.cleared = entry.generation;
    memory->state.first = entry.place.version + 1;
    *state = memory->state;
    return RANKD_OK;
}

static enum rankd_status serves(struct rk_bank_store *store, const char *bank, const char *uid,
                                const char *who, uint64_t generation, struct rk_err *err)
{
    (void)bank, (void)uid, (void)who, (void)generation;
    return answer(memory_of(store), err);
}

static const struct rk_bank_store_ops ops = {.close = close_store,
                                             .check = check,
                                             .survey = survey,
                                             .state = read_state,
                                             .append = append,
                                             .tail = tail,
                                             .index = read_index,
                                             .payloads = payloads,
                                             .clear = clear,
                                             .serves = serves};

void memory_store_begin(struct memory_store *memory, const char *bank, const char *uid, const char *config)
{
    memset(memory, 0, sizeof *memory);
    memory->store.ops = &ops;
    memory->state = (struct rk_stored_state){.generation = 1, .first = 1, .chain = rk_chain_first(uid)};
    (void)snprintf(memory->state.name, sizeof memory->state.name, "%s", bank);
    (void)snprintf(memory->state.uid, sizeof memory->state.uid, "%s", uid);
    (void)snprintf(memory->state.config, sizeof memory->state.config, "%s", config);
}

void memory_store_end(struct memory_store *memory)
{
    for (size_t i = 0; i < MEMORY_STORE_ENTRIES; i++)
        rk_text_free(&memory->payload[i]);
}

void memory_store_go_back(struct memory_store *memory, size_t count)
{
    struct rk_stored_state *state = &memory->state;
    memory->count = count;
    state->place = (struct rk_stored_place){0};
    state->end = state->base = state->cleared = 0;
    state->generation = state->first = 1;
    state->chain = rk_chain_first(state->uid);
    for (size_t i = 0; i < count; i++) {
        const struct rk_stored_entry *entry = &memory->entry[i];
        state->place = entry->place;
        state->end = entry->end;
        state->chain = entry->chain;
        state->generation = entry->generation;
        if (entry->kind == RK_STORED_CLEAR) {
            state->base = entry->end;
            state->cleared = entry->generation;
            state->first = entry->place.version + 1;
        }
    }
}
