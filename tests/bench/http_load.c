/* SPDX-License-Identifier: Apache-2.0 */
/* http_load PORT CONNECTIONS SECONDS REQUEST_FILE: sends the bytes of the file over kept-alive
 * connections to a server on loopback, each connection as soon as it has its answer, and prints
 * {"per_s", "p50_us", "p99_us", "answers", "failed"}. One thread with epoll, so that the server is
 * measured and not a client library. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MOST = 1024, ANSWER_MOST = 1 << 20, SAMPLES_MOST = 1 << 22 };

struct link {
    int fd;
    size_t sent, got, whole; /* whole: bytes of the answer, 0 while the header is not complete */
    uint64_t begun_ns;
    char answer[ANSWER_MOST + 1];
};

static char *request;
static size_t request_bytes, samples, answers, failed;
static float *sample_us;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void send_more(struct link *link)
{
    while (link->sent < request_bytes) {
        const ssize_t wrote =
            send(link->fd, request + link->sent, request_bytes - link->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (wrote < 0 && errno == EAGAIN)
            return;
        if (wrote < 0)
            die("send");
        link->sent += (size_t)wrote;
    }
}

static void begin(struct link *link)
{
    link->sent = link->got = link->whole = 0;
    link->begun_ns = now_ns();
    send_more(link);
}

static void find_length(struct link *link)
{
    link->answer[link->got] = '\0';
    const char *end = strstr(link->answer, "\r\n\r\n"),
               *length = strcasestr(link->answer, "\r\nContent-Length:");
    if (end && length)
        link->whole = (size_t)(end + 4 - link->answer) + strtoull(length + 17, NULL, 10);
}

static void take(struct link *link)
{
    for (;;) {
        const ssize_t got = recv(link->fd, link->answer + link->got, ANSWER_MOST - link->got, MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0)
            die("recv");
        link->got += (size_t)got;
        if (!link->whole)
            find_length(link);
        if (!link->whole || link->got < link->whole)
            continue;
        failed += memcmp(link->answer + 8, " 200", 4) != 0;
        answers++;
        if (samples < SAMPLES_MOST)
            sample_us[samples++] = (float)(now_ns() - link->begun_ns) / 1e3f;
        begin(link);
    }
}

static int connect_to(unsigned port)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void read_request(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0)
        die(path);
    request_bytes = (size_t)ftell(file);
    rewind(file);
    request = malloc(request_bytes);
    if (!request || fread(request, 1, request_bytes, file) != request_bytes)
        die(path);
    fclose(file);
}

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void run(int epoll, uint64_t until)
{
    struct epoll_event event[64];
    while (now_ns() < until) {
        const int count = epoll_wait(epoll, event, 64, 100);
        for (int i = 0; i < count; i++) {
            struct link *link = event[i].data.ptr;
            send_more(link);
            take(link);
        }
    }
}

int main(int argc, char **argv)
{
    const int connections = argc == 5 ? atoi(argv[2]) : 0;
    if (connections < 1 || connections > CONNECTIONS_MOST) {
        fprintf(stderr, "usage: http_load PORT CONNECTIONS SECONDS REQUEST_FILE\n");
        return 2;
    }
    read_request(argv[4]);
    struct link *links = calloc((size_t)connections, sizeof *links);
    sample_us = calloc(SAMPLES_MOST, sizeof *sample_us);
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!links || !sample_us || epoll < 0)
        die("start");
    for (int i = 0; i < connections; i++) {
        links[i].fd = connect_to((unsigned)atoi(argv[1]));
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = &links[i]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, links[i].fd, &event) != 0)
            die("epoll_ctl");
        begin(&links[i]);
    }
    const uint64_t begun = now_ns();
    run(epoll, begun + (uint64_t)(atof(argv[3]) * 1e9));
    const double seconds = (double)(now_ns() - begun) / 1e9;
    qsort(sample_us, samples, sizeof *sample_us, ascending);
    printf("{\"per_s\": %.0f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"answers\": %zu, \"failed\": %zu}\n",
           (double)answers / seconds, samples ? sample_us[samples / 2] : 0,
           samples ? sample_us[samples * 99 / 100] : 0, answers, failed);
    return 0;
}
