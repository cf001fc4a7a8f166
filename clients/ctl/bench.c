/* SPDX-License-Identifier: Apache-2.0 */
/* rankctl bench: threads that send random lists, one request at a time each, a progress bar
 * meanwhile, and a histogram of the latencies at the end. A closed loop: it shows the latency that
 * this number of trainers sees when each waits for its answer. */
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "request.h"
#include "table.h"

struct plan {
    const struct ctl *ctl;
    struct ctl_parameters parameters;
    uint64_t lists, items, relevant, seed;
    size_t output_count;
    atomic_bool stop;
    atomic_uint_fast64_t done;
    atomic_uint sending; /* threads that have not ended */
};

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

struct sender {
    struct plan *plan;
    pthread_t thread;
    unsigned index;
    rankd_client *client;
    struct ctl_histogram latency;
    uint64_t failed;
    char why[512]; /* of the first failure */
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Scores uniform in [0, 1), relevant ones 0.5 higher, as in the middle of a training. */
static void fill(const struct plan *plan, uint64_t random, float *scores, int8_t *targets)
{
    memset(targets, 0, plan->lists * plan->items);
    for (uint64_t q = 0; q < plan->lists; q++) {
        for (uint64_t left = plan->relevant; left;) {
            int8_t *target = &targets[q * plan->items + next_random(&random) % plan->items];
            left -= !*target;
            *target = 1;
        }
        for (uint64_t i = q * plan->items; i < (q + 1) * plan->items; i++)
            scores[i] = (float)((double)(next_random(&random) >> 40) / 16777216.0 + 0.5 * targets[i]);
    }
}

static void send_until_stopped(struct sender *sender, float *scores, int8_t *targets)
{
    struct plan *plan = sender->plan;
    uint64_t count = plan->lists * plan->items;
    const struct rankd_tensor inputs[] = {
        {RANKD_IN_SCORES, RANKD_FP32, 2, {plan->lists, plan->items}, scores, count * sizeof *scores},
        {RANKD_IN_TARGETS, RANKD_INT8, 2, {plan->lists, plan->items}, targets, count}};
    const struct rankd_tensor outputs[] = {{.port = RANKD_OUT_LOSS}, {.port = RANKD_OUT_GRADIENT}};
    const struct rankd_request request = {.model = plan->ctl->model,
                                          .inputs = inputs,
                                          .input_count = 2,
                                          .outputs = outputs,
                                          .output_count = plan->output_count,
                                          .parameters = plan->parameters.list,
                                          .parameter_count = plan->parameters.count};
    while (!atomic_load_explicit(&plan->stop, memory_order_relaxed)) {
        struct rankd_reply reply = {0};
        double started = now_s();
        int status = rankd_ctl_infer(plan->ctl, sender->client, &request, &reply);
        if (status == 0) {
            rankd_ctl_histogram_add(&sender->latency, now_s() - started);
            atomic_fetch_add(&plan->done, 1);
        } else if (sender->failed++ == 0) {
            snprintf(sender->why, sizeof sender->why, "%s", reply.error);
        }
        rankd_reply_clear(sender->client, &reply);
        if (status == RANKD_LOST || status == RANKD_UNREACHABLE || status == RANKD_INVALID ||
            status == RANKD_TIMEOUT || status == RANKD_PROTOCOL)
            break; /* the next one would fail too */
    }
}

static void *send_requests(void *argument)
{
    struct sender *sender = argument;
    uint64_t count = sender->plan->lists * sender->plan->items;
    float *scores = rankd_alloc(sender->client, count * sizeof *scores);
    int8_t *targets = rankd_alloc(sender->client, count);
    if (scores && targets) {
        fill(sender->plan, sender->plan->seed + sender->index, scores, targets);
        send_until_stopped(sender, scores, targets);
    } else {
        sender->failed = 1;
        snprintf(sender->why, sizeof sender->why, "no memory for a request of %" PRIu64 " scores", count);
    }
    rankd_free(sender->client, scores);
    rankd_free(sender->client, targets);
    atomic_fetch_sub(&sender->plan->sending, 1);
    return NULL;
}

static void show_progress(const struct plan *plan, double passed, double duration)
{
    enum { WIDTH = 40 };
    int full = (int)(WIDTH * fmin(passed / duration, 1));
    char rate[16];
    rankd_ctl_count(rate, (double)atomic_load(&plan->done) / fmax(passed, 1e-9));
    fprintf(stderr, "\r[%.*s%*s] %3.0f %%  %s requests/s  ", full, "########################################",
            WIDTH - full, "", 100 * fmin(passed / duration, 1), rate);
}

static void wait_with_progress(struct plan *plan, double duration)
{
    double started = now_s(), passed;
    bool live = isatty(STDERR_FILENO);
    while ((passed = now_s() - started) < duration && !interrupted && atomic_load(&plan->sending)) {
        if (live)
            show_progress(plan, passed, duration);
        double left = fmin(duration - passed, 0.2);
        nanosleep(&(struct timespec){0, (long)(1e9 * left)}, NULL);
    }
    if (live) {
        show_progress(plan, passed, duration);
        fputc('\n', stderr);
    }
}

static void print_bench(const struct plan *plan, const struct ctl_histogram *latency, double seconds,
                        uint64_t failed)
{
    static const double quantiles[] = {0.5, 0.9, 0.99, 0.999};
    double rate = (double)latency->total / seconds;
    double mean = latency->total ? latency->sum_s / (double)latency->total : 0;
    if (plan->ctl->json[0]) {
        printf("{\"requests\": %" PRIu64 ", \"failed\": %" PRIu64
               ", \"seconds\": %.6f, \"requests_per_second\": %.3f, "
               "\"lists_per_second\": %.3f, \"mean_seconds\": %.9f",
               latency->total, failed, seconds, rate, rate * (double)plan->lists, mean);
        for (size_t i = 0; i < 4 && latency->total; i++)
            printf(", \"p%g_seconds\": %.9f", 100 * quantiles[i],
                   rankd_ctl_histogram_quantile(latency, quantiles[i]));
        puts("}");
        return;
    }
    if (latency->total == 0)
        return; /* the sentence about the failure suffices */
    const struct ctl *ctl = plan->ctl;
    printf("%s: %" PRIu64 " lists of %" PRIu64 " items, %" PRIu64 " of them relevant; %s %s over %s\n",
           ctl->model, plan->lists, plan->items, plan->relevant, ctl->connections,
           strcmp(ctl->connections, "1") == 0 ? "connection" : "connections",
           ctl->socket[0] ? ctl->socket : ctl->url);
    char text[16], lists[16];
    rankd_ctl_count(text, rate);
    rankd_ctl_count(lists, rate * (double)plan->lists);
    printf("%" PRIu64 " requests in %.2f s: %s requests/s, %s lists/s; %" PRIu64 " failed\n", latency->total,
           seconds, text, lists, failed);
    rankd_ctl_seconds(text, mean);
    printf("latency  mean %s", text);
    for (size_t i = 0; i < 4; i++) {
        rankd_ctl_seconds(text, rankd_ctl_histogram_quantile(latency, quantiles[i]));
        printf("   p%g %s", 100 * quantiles[i], text);
    }
    rankd_ctl_seconds(text, latency->max_s);
    printf("   max %s\n", text);
    rankd_ctl_histogram_print(latency, stdout);
}

static int run(struct plan *plan, struct sender *senders, unsigned count, double duration)
{
    unsigned started = 0;
    double begun = now_s();
    const struct sigaction once = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND};
    (void)sigaction(SIGINT, &once, NULL); /* the first ends the sending, a second one the program */
    atomic_store(&plan->sending, count);
    for (; started < count; started++)
        if (pthread_create(&senders[started].thread, NULL, send_requests, &senders[started]) != 0)
            break;
    if (started == count)
        wait_with_progress(plan, duration);
    atomic_store(&plan->stop, true);
    static struct ctl_histogram all;
    uint64_t failed = 0;
    const char *why = started < count ? "no more threads can be started" : "";
    for (unsigned i = 0; i < started; i++) {
        pthread_join(senders[i].thread, NULL);
        rankd_ctl_histogram_merge(&all, &senders[i].latency);
        failed += senders[i].failed;
        if (senders[i].failed && !why[0])
            why = senders[i].why;
    }
    print_bench(plan, &all, now_s() - begun, failed);
    return failed || why[0] ? rankd_ctl_fail(1, "%s", why) : 0;
}

int rankd_ctl_bench(struct ctl *ctl)
{
    struct plan plan = {.ctl = ctl};
    if (ctl->arguments_count)
        return rankd_ctl_fail(2, "bench takes no arguments, and got '%s'", ctl->arguments[0]);
    plan.lists = rankd_ctl_whole("lists", ctl->lists, 1, 1000000);
    plan.items = rankd_ctl_whole("items", ctl->items, 1, 100000000);
    plan.relevant = rankd_ctl_whole("relevant", ctl->relevant, 0, plan.items);
    plan.seed = rankd_ctl_whole("seed", ctl->seed, 0, 1000000000000000);
    unsigned count = (unsigned)rankd_ctl_whole("connections", ctl->connections, 1, 256);
    double duration = rankd_ctl_number("duration", ctl->duration, 0.01, 86400);
    rankd_ctl_parameters(ctl, &plan.parameters);
    struct sender *senders = calloc(count, sizeof *senders);
    unsigned opened = 0;
    if (!senders)
        return rankd_ctl_fail(1, "out of memory");
    int status = 0;
    uint64_t arena =
        10 * plan.lists * plan.items + (8u << 20); /* FP32 in and out, INT8, and some spare room */
    for (; status == 0 && opened < count; opened++) {
        senders[opened].plan = &plan;
        senders[opened].index = opened;
        senders[opened].client = rankd_ctl_open(ctl, arena);
        if (!senders[opened].client) {
            status = 1;
            break;
        }
    }
    plan.output_count = status == 0 && rankd_ctl_is_metric(ctl) ? 1 : 2; /* without the gradient */
    if (status == 0)
        status = run(&plan, senders, count, duration);
    for (unsigned i = 0; i < opened; i++)
        rankd_close(senders[i].client);
    free(senders);
    return status;
}
