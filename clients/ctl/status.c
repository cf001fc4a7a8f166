/* SPDX-License-Identifier: Apache-2.0 */
/* rankctl status: reads /metrics twice, an interval apart, and shows the difference. */
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "http.h"
#include "metrics.h"
#include "table.h"

#define CLEAR "\033[H\033[2J"

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
    (void)signal;
    stopped = 1;
}

struct look {
    struct ctl_metrics before, now;
    double seconds;
};

static bool read_metrics(struct ctl_http *http, struct ctl_metrics *metrics)
{
    char *text = rankd_ctl_http_text(http, "GET", "/metrics", NULL);
    if (text)
        rankd_ctl_metrics_parse(metrics, text);
    return text != NULL;
}

/* The growth of the counter per second, at least 0: a daemon that was restarted in between begins
 * at 0. */
static double rate(const struct look *look, const char *name, const char *label, const char *value)
{
    double grown =
        rankd_ctl_sum(&look->now, name, label, value) - rankd_ctl_sum(&look->before, name, label, value);
    return fmax(grown, 0) / look->seconds;
}

static void cell(const char *text)
{
    printf(" %10s", text);
}

static void seconds(const struct look *look, const char *name, const char *label, const char *value, double q)
{
    char text[16];
    rankd_ctl_seconds(text, rankd_ctl_quantile(&look->before, &look->now, name, label, value, q));
    cell(text);
}

static void share(double part, double whole)
{
    char text[16] = "-";
    if (whole > 0)
        snprintf(text, sizeof text, "%.4g %%", 100 * part / whole);
    cell(text);
}

/* Calls `row` once for each value that `label` has in samples of `name`, in their order on the
 * page. */
static void each_value(const struct look *look, const char *name, const char *label,
                       void (*row)(const struct look *look, const char *value))
{
    char seen[32][64];
    size_t count = 0;
    for (size_t i = 0; i < look->now.count && count < 32; i++) {
        const struct ctl_sample *sample = &look->now.samples[i];
        if (strcmp(sample->name, name) != 0)
            continue;
        rankd_ctl_label(sample, label, seen[count], sizeof seen[count]);
        size_t k = 0;
        while (k < count && strcmp(seen[k], seen[count]) != 0)
            k++;
        if (k == count)
            row(look, seen[count++]);
    }
}

static void model_row(const struct look *look, const char *model)
{
    char text[16];
    double lists = rate(look, "rankd_lists_total", "model", model);
    double elements = rate(look, "rankd_gradient_items_total", "model", model);
    printf("%-14s", model);
    rankd_ctl_count(text, rate(look, "rankd_requests_total", "model", model));
    cell(text);
    seconds(look, "rankd_request_seconds", "model", model, 0.5);
    seconds(look, "rankd_request_seconds", "model", model, 0.99);
    rankd_ctl_count(text, lists);
    cell(text);
    share(rate(look, "rankd_lists_skipped_total", "model", model), lists);
    share(rate(look, "rankd_lists_stalled_total", "model", model), lists);
    share(elements - rate(look, "rankd_gradient_nonzero_total", "model", model), elements);
    putchar('\n');
}

static void stage_row(const struct look *look, const char *stage)
{
    printf("%-14s", stage);
    seconds(look, "rankd_stage_seconds", "stage", stage, 0.5);
    seconds(look, "rankd_stage_seconds", "stage", stage, 0.99);
    putchar('\n');
}

static void transport_row(const struct look *look, const char *transport)
{
    char text[16];
    printf("%-14s", transport);
    rankd_ctl_count(text, rate(look, "rankd_requests_total", "transport", transport));
    cell(text);
    if (strcmp(transport, "ring") == 0) { /* its tensors are not sent, so there is nothing to count */
        cell("in place");
        cell("in place");
        putchar('\n');
        return;
    }
    rankd_ctl_bytes(text, rate(look, "rankd_received_bytes_total", "transport", transport));
    cell(text);
    rankd_ctl_bytes(text, rate(look, "rankd_sent_bytes_total", "transport", transport));
    cell(text);
    putchar('\n');
}

static void reason_row(const struct look *look, const char *reason)
{
    double now = rankd_ctl_sum(&look->now, "rankd_rejected_total", "reason", reason);
    if (now <= 0)
        return;
    char text[16];
    printf("%-14s", reason);
    rankd_ctl_count(text, rate(look, "rankd_rejected_total", "reason", reason));
    cell(text);
    rankd_ctl_count(text, now);
    cell(text);
    putchar('\n');
}

static void header(int width, const char *first, const char *const *rest)
{
    printf("\n%-*s", width, first);
    for (; *rest; rest++)
        cell(*rest);
    putchar('\n');
}

static void bank_rows(struct ctl_http *http)
{
    json_t *answer = rankd_ctl_http_json(http, "GET", "/v2/banks", NULL);
    json_t *banks = json_is_array(answer) ? answer : json_object_get(answer, "banks");
    size_t i;
    json_t *bank;
    int width = 14;
    json_array_foreach(banks, i, bank)
    {
        const int length = (int)json_string_length(json_object_get(bank, "name"));
        width = length > width ? length : width;
    }
    if (json_array_size(banks))
        header(width, "bank", (const char *const[]){"items", "capacity", "version", "bytes", "state", NULL});
    json_array_foreach(banks, i, bank)
    {
        char text[16];
        static const char *const counts[] = {"items", "capacity", "version"};
        printf("%-*s", width, rankd_ctl_http_string(bank, "name"));
        for (size_t k = 0; k < 3; k++)
            printf(" %10lld", (long long)json_integer_value(json_object_get(bank, counts[k])));
        rankd_ctl_bytes(text, (double)json_integer_value(json_object_get(bank, "bytes")));
        cell(text);
        cell(rankd_ctl_bank_state(bank));
        putchar('\n');
    }
    json_decref(answer);
}

static const char *uptime(char text[32], const struct ctl_metrics *metrics)
{
    const double started = rankd_ctl_sum(metrics, "process_start_time_seconds", NULL, NULL);
    const double up = fmax((double)time(NULL) - started, 0);
    if (up < 120)
        snprintf(text, 32, "%.0f s", up);
    else if (up < 7200)
        snprintf(text, 32, "%.0f min", up / 60);
    else
        snprintf(text, 32, up < 172800 ? "%.1f h" : "%.1f days", up / (up < 172800 ? 3600 : 86400));
    return text;
}

static void print_status(struct ctl_http *http, const struct look *look)
{
    char requests[16], turned_away[16], up[32];
    rankd_ctl_count(requests, rate(look, "rankd_requests_total", NULL, NULL));
    rankd_ctl_count(turned_away, rate(look, "rankd_rejected_total", NULL, NULL));
    printf("rankd at %s, up for %s\n", rankd_ctl_http_url(http), uptime(up, &look->now));
    printf("%s requests/s, %s turned away/s, %.0f in flight, %.0f waiting, %.0f connections, %.0f ring "
           "clients\n",
           requests, turned_away, rankd_ctl_sum(&look->now, "rankd_requests_in_flight", NULL, NULL),
           rankd_ctl_sum(&look->now, "rankd_queue_waiting", NULL, NULL),
           rankd_ctl_sum(&look->now, "rankd_connections", NULL, NULL),
           rankd_ctl_sum(&look->now, "rankd_ring_segments", NULL, NULL));
    header(14, "model",
           (const char *const[]){"requests/s", "p50", "p99", "lists/s", "skipped", "stalled", "grad zero",
                                 NULL});
    each_value(look, "rankd_requests_total", "model", model_row);
    header(14, "stage", (const char *const[]){"p50", "p99", NULL});
    each_value(look, "rankd_stage_seconds_count", "stage", stage_row);
    header(14, "transport", (const char *const[]){"requests/s", "in/s", "out/s", NULL});
    each_value(look, "rankd_requests_total", "transport", transport_row);
    if (rankd_ctl_sum(&look->now, "rankd_rejected_total", NULL, NULL) > 0) {
        header(14, "turned away", (const char *const[]){"1/s", "ever", NULL});
        each_value(look, "rankd_rejected_total", "reason", reason_row);
    }
    bank_rows(http);
    fflush(stdout);
}

static void wait_for(double length)
{
    struct timespec left = {(time_t)length, (long)(1e9 * (length - floor(length)))};
    nanosleep(&left, NULL); /* a signal ends it early, which is intended */
}

/* Reads the metrics after the interval. False at the end: stopped, or the daemon is gone and the
 * display is not `live`. A live one shows the reason, and reading continues once the daemon is
 * back; `before` is replaced then, because the daemon was restarted. */
static bool look_again(struct ctl_http *http, struct look *look, double interval, bool live, bool *good)
{
    bool gone = false;
    for (;;) {
        wait_for(interval);
        if (stopped)
            return false;
        *good = read_metrics(http, gone ? &look->before : &look->now);
        if (*good && !gone)
            return true;
        if (!*good && !live)
            return false;
        if (!*good && !gone)
            rankd_ctl_metrics_free(&look->before);
        if (!*good)
            printf(CLEAR "%s\n", rankd_ctl_http_why(http));
        (void)fflush(stdout);
        gone = !*good;
    }
}

int rankd_ctl_status(struct ctl *ctl)
{
    if (ctl->arguments_count)
        return rankd_ctl_fail(2, "status takes no arguments, and got '%s'", ctl->arguments[0]);
    double interval = rankd_ctl_number("interval", ctl->interval, 0.1, 3600);
    bool live = !ctl->once[0] && isatty(STDOUT_FILENO);
    struct sigaction act = {.sa_handler = stop};
    sigaction(SIGINT, &act, NULL);
    struct ctl_http *http = rankd_ctl_http_open(ctl);
    struct look look = {0};
    bool good = read_metrics(http, &look.before);
    while (good && look_again(http, &look, interval, live, &good)) {
        look.seconds = fmax(look.now.at_s - look.before.at_s, 1e-3);
        if (live)
            fputs(CLEAR, stdout);
        print_status(http, &look);
        rankd_ctl_metrics_free(&look.before);
        look.before = look.now;
        look.now = (struct ctl_metrics){0};
        if (!live)
            break;
    }
    good = good || stopped;
    if (!good)
        rankd_ctl_fail(1, "%s", rankd_ctl_http_why(http));
    rankd_ctl_metrics_free(&look.before);
    rankd_ctl_metrics_free(&look.now);
    rankd_ctl_http_close(http);
    return good ? 0 : 1;
}
