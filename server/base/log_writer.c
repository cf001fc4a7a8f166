/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log_writer.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/patient.h"
#include "base/threads.h"

/* The interval in which the thread checks for a stop while the log is not read, and in which it
 * collects lines between two writes: under load it must not wake for every line and disturb threads
 * that compute. */
enum { LOOK_MS = 100, COLLECT_NS = 1000000 };

struct rk_log_writer {
    int fd;
    size_t size;
    rk_log_notice *notice;
    void *argument;

    pthread_mutex_t lock;
    pthread_cond_t some; /* a line is there, or stopping */
    pthread_cond_t over; /* the thread has ended */
    bool asleep, stopping, ended;
    uint64_t stop_ns;

    /* Bytes put and taken since the start; the difference waits. Changed under the lock; atomic for
     * the handler of a crash, which can't take the lock. */
    atomic_size_t put, taken;
    atomic_flag writing; /* from choosing the next bytes until they are taken */

    uint64_t dropped; /* since the start */
    uint64_t said;    /* of them, those in notices that were written */
    uint64_t told;    /* and in one that still waits, up to `notice_end` */
    size_t notice_end;

    pthread_t thread;
    char bytes[];
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void copy_in(struct rk_log_writer *writer, const char *line, size_t length)
{
    const size_t at = writer->put % writer->size;
    const size_t first = length < writer->size - at ? length : writer->size - at;
    memcpy(writer->bytes + at, line, first);
    memcpy(writer->bytes, line + first, length - first);
    writer->put += length;
}

/* The bytes to write next: as many whole lines as fit one write, or a piece of a longer one. */
static size_t peek(const struct rk_log_writer *writer, char chunk[PIPE_BUF])
{
    const size_t waits = writer->put - writer->taken, at = writer->taken % writer->size;
    const size_t count = waits < PIPE_BUF ? waits : PIPE_BUF;
    const size_t first = count < writer->size - at ? count : writer->size - at;
    memcpy(chunk, writer->bytes + at, first);
    memcpy(chunk + first, writer->bytes, count - first);
    const char *end = memrchr(chunk, '\n', count);
    return end ? (size_t)(end - chunk) + 1 : count;
}

static size_t room(const struct rk_log_writer *writer)
{
    return writer->size - (writer->put - writer->taken);
}

/* Puts a notice in place of the dropped lines. The lock is held. */
static void tell(struct rk_log_writer *writer)
{
    struct rk_text line = {0};
    writer->notice(writer->argument, writer->dropped - writer->said, &line);
    if (!line.failed && line.length <= room(writer)) {
        copy_in(writer, line.data, line.length);
        writer->told = writer->dropped;
        writer->notice_end = writer->put;
    }
    rk_text_free(&line);
}

/* Once a line was dropped, the next ones are dropped too until half of the buffer is free: so there
 * is one notice for a gap, and not one between every two lines if the reader is a little too
 * slow. */
void rk_log_writer_put(struct rk_log_writer *writer, const char *line, size_t length)
{
    pthread_mutex_lock(&writer->lock);
    if (writer->told != writer->dropped && room(writer) >= writer->size / 2)
        tell(writer);
    if (writer->told == writer->dropped && length <= room(writer))
        copy_in(writer, line, length);
    else
        writer->dropped++;
    if (writer->asleep)
        pthread_cond_signal(&writer->some);
    pthread_mutex_unlock(&writer->lock);
}

void rk_log_writer_miss(struct rk_log_writer *writer)
{
    pthread_mutex_lock(&writer->lock);
    writer->dropped++;
    pthread_mutex_unlock(&writer->lock);
}

uint64_t rk_log_writer_dropped(struct rk_log_writer *writer)
{
    pthread_mutex_lock(&writer->lock);
    const uint64_t dropped = writer->dropped;
    pthread_mutex_unlock(&writer->lock);
    return dropped;
}

static uint64_t lines_in(const char *bytes, size_t count)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < count; i++)
        lines += bytes[i] == '\n';
    return lines;
}

/* Removes what was written, or can't be written (`failed`). The lock is held. */
static void take_lines(struct rk_log_writer *writer, const char *chunk, size_t count, bool failed)
{
    const bool noticed = writer->told != writer->said && writer->taken + count >= writer->notice_end;
    if (failed)
        writer->dropped += lines_in(chunk, count) - noticed;
    if (noticed && !failed)
        writer->said = writer->told;
    else if (noticed)
        writer->told = writer->said;
    writer->taken += count;
    if (!failed && writer->put == writer->taken && writer->told != writer->dropped)
        tell(writer);
}

/* Writes some of the waiting bytes, without the lock while it waits for the reader. False: the log
 * is not read. */
static bool write_some(struct rk_log_writer *writer)
{
    char chunk[PIPE_BUF];
    const size_t count = peek(writer, chunk);
    pthread_mutex_unlock(&writer->lock);
    ssize_t wrote = 0;
    if (!atomic_flag_test_and_set(&writer->writing)) { /* set: a crash handler writes now */
        wrote = rk_patient_write(writer->fd, chunk, count, LOOK_MS);
        pthread_mutex_lock(&writer->lock);
        if (wrote != 0)
            take_lines(writer, chunk, wrote < 0 ? count : (size_t)wrote, wrote < 0);
        atomic_flag_clear(&writer->writing);
        pthread_mutex_unlock(&writer->lock);
    }
    (void)nanosleep(&(struct timespec){0, COLLECT_NS}, NULL);
    pthread_mutex_lock(&writer->lock);
    return wrote != 0;
}

static void *write_lines(void *argument)
{
    struct rk_log_writer *writer = argument;
    pthread_mutex_lock(&writer->lock);
    for (;;) {
        while (writer->put == writer->taken && !writer->stopping) {
            writer->asleep = true;
            pthread_cond_wait(&writer->some, &writer->lock);
            writer->asleep = false;
        }
        if (writer->put == writer->taken)
            break;
        if (!write_some(writer) && writer->stopping && now_ns() > writer->stop_ns)
            break;
    }
    writer->ended = true;
    pthread_cond_signal(&writer->over);
    pthread_mutex_unlock(&writer->lock);
    return NULL;
}

struct rk_log_writer *rk_log_writer_start(int fd, size_t bytes, rk_log_notice *notice, void *argument)
{
    struct rk_log_writer *writer = calloc(1, sizeof *writer + bytes);
    if (!writer)
        return NULL;
    writer->fd = fd;
    writer->size = bytes;
    writer->notice = notice;
    writer->argument = argument;
    atomic_flag_clear(&writer->writing);
    pthread_mutex_init(&writer->lock, NULL);
    pthread_cond_init(&writer->some, NULL);
    pthread_cond_init(&writer->over, NULL);
    if (rk_thread_start(&writer->thread, "log", write_lines, writer))
        return writer;
    free(writer);
    return NULL;
}

/* A thread that hangs in write(), for example on a disk that is gone, can't be joined. */
bool rk_log_writer_stop(struct rk_log_writer *writer)
{
    const uint64_t longest = now_ns() + (RK_LOG_FLUSH_MS + 5 * LOOK_MS) * UINT64_C(1000000);
    const struct timespec until = {(time_t)(longest / 1000000000u), (long)(longest % 1000000000u)};
    int late = 0;
    pthread_mutex_lock(&writer->lock);
    writer->stopping = true;
    writer->stop_ns = now_ns() + RK_LOG_FLUSH_MS * UINT64_C(1000000);
    pthread_cond_signal(&writer->some);
    while (!writer->ended && late == 0)
        late = pthread_cond_clockwait(&writer->over, &writer->lock, CLOCK_MONOTONIC, &until);
    const bool ended = writer->ended;
    pthread_mutex_unlock(&writer->lock);
    if (!ended) {
        pthread_detach(writer->thread);
        return false;
    }
    pthread_join(writer->thread, NULL);
    pthread_cond_destroy(&writer->over);
    pthread_cond_destroy(&writer->some);
    pthread_mutex_destroy(&writer->lock);
    free(writer);
    return true;
}

void rk_log_writer_crash(struct rk_log_writer *writer)
{
    const uint64_t until = now_ns() + RK_LOG_CRASH_MS * UINT64_C(1000000);
    char chunk[PIPE_BUF];
    /* The thread stops writing after LOOK_MS, unless it hangs, or is the one that crashed. */
    for (int i = 0; i < 2 * LOOK_MS && atomic_flag_test_and_set(&writer->writing); i++)
        (void)nanosleep(&(struct timespec){0, 1000000}, NULL);
    while (writer->put != writer->taken && now_ns() < until) {
        const ssize_t wrote = rk_patient_write(writer->fd, chunk, peek(writer, chunk), LOOK_MS);
        if (wrote < 0)
            return;
        writer->taken += (size_t)wrote;
    }
}
