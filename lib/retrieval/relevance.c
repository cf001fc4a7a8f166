/* SPDX-License-Identifier: Apache-2.0 */
#include "retrieval/relevance.h"

#include "bank/labels.h"
#include "request/target.h"

static enum rankd_status refuse(const struct rk_tensor *in, enum rk_target_rule rule, size_t q, size_t item,
                                struct rk_err *err)
{
    char value[RK_NUMBER_TEXT];
    size_t at;
    const char *may = rk_target_may_be(rule, in->dtype);
    const char *element = (const char *)in->data + (q * in->shape[1] + item) * rk_dtype_size(in->dtype);
    if (!rk_targets_first_bad(element, in->dtype, rule, 1, &at, value))
        return rk_fail(err, RANKD_INVALID, "relevance changed while it was read; it may be %s", may);
    return rk_fail(err, RANKD_INVALID, "relevance[%zu, %zu] is %s; it may be %s", q, item, value, may);
}

/* Ids hide pairs, as with labels. */
static void hide_ids(const struct rk_items *items, size_t q, int8_t *row)
{
    const int64_t id = items->query_ids ? items->query_ids[q] : RK_LABEL_NONE;
    for (size_t r = 0; id != RK_LABEL_NONE && r < items->row_blocks; r++) {
        const struct rk_row_block *run = &items->row_block[r];
        for (size_t i = 0; run->ids && i < run->items; i++) {
            if (run->ids[i] == id)
                row[run->start + i] = -1;
        }
    }
}

/* The input may change while it is read, so the copy is what is checked and used. */
static enum rankd_status read_row(const struct rk_tensor *in, enum rk_target_rule rule,
                                  const struct rk_items *items, size_t q, struct rk_err *err)
{
    const size_t total = items->total;
    int8_t *row = items->relevance + q * total;
    rk_targets_narrow((const char *)in->data + q * total * rk_dtype_size(in->dtype), in->dtype, rule, total,
                      row);
    if (items->in_batch > 0)
        row[q] = -1;
    for (size_t i = 0; i < total; i++) {
        if (row[i] == RK_TARGET_BAD)
            return refuse(in, rule, q, i, err);
    }
    hide_ids(items, q, row);
    return RANKD_OK;
}

enum rankd_status rk_relevance_read(const struct rk_exec *exec, const struct rk_request *request,
                                    struct rk_items *items, struct rk_err *err)
{
    const struct rk_tensor *in = &request->in[RK_IN_RELEVANCE];
    const enum rk_target_rule rule = rk_target_rule_of(request);
    if (rule != RK_TARGET_BINARY)
        items->grades = (struct rk_grades){in->data, in->dtype, rk_dtype_size(in->dtype)};
    items->relevance = rk_scratch_array(exec->scratch, items->n_queries, rk_items_own(items));
    if (!items->relevance)
        return rk_fail_scratch(err, exec->scratch);
    if (rk_exec_measures(exec))
        return RANKD_OK;
    rk_exec_copied(exec, in->bytes);
    for (size_t q = 0; q < items->n_queries; q++) {
        if (read_row(in, rule, items, q, err) != RANKD_OK)
            return err->status;
    }
    return RANKD_OK;
}

struct rk_match_counts rk_relevance_count(const struct rk_items *items, size_t q)
{
    const int8_t *row = items->relevance + q * items->total;
    struct rk_match_counts counts = {0, 0};
    for (size_t i = 0; i < items->total; i++) {
        counts.relevant += row[i] > 0;
        counts.ignored += row[i] < 0;
    }
    return counts;
}

void rk_relevance_find(const struct rk_items *items, size_t q, uint32_t *relevant, uint32_t *ignored)
{
    const int8_t *row = items->relevance + q * items->total;
    for (size_t i = 0; i < items->total; i++) {
        if (row[i] > 0)
            *relevant++ = (uint32_t)i;
        else if (row[i] < 0)
            *ignored++ = (uint32_t)i;
    }
}
