/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool parse_line(struct ctl_sample *sample, char *line)
{
    size_t name = strcspn(line, "{ ");
    if (line[0] == '#' || !line[name])
        return false;
    char *rest = line + name + 1;
    sample->labels = "";
    if (line[name] == '{') {
        sample->labels = rest;
        for (bool quoted = false; *rest && (quoted || *rest != '}'); rest++) {
            if (*rest == '\\' && rest[1])
                rest++;
            else if (*rest == '"')
                quoted = !quoted;
        }
        if (!*rest)
            return false;
        *rest++ = 0;
    }
    line[name] = 0;
    sample->name = line;
    char *end;
    sample->value = strtod(rest, &end);
    return end != rest;
}

void rankd_ctl_metrics_parse(struct ctl_metrics *metrics, char *text)
{
    size_t lines = 1;
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        lines++;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *metrics = (struct ctl_metrics){.text = text, .samples = calloc(lines, sizeof *metrics->samples)};
    metrics->at_s = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    char *place;
    for (char *line = strtok_r(text, "\n", &place); line && metrics->samples;
         line = strtok_r(NULL, "\n", &place))
        metrics->count += parse_line(&metrics->samples[metrics->count], line);
}

void rankd_ctl_metrics_free(struct ctl_metrics *metrics)
{
    free(metrics->samples);
    free(metrics->text);
    *metrics = (struct ctl_metrics){0};
}

const char *rankd_ctl_label(const struct ctl_sample *sample, const char *label, char *room, size_t size)
{
    size_t length = strlen(label), used = 0;
    room[0] = 0;
    const char *at = sample->labels;
    while (*at) {
        bool ours = strncmp(at, label, length) == 0 && at[length] == '=';
        at += strcspn(at, "\"");
        for (at += *at == '"'; *at && *at != '"'; at++) {
            char c = *at;
            if (c == '\\' && at[1])
                c = *++at == 'n' ? '\n' : *at;
            if (ours && used + 1 < size)
                room[used++] = c;
        }
        room[used] = 0;
        if (ours)
            return room;
        at += *at == '"';
        at += strspn(at, ", ");
    }
    return room;
}

static bool matches(const struct ctl_sample *sample, const char *name, const char *label, const char *value)
{
    char room[160];
    return strcmp(sample->name, name) == 0 &&
           (!label || strcmp(rankd_ctl_label(sample, label, room, sizeof room), value) == 0);
}

double rankd_ctl_sum(const struct ctl_metrics *metrics, const char *name, const char *label,
                     const char *value)
{
    double sum = 0;
    for (size_t i = 0; i < metrics->count; i++)
        if (matches(&metrics->samples[i], name, label, value))
            sum += metrics->samples[i].value;
    return sum;
}

enum { EDGES = 128 };

/* Adds `sign` times the cumulative counts of the histogram's buckets to count[], by edge; returns
 * the number of edges. */
static size_t add_buckets(const struct ctl_metrics *metrics, const char *name, const char *label,
                          const char *value, double sign, double edge[EDGES], double count[EDGES],
                          size_t edges)
{
    for (size_t i = 0; i < metrics->count; i++) {
        char room[64];
        if (!matches(&metrics->samples[i], name, label, value))
            continue;
        double le = strtod(rankd_ctl_label(&metrics->samples[i], "le", room, sizeof room), NULL);
        size_t at = 0;
        while (at < edges && edge[at] < le)
            at++;
        if (at == edges || edge[at] > le) {
            if (edges == EDGES)
                continue;
            memmove(edge + at + 1, edge + at, (edges - at) * sizeof *edge);
            memmove(count + at + 1, count + at, (edges - at) * sizeof *count);
            edge[at] = le;
            count[at] = 0;
            edges++;
        }
        count[at] += sign * metrics->samples[i].value;
    }
    return edges;
}

double rankd_ctl_quantile(const struct ctl_metrics *before, const struct ctl_metrics *now, const char *name,
                          const char *label, const char *value, double q)
{
    double edge[EDGES], count[EDGES];
    char bucket[128];
    snprintf(bucket, sizeof bucket, "%s_bucket", name);
    size_t edges = add_buckets(now, bucket, label, value, 1, edge, count, 0);
    edges = add_buckets(before, bucket, label, value, -1, edge, count, edges);
    if (!edges || count[edges - 1] <= 0)
        return (double)NAN;
    double wanted = q * count[edges - 1];
    for (size_t i = 0; i < edges; i++) {
        if (count[i] < wanted)
            continue;
        double low = i ? edge[i - 1] : 0, below = i ? count[i - 1] : 0;
        if (isinf(edge[i]))
            return low;
        return count[i] > below ? low + (edge[i] - low) * (wanted - below) / (count[i] - below) : edge[i];
    }
    return edge[edges - 1];
}
