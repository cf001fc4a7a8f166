/* A plugin without a card, for the daemon's logic around one: memory "on the card" is host memory that
 * another process shares by name, and lists are computed by plain sorting. What it does not know it passes
 * on, and it fails when it is told to:
 *
 *   FAKE_CARD=oom:N      the N-th call fails for want of memory
 *   FAKE_CARD=lost:N     the N-th call, and with it the card */
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device_plugin.h"
#include "param.h"
#include "tensor.h"

struct rk_card {
    atomic_int calls;
};

struct item {
    float y;
    int relevant;
    size_t place;
};

static int better(const void *a, const void *b)
{
    const struct item *x = a, *z = b;
    if (x->y != z->y)
        return x->y > z->y ? -1 : 1;
    if (x->relevant != z->relevant)
        return x->relevant ? 1 : -1;
    return x->place < z->place ? -1 : 1;
}

static struct rk_card *open_card(int ordinal, size_t limit, char *name, char *why)
{
    (void)limit;
    if (ordinal > 0) {
        (void)snprintf(why, RK_DEVICE_WHY, "there is no card %d; there are 1, counted from 0", ordinal);
        return NULL;
    }
    (void)snprintf(name, RK_DEVICE_NAME, "a card made of paper");
    return calloc(1, sizeof(struct rk_card));
}

static void close_card(struct rk_card *card)
{
    free(card);
}

static enum rk_card_outcome due(struct rk_card *card, char *why)
{
    const char *what = getenv("FAKE_CARD");
    const int call = atomic_fetch_add(&card->calls, 1) + 1;
    int at = 0;
    why[0] = '\0';
    if (what && sscanf(what, "oom:%d", &at) == 1 && at == call) {
        (void)snprintf(why, RK_DEVICE_WHY, "out of memory");
        return RK_CARD_FAILED;
    }
    if (what && sscanf(what, "lost:%d", &at) == 1 && at <= call) {
        (void)snprintf(why, RK_DEVICE_WHY, "fell off the bus");
        return RK_CARD_LOST;
    }
    return RK_CARD_DONE;
}

static bool knows(const struct rk_card_scores *job)
{
    return job->score_dtype == RK_FP32 && job->target_dtype == RK_INT8 && !job->by_column && !job->recall &&
           !job->batch && job->normalized && job->margin == 0 && job->average == RK_AVERAGE_MACRO &&
           !job->wants_sparse;
}

/* One list; false: something in it is not for us. */
static bool run_list(const struct rk_card_scores *job, size_t row, double w, double *loss, size_t *nonzero)
{
    const float *score = (const float *)job->scores + row * job->columns;
    const int8_t *target = (const int8_t *)job->targets + row * job->columns;
    struct item *item = calloc(job->columns, sizeof *item);
    double *rank = calloc(job->columns, sizeof *rank);
    size_t p = 0, k = 0;
    bool good = item && rank;
    for (size_t i = 0; good && i < job->columns; i++) {
        good = !isnan(score[i]) && (target[i] == 0 || target[i] == 1);
        item[i] = (struct item){score[i], target[i], i};
        p += target[i] == 1;
    }
    if (good && p > 0) {
        const double lambda = job->lambda * (double)job->columns;
        qsort(item, job->columns, sizeof *item, better);
        *loss = 0;
        for (size_t i = 0; i < job->columns; i++) {
            const double rk = (double)i + 1, rp = (double)k + 1;
            rank[item[i].place] = rk;
            if (!item[i].relevant)
                continue;
            *loss += (rk - rp) / rk / (double)p;
            item[i].y = (float)((double)item[i].y + lambda * (rp / (((double)p * rk) * rk)));
            k++;
        }
        qsort(item, job->columns, sizeof *item, better);
        for (size_t i = 0; job->wants_gradient && i < job->columns; i++) {
            const double delta = rank[item[i].place] - ((double)i + 1);
            job->gradient[row * job->columns + item[i].place] = (float)((-w * delta) / lambda) + 0.0f;
            *nonzero += delta != 0;
        }
    }
    free(item);
    free(rank);
    return good && p > 0;
}

static enum rk_card_outcome scores(struct rk_card *card, struct rk_card_scores *job, char *why)
{
    const enum rk_card_outcome outcome = due(card, why);
    if (outcome != RK_CARD_DONE || !knows(job))
        return outcome == RK_CARD_DONE ? RK_CARD_PASSED : outcome;
    job->loss = 0;
    job->nonzero = job->stalled = job->skipped = 0;
    job->lists = job->rows;
    for (size_t row = 0; row < job->rows; row++) {
        double loss = 0;
        if (!run_list(job, row, 1.0 / (double)job->rows, &loss, &job->nonzero))
            return RK_CARD_PASSED;
        job->loss += loss / (double)job->rows;
        if (job->list_loss)
            job->list_loss[row] = (float)loss;
    }
    return RK_CARD_DONE;
}

static enum rk_card_outcome retrieval(struct rk_card *card, struct rk_card_retrieval *job, char *why)
{
    (void)job;
    const enum rk_card_outcome outcome = due(card, why);
    return outcome == RK_CARD_DONE ? RK_CARD_PASSED : outcome;
}

static enum rk_card_outcome fetch(struct rk_card *card, void *host, const void *on_card, size_t bytes,
                                  char *why)
{
    (void)card;
    why[0] = '\0';
    memcpy(host, on_card, bytes);
    return RK_CARD_DONE;
}

static enum rk_card_outcome store(struct rk_card *card, void *on_card, const void *host, size_t bytes,
                                  char *why)
{
    (void)card;
    why[0] = '\0';
    memcpy(on_card, host, bytes);
    return RK_CARD_DONE;
}

/* The handle is the name of a shared memory object; its first page says nothing. */
/* Mappings that stand, so that tests see in /proc what was let go of. */
enum { MAPPINGS = 64 };
static pthread_mutex_t mapping_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    void *address;
    size_t bytes;
} mappings[MAPPINGS];

static bool remember(void *address, size_t bytes)
{
    size_t i = 0;
    (void)pthread_mutex_lock(&mapping_lock);
    while (i < MAPPINGS && mappings[i].address)
        i++;
    if (i < MAPPINGS) {
        mappings[i].address = address;
        mappings[i].bytes = bytes;
    }
    (void)pthread_mutex_unlock(&mapping_lock);
    return i < MAPPINGS;
}

static enum rk_card_outcome map(struct rk_card *card, const unsigned char *handle, void **address,
                                size_t *bytes, char *why)
{
    (void)card;
    char name[RK_DEVICE_HANDLE + 1] = "";
    struct stat file;
    memcpy(name, handle, RK_DEVICE_HANDLE);
    const int fd = shm_open(name, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0 || fstat(fd, &file) != 0) {
        (void)snprintf(why, RK_DEVICE_WHY, "invalid argument");
        return RK_CARD_FAILED;
    }
    *bytes = (size_t)file.st_size;
    *address = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    return *address != MAP_FAILED && remember(*address, *bytes) ? RK_CARD_DONE : RK_CARD_FAILED;
}

static void unmap(struct rk_card *card, void *address)
{
    (void)card;
    (void)pthread_mutex_lock(&mapping_lock);
    for (size_t i = 0; i < MAPPINGS; i++) {
        if (mappings[i].address != address)
            continue;
        (void)munmap(address, mappings[i].bytes);
        mappings[i].address = NULL;
    }
    (void)pthread_mutex_unlock(&mapping_lock);
}

static struct rk_card_memory memory(struct rk_card *card)
{
    (void)card;
    return (struct rk_card_memory){1 << 20, 1 << 30};
}

__attribute__((visibility("default"))) const struct rk_device_plugin *rk_plugin(void);
const struct rk_device_plugin *rk_plugin(void)
{
    static const struct rk_device_plugin table = {
        RK_PLUGIN_VERSION, open_card, close_card, scores, retrieval, fetch, store, map, unmap, memory};
    return &table;
}
