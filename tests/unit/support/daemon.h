/* SPDX-License-Identifier: Apache-2.0 */
/* A real daemon for tests: the rankd that was built beside the test program, on a socket and a port
 * of its own. */
#ifndef RK_TEST_DAEMON_H
#define RK_TEST_DAEMON_H

#include <stdbool.h>
#include <sys/types.h>

struct test_daemon {
    pid_t pid; /* 0: there is none */
    char folder[64];
    char socket[96], ring[104], http[64]; /* path of the socket; URLs of the two transports */
    const char *const *flags;
};

/* Starts one that answers on both transports; `flags` ends with NULL, and stays the caller's. */
void test_daemon_start(struct test_daemon *daemon, const char *const *flags);

/* Another one with the same URLs, after test_daemon_kill(). */
void test_daemon_again(struct test_daemon *daemon);

void test_daemon_kill(struct test_daemon *daemon); /* SIGKILL; waits for its end */

/* Stops it (SIGSTOP), and continues it. */
void test_daemon_hold(struct test_daemon *daemon);
void test_daemon_go(struct test_daemon *daemon);

/* Ends it normally; a report of a sanitizer or an exit status other than 0 ends the test. */
void test_daemon_stop(struct test_daemon *daemon);
void test_daemon_ended(struct test_daemon *daemon); /* waits for a daemon that is ending */

/* One daemon with the default flags for all tests of a program: functions for cmocka to call before
 * and after them. */
extern struct test_daemon test_shared;
int test_shared_start(void **state);
int test_shared_stop(void **state);

#endif
