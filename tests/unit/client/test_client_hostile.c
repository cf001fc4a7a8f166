/* SPDX-License-Identifier: Apache-2.0 */
/* librankd: a daemon that writes invalid data into shared memory. The daemon is part of the
 * test. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "rankd_shm.h"
#include "unit/support/client.h"

enum { ENTRIES = 4, SEGMENT = 1 << 20, SUBMISSIONS = 4096, COMPLETIONS = 8192, ARENA = 12288 };

/* The daemon's thread answers calls with packets of the test. */
struct hostile {
    int listener, connection, segment;
    struct rankd_shm_segment *shared;
    pthread_t thread;
    void (*answer)(struct hostile *hostile, const struct rankd_control *call);
    int wrong; /* which of the answers */
    rankd_client *client;
};

static void *serve(void *arg)
{
    struct hostile *hostile = arg;
    struct rankd_welcome welcome = {.kind = RANKD_PACKET_WELCOME, .segment_bytes = SEGMENT};
    struct iovec part = {&welcome, sizeof welcome};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.head = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    char packet[RANKD_PACKET_MAX];
    memcpy(CMSG_DATA(&control.head), &hostile->segment, sizeof hostile->segment);
    hostile->connection = accept(hostile->listener, NULL, NULL);
    if (recv(hostile->connection, packet, sizeof packet, 0) > 0)
        (void)sendmsg(hostile->connection, &message, MSG_NOSIGNAL);
    while (recv(hostile->connection, packet, sizeof packet, 0) > 0) {
        struct rankd_control call;
        memcpy(&call, packet, sizeof call);
        if ((call.kind == RANKD_PACKET_CALL || call.kind == RANKD_PACKET_PAGE) && hostile->answer != NULL)
            hostile->answer(hostile, &call);
    }
    return NULL;
}

static void begin(struct hostile *hostile)
{
    struct rankd_shm_segment header = {.magic = RANKD_SHM_MAGIC,
                                       .version = RANKD_SHM_VERSION,
                                       .header_bytes = RANKD_SHM_HEADER_BYTES,
                                       .segment_bytes = SEGMENT,
                                       .entries = ENTRIES,
                                       .entry_bytes = RANKD_SHM_ENTRY_BYTES,
                                       .submissions_offset = SUBMISSIONS,
                                       .completions_offset = COMPLETIONS,
                                       .arena_offset = ARENA,
                                       .arena_bytes = SEGMENT - ARENA};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char url[sizeof address.sun_path + 8];
    struct rankd_error error;
    hostile->segment = memfd_create("rankd-hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(hostile->segment, SEGMENT), 0);
    assert_int_equal(fcntl(hostile->segment, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    hostile->shared = mmap(NULL, SEGMENT, PROT_READ | PROT_WRITE, MAP_SHARED, hostile->segment, 0);
    assert_true(hostile->shared != MAP_FAILED);
    memcpy(hostile->shared, &header, sizeof header);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "/tmp/rankd-hostile-%d", (int)getpid());
    (void)unlink(address.sun_path);
    hostile->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(hostile->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(hostile->listener, 1), 0);
    assert_int_equal(pthread_create(&hostile->thread, NULL, serve, hostile), 0);
    (void)snprintf(url, sizeof url, "unix:%s", address.sun_path);
    if (rankd_open(url, NULL, &hostile->client, &error) != RANKD_OK)
        fail_msg("%s", error.text);
    (void)unlink(address.sun_path);
}

static void end(struct hostile *hostile)
{
    rankd_close(hostile->client);
    assert_int_equal(pthread_join(hostile->thread, NULL), 0);
    (void)close(hostile->connection);
    (void)close(hostile->listener);
    (void)close(hostile->segment);
    (void)munmap(hostile->shared, SEGMENT);
}

/* ---- Indices ---- */

static uint64_t submitted(struct hostile *hostile)
{
    struct test_request example;
    test_example(&example);
    return test_submitted(hostile->client, &example);
}

/* Reported as the end of the connection, at once, to every wait. A client that followed the index
 * would not return before the limit. */
static void an_index_that_cannot_be_ends_the_connection(void **state)
{
    (void)state;
    static const uint32_t jumps[] = {1u << 31, ENTRIES + 1, UINT32_MAX - ENTRIES, (1u << 31) + 1, 1u << 30};
    for (size_t i = 0; i < 2 * sizeof jumps / sizeof *jumps; i++) {
        struct hostile hostile = {0};
        struct rankd_reply reply;
        struct rankd_error error;
        struct test_request example;
        char *answer;
        uint64_t other = 0;
        begin(&hostile);
        uint64_t tag = submitted(&hostile);
        bool completions = i % 2 == 0;
        atomic_fetch_add(completions ? &hostile.shared->complete_tail : &hostile.shared->submit_head,
                         jumps[i / 2] + (completions ? 0 : 1)); /* beyond what was submitted */
        test_example(&example);
        if (!completions)
            assert_int_equal(rankd_submit(hostile.client, &example.request, &other, &error), RANKD_LOST);
        assert_int_equal(rankd_wait(hostile.client, tag, SECONDS(20), &reply), RANKD_LOST);
        assert_int_equal(rankd_submit(hostile.client, &example.request, &other, &error), RANKD_LOST);
        assert_int_equal(
            rankd_call(hostile.client, "GET", "/v2", NULL, 0, SECONDS(20), &answer, NULL, &error),
            RANKD_LOST);
        end(&hostile);
    }
}

/* ---- Replies ---- */

/* The reply to the one entry that was submitted, as a daemon would write it, and its completion. */
static void complete(struct hostile *hostile, int wrong)
{
    char *base = (char *)hostile->shared;
    struct rankd_shm_submission entry;
    struct rankd_shm_completion completion = {0};
    struct rankd_shm_reply block = {.outputs = 1u << RANKD_OUT_LOSS | 1u << RANKD_OUT_GRADIENT, .lists = 1};
    struct rankd_shm_result *gradient = &block.results[RANKD_OUT_GRADIENT];
    memcpy(&entry, base + SUBMISSIONS, sizeof entry);
    block.results[RANKD_OUT_LOSS] = (struct rankd_shm_result){RANKD_FP32, 1, {1, 0}, 4};
    *gradient = (struct rankd_shm_result){RANKD_FP32, 2, {1, 4}, 16};
    completion.tag = entry.tag;
    completion.status = wrong == 1 ? RANKD_PENDING : wrong == 2 ? 200 : wrong == 3 ? UINT32_MAX : RANKD_OK;
    block.outputs &= wrong == 4 ? 1u << RANKD_OUT_LOSS : wrong == 5 ? 0 : UINT32_MAX;
    gradient->dtype = wrong == 6 ? 99 : wrong == 7 ? RANKD_INT32 : wrong == 8 ? UINT32_MAX : RANKD_FP32;
    gradient->rank = wrong == 9 ? 0 : wrong == 10 ? 3 : wrong == 11 ? UINT32_MAX : 2;
    gradient->shape[1] = wrong == 12 ? 5 : wrong == 13 ? UINT64_C(1) << 62 : 4;
    gradient->bytes = wrong == 14 ? 0 : wrong == 15 ? 12 : 16;
    if (wrong == 16) { /* larger than its room, but otherwise valid */
        gradient->shape[1] = UINT64_C(1) << 40;
        gradient->bytes = UINT64_C(4) << 40;
    }
    block.results[RANKD_OUT_LOSS].bytes = wrong == 17 ? 8 : 4;
    block.results[RANKD_OUT_LOSS].shape[0] = wrong == 17 ? 2 : 1;
    memcpy(base + entry.reply_offset, &block, sizeof block);
    memcpy(base + COMPLETIONS, &completion, sizeof completion);
    atomic_store(&hostile->shared->complete_tail, 1);
}

static void a_reply_that_is_none_is_called_that(void **state)
{
    (void)state;
    for (int wrong = 0; wrong <= 17; wrong++) {
        struct hostile hostile = {0};
        struct rankd_reply reply;
        uint64_t bytes, largest, left;
        begin(&hostile);
        rankd_arena(hostile.client, &bytes, &largest);
        uint64_t tag = submitted(&hostile);
        complete(&hostile, wrong);
        int status = rankd_wait(hostile.client, tag, SECONDS(20), &reply);
        if (status != (wrong == 0 ? RANKD_OK : RANKD_PROTOCOL))
            fail_msg("%d: %d %s", wrong, status, reply.error);
        for (int port = 0; port < RANKD_OUT_COUNT && wrong != 0; port++)
            assert_null(reply.outputs[port].data);
        rankd_reply_clear(hostile.client, &reply);
        rankd_arena(hostile.client, &bytes, &left);
        assert_int_equal(left, largest); /* nothing of the request is left in the arena */
        end(&hostile);
    }
}

/* ---- The control channel ---- */

static void page(struct hostile *hostile, struct rankd_control head, size_t bytes)
{
    char packet[sizeof head + 64] = {0};
    memcpy(packet, &head, sizeof head);
    memset(packet + sizeof head, '.', bytes);
    (void)send(hostile->connection, packet, sizeof head + bytes, MSG_NOSIGNAL);
}

static void answer_wrongly(struct hostile *hostile, const struct rankd_control *call)
{
    struct rankd_control head = {.kind = RANKD_PACKET_ANSWER,
                                 .tag = call->tag,
                                 .http_status = 200,
                                 .total_bytes = 20,
                                 .offset = call->offset};
    bool more = call->kind == RANKD_PACKET_PAGE;
    switch (hostile->wrong) {
    case 1:
        head.http_status = RANKD_PENDING;
        break;
    case 2:
        head.http_status = RANKD_OK;
        break;
    case 3:
        head.offset++;
        break;
    case 4:
        head.total_bytes = 9; /* less than the page has */
        break;
    case 5:
        head.total_bytes += more; /* another size than before */
        break;
    case 6:
        page(hostile, head, more ? 0 : 10); /* and no further */
        return;
    case 7:
        head.total_bytes = UINT64_C(1)
                           << 60; /* more than can be allocated; the next page belongs to another answer */
        head.offset = more ? 0 : call->offset;
        break;
    default:
        break;
    }
    page(hostile, head, 10);
}

static void a_page_that_is_none_is_called_that(void **state)
{
    (void)state;
    for (int wrong = 0; wrong <= 7; wrong++) {
        struct hostile hostile = {.answer = answer_wrongly, .wrong = wrong};
        struct rankd_error error = {0};
        char *answer;
        begin(&hostile);
        int status = rankd_call(hostile.client, "GET", "/v2", NULL, 0, SECONDS(20), &answer, NULL, &error);
        if (status != (wrong == 0 ? RANKD_OK : RANKD_PROTOCOL))
            fail_msg("%d: %d %s", wrong, status, error.text);
        if (wrong == 0)
            assert_string_equal(answer, "....................");
        free(answer);
        end(&hostile);
    }
}

/* Packets that answer nothing, without end. */
static void flood(struct hostile *hostile, const struct rankd_control *call)
{
    struct rankd_control head = {.kind = RANKD_PACKET_ANSWER, .tag = call->tag + 1000};
    while (send(hostile->connection, &head, sizeof head, MSG_NOSIGNAL) > 0)
        continue;
}

static void packets_without_end_do_not_keep_a_call_beyond_its_limit(void **state)
{
    (void)state;
    struct hostile hostile = {.answer = flood};
    struct rankd_error error = {0};
    char *answer;
    begin(&hostile);
    assert_int_equal(rankd_call(hostile.client, "GET", "/v2", NULL, 0, SECONDS(1) / 4, &answer, NULL, &error),
                     RANKD_TIMEOUT);
    end(&hostile);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index_that_cannot_be_ends_the_connection),
        cmocka_unit_test(a_reply_that_is_none_is_called_that),
        cmocka_unit_test(a_page_that_is_none_is_called_that),
        cmocka_unit_test(packets_without_end_do_not_keep_a_call_beyond_its_limit),
    };
    return cmocka_run_group_tests_name("client_hostile", tests, NULL, NULL);
}
