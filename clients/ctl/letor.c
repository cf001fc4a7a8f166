/* SPDX-License-Identifier: Apache-2.0 */
/* Files of learning to rank: one line per item, `grade qid:NUMBER feature:value …`, in the form of
 * SVMlight (T. Joachims) that LETOR, MSLR-WEB30K, Istella and XGBoost use. `#` begins a
 * comment. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"

struct letor {
    const char *path, *at, *end;
    char *why;
    size_t line;
    int64_t feature; /* negative: not wanted */
    struct ctl_batch *batch;
    size_t targets_room, scores_room, offsets_room, queries_room;
    int64_t items;
    bool has_feature;         /* a line has the wanted one */
    struct ctl_array queries; /* qid and first line of each list, INT64 */
};

/* A word between two blanks of a line. */
struct letor_token {
    const char *text;
    size_t bytes;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* The next token of the line; false at its end, or before a comment. */
static bool next_token(struct letor *letor, struct letor_token *token)
{
    while (letor->at < letor->end && is_blank(*letor->at))
        letor->at++;
    token->text = letor->at;
    if (letor->at == letor->end || *letor->at == '\n' || *letor->at == '#')
        return false;
    while (letor->at < letor->end && *letor->at != '\n' && *letor->at != '#' && !is_blank(*letor->at))
        letor->at++;
    token->bytes = (size_t)(letor->at - token->text);
    return true;
}

static void skip_line(struct letor *letor)
{
    const char *newline = memchr(letor->at, '\n', (size_t)(letor->end - letor->at));
    letor->at = newline ? newline + 1 : letor->end;
    letor->line++;
}

static bool refuse(const struct letor *letor, const struct letor_token *token, const char *must)
{
    char piece[CTL_PIECE];
    return rankd_ctl_refuse(letor->why, "%s, line %zu: '%s' is not %s", letor->path, letor->line,
                            rankd_ctl_piece(piece, token->text, token->bytes), must);
}

/* A number of digits only, below 2^63. */
static bool read_whole(const char *text, size_t bytes, int64_t *value)
{
    *value = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(*value, 10, value) ||
            __builtin_add_overflow(*value, text[i] - '0', value))
            return false;
    }
    return bytes > 0;
}

static bool read_query(const struct letor_token *token, int64_t *query)
{
    return token->bytes > 4 && memcmp(token->text, "qid:", 4) == 0 &&
           read_whole(token->text + 4, token->bytes - 4, query);
}

/* `number:value`. */
static bool read_feature(const struct letor_token *token, int64_t *number, double *value)
{
    const char *colon = memchr(token->text, ':', token->bytes);
    if (!colon || !read_whole(token->text, (size_t)(colon - token->text), number))
        return false;
    const size_t head = (size_t)(colon + 1 - token->text);
    return rankd_ctl_read_number(colon + 1, token->bytes - head, value) == CTL_NUMBER;
}

static bool append_float(struct letor *letor, struct ctl_array *array, size_t *room, double value)
{
    const float narrow = (float)value;
    return rankd_ctl_append(array, room, &narrow, letor->why);
}

/* An item of the same query as the line before, or the first of another query. */
static bool begin_item(struct letor *letor, int64_t query)
{
    struct ctl_array *queries = &letor->queries;
    const int64_t line = (int64_t)letor->line;
    int64_t last;
    if (queries->bytes > 0) {
        memcpy(&last, (char *)queries->data + queries->bytes - 2 * sizeof last, sizeof last);
        if (last == query)
            return true;
    }
    return rankd_ctl_append(queries, &letor->queries_room, &query, letor->why) &&
           rankd_ctl_append(queries, &letor->queries_room, &line, letor->why) &&
           rankd_ctl_append(&letor->batch->offsets, &letor->offsets_room, &letor->items, letor->why);
}

/* A feature that comes twice would have two values. */
static bool read_features(struct letor *letor, double *score)
{
    struct letor_token token;
    int64_t number, before = -1;
    double value;
    while (next_token(letor, &token)) {
        if (!read_feature(&token, &number, &value))
            return refuse(letor, &token, "feature:value, two numbers");
        if (number <= before)
            return refuse(letor, &token, "behind the feature before it; their numbers must ascend");
        before = number;
        if (number == letor->feature) {
            *score = value;
            letor->has_feature = true;
        }
    }
    return true;
}

static bool read_item(struct letor *letor, const struct letor_token *first)
{
    struct ctl_batch *batch = letor->batch;
    struct letor_token token;
    double grade, score = 0;
    int64_t query;
    if (rankd_ctl_read_number(first->text, first->bytes, &grade) != CTL_NUMBER)
        return refuse(letor, first, "a grade, which is a number");
    if (!next_token(letor, &token))
        return rankd_ctl_refuse(letor->why, "%s, line %zu has no qid:NUMBER behind its grade", letor->path,
                                letor->line);
    if (!read_query(&token, &query))
        return refuse(letor, &token, "qid:NUMBER, which names the list of the item");
    if (!begin_item(letor, query) || !read_features(letor, &score))
        return false;
    letor->items++;
    return append_float(letor, &batch->targets, &letor->targets_room, grade) &&
           (letor->feature < 0 || append_float(letor, &batch->scores, &letor->scores_room, score));
}

static int by_query(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return x[0] != y[0] ? (x[0] < y[0] ? -1 : 1) : x[1] < y[1] ? -1 : x[1] > y[1];
}

/* A query whose items are in two places would be two lists. */
static bool check_queries(struct letor *letor)
{
    int64_t *query = letor->queries.data;
    const size_t count = letor->queries.bytes / (2 * sizeof *query);
    if (count > 0)
        qsort(query, count, 2 * sizeof *query, by_query);
    for (size_t i = 1; i < count; i++) {
        if (query[2 * i] == query[2 * i - 2])
            return rankd_ctl_refuse(letor->why,
                                    "%s, line %" PRId64 ": qid:%" PRId64
                                    " was there before, from line %" PRId64
                                    " on; the items of a query must stand together",
                                    letor->path, query[2 * i + 1], query[2 * i], query[2 * i - 1]);
    }
    return true;
}

static struct ctl_array vector(const char *datatype, size_t element_bytes)
{
    return (struct ctl_array){
        .datatype = datatype, .element_bytes = element_bytes, .dimensions = 1, .rows = 1};
}

static bool read_items(struct letor *letor)
{
    struct ctl_batch *batch = letor->batch;
    struct letor_token first;
    if (!rankd_ctl_skip_mark(&letor->at, letor->end, letor->path, letor->why))
        return false;
    letor->queries = vector("INT64", sizeof(int64_t));
    batch->targets = batch->scores = vector("FP32", sizeof(float));
    batch->offsets = vector("INT64", sizeof(int64_t));
    for (; letor->at < letor->end; skip_line(letor)) {
        if (next_token(letor, &first) && !read_item(letor, &first))
            return false;
    }
    if (letor->items == 0)
        return rankd_ctl_refuse(letor->why, "%s holds no items", letor->path);
    if (letor->feature >= 0 && !letor->has_feature)
        return rankd_ctl_refuse(letor->why,
                                "%s: --feature is %" PRId64 ", and no line has a feature of that number",
                                letor->path, letor->feature);
    batch->targets.columns = letor->items;
    batch->scores.columns = letor->feature < 0 ? 0 : letor->items;
    if (!rankd_ctl_append(&batch->offsets, &letor->offsets_room, &letor->items, letor->why))
        return false;
    batch->offsets.columns = (int64_t)(batch->offsets.bytes / sizeof(int64_t));
    return check_queries(letor);
}

bool rankd_ctl_letor_read(struct ctl_batch *batch, const char *path, FILE *file, int64_t feature,
                          char why[CTL_WHY])
{
    void *content;
    size_t bytes;
    *batch = (struct ctl_batch){0};
    bool good = rankd_ctl_read_growing(file, SIZE_MAX, &content, &bytes);
    if (good) {
        struct letor letor = {
            .path = path, .at = content, .why = why, .line = 1, .feature = feature, .batch = batch};
        letor.end = letor.at + bytes;
        good = bytes ? read_items(&letor) : rankd_ctl_refuse(why, "%s holds no items", path);
        rankd_ctl_array_free(&letor.queries);
    } else {
        rankd_ctl_refuse(why, "%s: %s", path, ferror(file) ? strerror(errno) : "no memory for it");
    }
    free(content);
    return good;
}

bool rankd_ctl_is_letor(const char *path)
{
    char line[512], ignored[CTL_WHY];
    bool found = false, whole = true;
    FILE *file = fopen(path, "rbe");
    while (file && !found && fgets(line, sizeof line, file)) {
        struct letor letor = {.at = line, .end = line + strlen(line)};
        struct letor_token token;
        int64_t query;
        const bool begins = whole;
        whole = strchr(line, '\n') != NULL;
        (void)rankd_ctl_skip_mark(&letor.at, letor.end, path, ignored);
        if (!begins || !next_token(&letor, &token))
            continue;
        found = next_token(&letor, &token) && read_query(&token, &query);
        break;
    }
    if (file)
        (void)fclose(file);
    return found;
}
