/* SPDX-License-Identifier: Apache-2.0 */
/* librankd: opening a client over both transports, and the errors if there is no daemon. */
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "rankd_shm.h"
#include "unit/support/client.h"

static const char *const flags[] = {"--ring-uid-bytes=512M", NULL};
static struct test_daemon daemon_;

static int start(void **state)
{
    (void)state;
    test_daemon_start(&daemon_, flags);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    test_daemon_stop(&daemon_);
    return 0;
}

static int open_error(const char *url, const struct rankd_options *options, struct rankd_error *error)
{
    rankd_client *client = (void *)1;
    memset(error, 0, sizeof *error);
    int status = rankd_open(url, options, &client, error);
    if (status == RANKD_OK) {
        rankd_close(client);
        return status;
    }
    assert_null(client);
    assert_int_equal(error->status, status);
    assert_true(strlen(error->text) > 10);
    return status;
}

static void the_version_is_that_of_the_build(void **state)
{
    (void)state;
    assert_string_equal(rankd_version(), RK_VERSION);
}

static void a_url_that_is_none_is_misuse_and_named(void **state)
{
    (void)state;
    static char longest[200];
    (void)snprintf(longest, sizeof longest, "unix:%0108d", 1);
    const char *const urls[] = {
        "",        "nothing",     "UNIX:/x",       "tcp://127.0.0.1", "unix:",
        "unix://", "http://",     "https://",      "http://:80",      "http://a host/",
        longest,   "http://x:0x", "http://x:99999"};
    struct rankd_error error;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        if (open_error(urls[i], NULL, &error) != RANKD_MISUSE)
            fail_msg("'%s': %d %s", urls[i], error.status, error.text);
        assert_int_equal(rankd_open(urls[i], NULL, &(rankd_client *){NULL}, NULL), RANKD_MISUSE);
    }
    assert_int_equal(open_error(NULL, NULL, &error), RANKD_MISUSE);
    assert_int_equal(rankd_open("unix:/x", NULL, NULL, &error), RANKD_MISUSE);
    rankd_close(NULL);
}

static void nobody_there_is_unreachable(void **state)
{
    (void)state;
    struct rankd_error error;
    struct test_request example;
    rankd_client *client;
    assert_int_equal(open_error("unix:/nowhere/ring", NULL, &error), RANKD_UNREACHABLE);
    assert_non_null(strstr(error.text, "/nowhere/ring"));
    test_example(&example);
    /* HTTP connects at the first request. */
    assert_int_equal(rankd_open("http://127.0.0.1:1", NULL, &client, &error), RANKD_OK);
    struct rankd_reply reply;
    assert_int_equal(rankd_infer(client, &example.request, &reply), RANKD_UNREACHABLE);
    assert_true(strlen(reply.error) > 10);
    char *answer = (char *)1;
    assert_int_equal(rankd_call(client, "GET", "/v2", NULL, 0, SECONDS(10), &answer, NULL, &error),
                     RANKD_UNREACHABLE);
    assert_null(answer);
    rankd_close(client);
}

static void defaults_are_those_of_the_header(void **state)
{
    uint64_t bytes, largest;
    rankd_client *client = test_open(&daemon_, state, NULL);
    rankd_arena(client, &bytes, &largest);
    assert_true(is_ring(state) ? bytes == 64 << 20 && largest <= bytes && largest > bytes - (1 << 20)
                               : bytes == UINT64_MAX && largest == UINT64_MAX);
    assert_true((rankd_daemon_id(client) != 0) == is_ring(state));
    rankd_close(client);
}

static void options_and_url_are_copied_and_kept_to(void **state)
{
    char url[128], token[] = "a token that nobody asks for";
    struct rankd_options options = {.arena_bytes = 3 << 20,
                                    .entries = 2,
                                    .spin_us = 20,
                                    .connect_timeout_ns = SECONDS(20),
                                    .token = token};
    struct rankd_error error;
    struct test_request example;
    rankd_client *client;
    uint64_t bytes, largest, tags[3];
    (void)snprintf(url, sizeof url, "%s", test_url(&daemon_, state));
    assert_int_equal(rankd_open(url, &options, &client, &error), RANKD_OK);
    memset(url, 'x', sizeof url);
    memset(token, '\n', sizeof token);
    memset(&options, 0xff, sizeof options);
    rankd_arena(client, &bytes, &largest);
    assert_true(!is_ring(state) || bytes == 3 << 20);
    test_example(&example);
    test_daemon_hold(&daemon_);
    for (int i = 0; i < 2; i++)
        assert_int_equal(rankd_submit(client, &example.request, &tags[i], &error), RANKD_OK);
    assert_int_equal(rankd_submit(client, &example.request, &tags[2], &error), RANKD_OVERLOADED);
    test_daemon_go(&daemon_);
    for (int i = 0; i < 2; i++) {
        struct rankd_reply reply;
        assert_int_equal(rankd_wait(client, tags[i], SECONDS(20), &reply), RANKD_OK);
        assert_true(test_is_example(&reply));
        rankd_reply_clear(client, &reply);
    }
    rankd_close(client);
}

static void a_path_may_be_written_as_a_url(void **state)
{
    (void)state;
    char url[128];
    struct rankd_error error;
    (void)snprintf(url, sizeof url, "unix://%s", daemon_.socket);
    assert_int_equal(open_error(url, NULL, &error), RANKD_OK);
    (void)snprintf(url, sizeof url, "%s/", daemon_.http);
    assert_int_equal(open_error(url, NULL, &error), RANKD_OK);
}

static void an_arena_beyond_the_daemons_bounds_is_overloaded(void **state)
{
    struct rankd_error error;
    const struct rankd_options options = {.arena_bytes = UINT64_C(1) << 40};
    assert_int_equal(open_error(test_url(&daemon_, state), &options, &error), RANKD_OVERLOADED);
    assert_non_null(strstr(error.text, "--ring-"));
}

static void an_arena_without_room_for_the_descriptors_is_no_memory(void **state)
{
    struct rankd_error error;
    const struct rankd_options options = {.arena_bytes = 4096, .entries = 64};
    assert_int_equal(open_error(test_url(&daemon_, state), &options, &error), RANKD_NO_MEMORY);
}

/* ---- Daemons that do not answer ---- */

static int listen_at(struct sockaddr_un *address, int backlog)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    (void)snprintf(address->sun_path, sizeof address->sun_path, "%s/mute", daemon_.folder);
    (void)unlink(address->sun_path);
    assert_int_equal(bind(fd, (struct sockaddr *)address, sizeof *address), 0);
    assert_int_equal(listen(fd, backlog), 0);
    return fd;
}

/* RANKD_UNREACHABLE, not before the limit and not long after it. */
static void gives_up_in_time(const char *url, double seconds)
{
    struct rankd_error error;
    const struct rankd_options options = {.connect_timeout_ns = SECONDS(seconds)};
    uint64_t begun = test_now_ns();
    assert_int_equal(open_error(url, &options, &error), RANKD_UNREACHABLE);
    assert_in_range(test_now_ns() - begun, SECONDS(seconds), SECONDS(seconds + 5));
}

static void a_socket_that_says_nothing_is_unreachable_in_time(void **state)
{
    (void)state;
    struct sockaddr_un address;
    char url[128];
    int fd = listen_at(&address, 0);
    int other = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    (void)snprintf(url, sizeof url, "unix:%s", address.sun_path);
    gives_up_in_time(url, 0.2);
    /* The socket is not accepted from, so one connection waits in the queue and the next can't even
     * connect. */
    (void)connect(other, (struct sockaddr *)&address, sizeof address);
    gives_up_in_time(url, 0.2);
    (void)close(other);
    (void)close(fd);
    (void)unlink(address.sun_path);
}

/* The accepted connection is answered with `welcome`, of `bytes` bytes, and `pause_us` later. */
struct impostor {
    int fd, pass;
    useconds_t pause_us;
    struct rankd_welcome welcome;
    size_t bytes;
};

static void *answer_as_told(void *arg)
{
    const struct impostor *impostor = arg;
    int fd = accept4(impostor->fd, NULL, NULL, SOCK_CLOEXEC);
    struct rankd_hello hello;
    (void)recv(fd, &hello, sizeof hello, 0);
    (void)usleep(impostor->pause_us);
    struct iovec part = {(void *)(uintptr_t)&impostor->welcome, impostor->bytes};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (impostor->pass >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(rights), &impostor->pass, sizeof impostor->pass);
    }
    if (impostor->bytes > 0)
        (void)sendmsg(fd, &message, MSG_NOSIGNAL);
    (void)close(fd);
    return NULL;
}

static int met_with(struct impostor *impostor, struct rankd_error *error)
{
    struct sockaddr_un address;
    pthread_t thread;
    char url[128];
    impostor->fd = listen_at(&address, 4);
    (void)snprintf(url, sizeof url, "unix:%s", address.sun_path);
    assert_int_equal(pthread_create(&thread, NULL, answer_as_told, impostor), 0);
    int status = open_error(url, &(struct rankd_options){.connect_timeout_ns = SECONDS(10)}, error);
    (void)pthread_join(thread, NULL);
    (void)close(impostor->fd);
    (void)unlink(address.sun_path);
    return status;
}

/* A segment with a valid header. */
static struct rankd_shm_segment sound_header(void)
{
    return (struct rankd_shm_segment){.magic = RANKD_SHM_MAGIC,
                                      .version = RANKD_SHM_VERSION,
                                      .header_bytes = RANKD_SHM_HEADER_BYTES,
                                      .segment_bytes = 1 << 20,
                                      .entries = 2,
                                      .entry_bytes = RANKD_SHM_ENTRY_BYTES,
                                      .submissions_offset = 4096,
                                      .completions_offset = 4224,
                                      .arena_offset = 8192,
                                      .arena_bytes = (1 << 20) - 8192};
}

static int segment_of(const struct rankd_shm_segment *header, off_t bytes, bool sealed)
{
    int fd = memfd_create("rankd-client-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, bytes), 0);
    assert_int_equal(pwrite(fd, header, sizeof *header, 0), sizeof *header);
    assert_int_equal(sealed ? fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) : 0, 0);
    return fd;
}

static void a_handshake_that_is_none_of_rankds_is_unreachable(void **state)
{
    (void)state;
    struct rankd_error error;
    struct impostor impostor = {.pass = -1};
    assert_int_equal(met_with(&impostor, &error), RANKD_UNREACHABLE); /* hangs up */
    impostor.bytes = 1;
    assert_int_equal(met_with(&impostor, &error), RANKD_UNREACHABLE); /* a doorbell */
    impostor.bytes = sizeof impostor.welcome;
    assert_int_equal(met_with(&impostor, &error), RANKD_UNREACHABLE); /* another kind */
    impostor.welcome.kind = RANKD_PACKET_WELCOME;
    assert_int_equal(met_with(&impostor, &error), RANKD_UNREACHABLE); /* without a segment */
    impostor.welcome.status = RANKD_PENDING;
    assert_int_equal(met_with(&impostor, &error), RANKD_PROTOCOL); /* with a status of the library's own */
    impostor.welcome.status = RANKD_FORBIDDEN;
    memset(impostor.welcome.text, 'x', sizeof impostor.welcome.text);
    assert_int_equal(met_with(&impostor, &error), RANKD_FORBIDDEN); /* a sentence without end */
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
}

static void a_header_that_does_not_fit_its_segment_is_unreachable(void **state)
{
    (void)state;
    struct rankd_error error;
    struct impostor impostor = {.bytes = sizeof impostor.welcome,
                                .welcome = {.kind = RANKD_PACKET_WELCOME, .segment_bytes = 1 << 20}};
    for (int wrong = 0; wrong < 15; wrong++) {
        struct rankd_shm_segment header = sound_header();
        off_t bytes = 1 << 20;
        header.magic += wrong == 0;
        header.version += wrong == 1;
        header.segment_bytes += wrong == 2 ? 64 : 0;
        header.entry_bytes += wrong == 3;
        header.entries = wrong == 4 ? 0 : wrong == 5 ? 3 : wrong == 6 ? 8192 : 2;
        header.submissions_offset = wrong == 7 ? (1 << 20) - 64 : wrong == 8 ? UINT64_MAX - 63 : 4096;
        header.completions_offset = wrong == 9 ? (1 << 20) - 64 : wrong == 10 ? 4225 : 4224;
        header.arena_offset = wrong == 11 ? UINT64_MAX - 63 : 8192;
        header.arena_bytes += wrong == 12 ? 64 : 0;
        if (wrong == 13)
            bytes = 4096; /* shorter than the daemon says: to read on would be a bus error */
        impostor.pass = segment_of(&header, bytes, wrong != 14); /* unsealed, it could become shorter */
        if (met_with(&impostor, &error) != RANKD_UNREACHABLE)
            fail_msg("%d: %d %s", wrong, error.status, error.text);
        (void)close(impostor.pass);
    }
}

static void a_small_segment_has_no_room_for_many_entries(void **state)
{
    (void)state;
    struct rankd_error error;
    struct rankd_shm_segment header = sound_header();
    struct impostor impostor = {.bytes = sizeof impostor.welcome,
                                .welcome = {.kind = RANKD_PACKET_WELCOME, .segment_bytes = 65536}};
    header.segment_bytes = 65536;
    header.arena_bytes = 65536 - 8192;
    header.entries = 4096; /* 256 KiB: more than the segment */
    impostor.pass = segment_of(&header, 65536, true);
    assert_int_equal(met_with(&impostor, &error), RANKD_UNREACHABLE);
    (void)close(impostor.pass);
}

static void ignore(int number)
{
    (void)number;
}

static void signals_during_the_handshake_do_no_harm(void **state)
{
    (void)state;
    struct rankd_error error;
    struct rankd_shm_segment header = sound_header();
    struct impostor impostor = {.pause_us = 200000,
                                .bytes = sizeof impostor.welcome,
                                .welcome = {.kind = RANKD_PACKET_WELCOME, .segment_bytes = 1 << 20}};
    struct sigaction action = {.sa_handler = ignore}; /* no SA_RESTART */
    struct itimerval often = {{0, 5000}, {0, 5000}}, never = {0};
    impostor.pass = segment_of(&header, 1 << 20, true);
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    int status = met_with(&impostor, &error);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    (void)close(impostor.pass);
    if (status != RANKD_OK)
        fail_msg("%s", error.text);
}

static void a_port_that_says_nothing_is_unreachable_in_time(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), others[8];
    char url[64];
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    /* The socket is not accepted from: once the queue is full, further connections get no
     * answer. */
    for (int i = 0; i < 8; i++) {
        others[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(others[i], (struct sockaddr *)&address, size);
    }
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    /* Below a millisecond too: to curl, 0 would mean five minutes. */
    for (uint64_t limit = 200000000; limit >= 1000; limit /= 200000) {
        struct rankd_options options = {.connect_timeout_ns = limit};
        struct rankd_error error;
        rankd_client *client;
        char *answer;
        uint64_t begun = test_now_ns();
        assert_int_equal(rankd_open(url, &options, &client, &error), RANKD_OK);
        assert_int_equal(rankd_call(client, "GET", "/v2", NULL, 0, SECONDS(20), &answer, NULL, &error),
                         RANKD_UNREACHABLE);
        assert_in_range(test_now_ns() - begun, limit, limit + SECONDS(5));
        rankd_close(client);
    }
    for (int i = 0; i < 8; i++)
        (void)close(others[i]);
    (void)close(fd);
}

static void limits_without_end_are_fine(void **state)
{
    struct test_request example;
    struct rankd_reply reply;
    rankd_client *client =
        test_open(&daemon_, state, &(struct rankd_options){.connect_timeout_ns = UINT64_MAX});
    test_example(&example);
    assert_int_equal(rankd_infer(client, &example.request, &reply), RANKD_OK);
    rankd_reply_clear(client, &reply);
    rankd_close(client);
}

static void to_reconnect_where_a_connection_stands_does_nothing(void **state)
{
    struct rankd_error error;
    struct rankd_reply reply;
    struct test_request example;
    uint64_t tag;
    rankd_client *client = test_open(&daemon_, state, NULL);
    uint64_t id = rankd_daemon_id(client);
    test_example(&example);
    assert_int_equal(rankd_submit(client, &example.request, &tag, &error), RANKD_OK);
    assert_int_equal(rankd_reconnect(client, &error), RANKD_OK);
    assert_int_equal(rankd_daemon_id(client), id);
    assert_int_equal(rankd_wait(client, tag, SECONDS(20), &reply), RANKD_OK);
    assert_true(test_is_example(&reply));
    rankd_reply_clear(client, &reply);
    rankd_close(client);
}

static void a_token_is_sent_over_http(void **state)
{
    static const char *tokens[] = {"--tokens", NULL, NULL};
    char path[] = "/tmp/rankd-tokens-XXXXXX", *answer;
    struct test_daemon guarded;
    struct rankd_error error;
    const struct {
        const char *token;
        int status;
    } cases[] = {
        {"the-token-of-alice-0001", RANKD_OK}, {"another", RANKD_UNAUTHORIZED}, {NULL, RANKD_UNAUTHORIZED}};
    int fd = mkstemp(path);
    assert_true(fd >= 0 && dprintf(fd, "alice all %s\n", cases[0].token) > 0);
    (void)close(fd);
    tokens[1] = path;
    test_daemon_start(&guarded, tokens);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rankd_client *client = test_open(&guarded, state, &(struct rankd_options){.token = cases[i].token});
        assert_int_equal(rankd_call(client, "GET", "/v2/banks", NULL, 0, SECONDS(20), &answer, NULL, &error),
                         cases[i].status);
        assert_true((answer != NULL) == (cases[i].status == RANKD_OK));
        free(answer);
        rankd_close(client);
    }
    test_daemon_stop(&guarded);
    (void)unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_version_is_that_of_the_build),
        cmocka_unit_test(a_url_that_is_none_is_misuse_and_named),
        cmocka_unit_test(nobody_there_is_unreachable),
        over_both(defaults_are_those_of_the_header),
        over_both(options_and_url_are_copied_and_kept_to),
        cmocka_unit_test(a_path_may_be_written_as_a_url),
        over_ring(an_arena_beyond_the_daemons_bounds_is_overloaded),
        over_ring(an_arena_without_room_for_the_descriptors_is_no_memory),
        over_ring(a_socket_that_says_nothing_is_unreachable_in_time),
        over_ring(a_handshake_that_is_none_of_rankds_is_unreachable),
        over_ring(a_header_that_does_not_fit_its_segment_is_unreachable),
        over_ring(a_small_segment_has_no_room_for_many_entries),
        over_ring(signals_during_the_handshake_do_no_harm),
        over_http(a_port_that_says_nothing_is_unreachable_in_time),
        over_both(limits_without_end_are_fine),
        over_both(to_reconnect_where_a_connection_stands_does_nothing),
        over_http(a_token_is_sent_over_http),
    };
    return cmocka_run_group_tests_name("client_open", tests, start, stop);
}
