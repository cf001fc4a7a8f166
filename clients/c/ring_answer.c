/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of the answer to a control request, as they arrive on the ring's socket. */
#include <stdlib.h>
#include <string.h>

#include "request.h"
#include "ring_internal.h"

/* Of an answer: as over HTTP. */
static const uint64_t MOST_BYTES = UINT64_C(256) << 20;

/* Room for `bytes` bytes of the answer, with a NUL behind them: counted as received, not as
 * announced. */
static bool make_room(struct rankd_ring *ring, uint64_t bytes)
{
    if (ring->answer.body != NULL && bytes < ring->answer.room)
        return true;
    uint64_t room = 2 * bytes > ring->answer.bytes ? ring->answer.bytes : 2 * bytes;
    char *grown = room < MOST_BYTES ? realloc(ring->answer.body, room + 1) : NULL;
    if (grown == NULL)
        return false;
    ring->answer.body = grown;
    ring->answer.room = room + 1;
    return true;
}

/* Whether the page is the next one of the answer, and valid. */
static bool follows(const struct rankd_ring *ring, const struct rankd_control *head, size_t page)
{
    bool first = ring->answer.body == NULL;
    return head->offset == ring->answer.got && head->offset <= head->total_bytes &&
           page <= head->total_bytes - head->offset && (page != 0 || head->total_bytes == 0) &&
           (first || head->total_bytes == ring->answer.bytes) && head->http_status != RANKD_OK &&
           (head->http_status == 200 || rankd_is_status((long)head->http_status));
}

void rankd_ring_answer(struct rankd_ring *ring, const char *packet, size_t bytes)
{
    struct rankd_control head;
    if (bytes < sizeof head)
        return;
    memcpy(&head, packet, sizeof head);
    size_t page = bytes - sizeof head;
    if (head.kind != RANKD_PACKET_ANSWER || head.tag != ring->answer.tag)
        return;
    ring->answer.owed = false;
    (void)pthread_cond_broadcast(&ring->changed);
    if (ring->answer.state != RANKD_ANSWER_AWAITED)
        return;
    if (!follows(ring, &head, page)) {
        ring->answer.state = RANKD_ANSWER_WRONG;
        return;
    }
    ring->answer.bytes = head.total_bytes;
    bool room = make_room(ring, head.offset + page);
    ring->answer.state = room ? RANKD_ANSWER_THERE : RANKD_ANSWER_TOO_LARGE;
    if (ring->answer.state != RANKD_ANSWER_THERE)
        return;
    memcpy(ring->answer.body + head.offset, packet + sizeof head, page);
    ring->answer.got += page;
    ring->answer.http_status = (int)head.http_status;
}

void rankd_ring_call_over(struct rankd_ring *ring)
{
    ring->answer.owed = false;
    if (ring->answer.state != RANKD_ANSWER_UNWANTED)
        ring->answer.state = RANKD_ANSWER_LOST;
}
