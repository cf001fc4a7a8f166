/* SPDX-License-Identifier: Apache-2.0 */
/* Accepts a client's connection, and dispatches its packets. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/uids.h"
#include "ring/ring_internal.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

static void received(struct rk_op *op, int result)
{
    struct rk_peer *peer = (struct rk_peer *)((char *)op - offsetof(struct rk_peer, receive));
    int state = atomic_load(&peer->state);
    if (result <= 0) {
        rk_peer_hang_up(peer, NULL);
        rk_peer_release(peer);
        return;
    }
    size_t bytes = (size_t)result;
    bool again = true;
    if (state == RK_PEER_GREETING)
        (void)rk_hello_answer(peer, bytes);
    else if (state == RK_PEER_OPEN && bytes > 1)
        again = rk_control_packet(peer, bytes);
    /* After the end of a peer, packets sent before are read and dropped, up to the end of file from
     * shutdown(). */
    if (again)
        rk_loop_receive(peer->front->loop, op);
}

/* The process that connected is gone, although a child may still have the socket. */
static void died(struct rk_op *op, int result)
{
    struct rk_peer *peer = (struct rk_peer *)((char *)op - offsetof(struct rk_peer, watch));
    if (result > 0)
        rk_peer_hang_up(peer, NULL);
    rk_peer_release(peer);
}

static int pidfd_of(int fd, pid_t pid)
{
    int pid_fd = -1;
    socklen_t size = sizeof pid_fd;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pid_fd, &size) == 0)
        return pid_fd;
    /* 0: the client is in a pid namespace that is not visible here. */
    return pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
}

static struct rk_peer *new_peer(struct rk_front *front, int fd, const struct ucred *who)
{
    struct rk_peer *peer = calloc(1, sizeof *peer);
    char *packet = malloc(RANKD_PACKET_MAX + 1);
    if (peer == NULL || packet == NULL) {
        free(peer);
        free(packet);
        return NULL;
    }
    peer->front = front;
    peer->packet = packet;
    peer->fd = fd;
    peer->uid = who->uid;
    peer->pid_fd = pidfd_of(fd, who->pid);
    peer->who.scopes = RK_SCOPE_ALL;
    peer->who.by_uid = true;
    (void)snprintf(peer->who.name, sizeof peer->who.name, "uid %u", (unsigned)who->uid);
    peer->hello_until_ns = rk_now_ns() + front->env->config->ring_hello_timeout * 1000000u;
    peer->receive = (struct rk_op){.fd = fd, .data = packet, .bytes = RANKD_PACKET_MAX + 1, .done = received};
    peer->watch = (struct rk_op){.fd = peer->pid_fd, .done = died};
    (void)pthread_mutex_init(&peer->completing, NULL);
    return peer;
}

static bool is_allowed(const struct rk_front *front, uid_t uid)
{
    return uid == front->own_uid || rk_uids_have(front->env->config->ring_allow_uid, uid);
}

/* Sends the reason and ends the connection. All packets must be read first: closing a socket with
 * unread packets discards the reason at the peer (ECONNRESET). */
static void refuse(int fd, const struct rk_err *err)
{
    char unread;
    (void)shutdown(fd, SHUT_RD);
    while (recv(fd, &unread, sizeof unread, MSG_DONTWAIT) > 0)
        continue;
    struct rankd_welcome welcome = {
        .kind = RANKD_PACKET_WELCOME, .status = (uint32_t)err->status, .version = RANKD_SHM_VERSION};
    memcpy(welcome.text, err->text, sizeof welcome.text);
    (void)send(fd, &welcome, sizeof welcome, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)close(fd);
}

void rk_peer_accept(struct rk_front *front, int fd)
{
    struct ucred who = {0};
    socklen_t size = sizeof who;
    struct rk_err err = {0};
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0 || !is_allowed(front, who.uid)) {
        rk_fail(&err, RANKD_FORBIDDEN, "uid %u may not use the ring; --ring-allow-uid names those that may",
                (unsigned)who.uid);
        refuse(fd, &err);
        return;
    }
    if (rk_quota_connect(front->quota, who.uid, &err) != RANKD_OK) {
        refuse(fd, &err);
        return;
    }
    struct rk_peer *peer = new_peer(front, fd, &who);
    if (peer == NULL) {
        rk_quota_disconnect(front->quota, who.uid);
        rk_fail(&err, RANKD_OVERLOADED, "rankd is out of memory");
        refuse(fd, &err);
        return;
    }
    (void)atomic_fetch_add(&front->living, 1);
    peer->next = front->peers;
    if (peer->next != NULL)
        peer->next->previous = peer;
    front->peers = peer;
    rk_peer_hold(peer);
    rk_loop_receive(front->loop, &peer->receive);
    if (peer->pid_fd >= 0) {
        rk_peer_hold(peer);
        rk_loop_poll(front->loop, &peer->watch);
    }
}
