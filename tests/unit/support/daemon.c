/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/support/daemon.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { FLAGS = 16, LOG = 1 << 16 };

/* build/unit/test_x and build/rankd. */
static void path_of_rankd(char *path, size_t size)
{
    ssize_t length = readlink("/proc/self/exe", path, size - 1);
    assert_true(length > 0);
    path[length] = '\0';
    for (int i = 0; i < 2; i++)
        *strrchr(path, '/') = '\0';
    assert_true(strlen(path) + sizeof "/rankd" <= size);
    strcat(path, "/rankd");
}

static void run(const struct test_daemon *daemon, int out)
{
    char path[512], socket[128], log[96];
    const char *arguments[FLAGS] = {path, "--workers=1", "--log-level=warn", "--http", "", socket};
    size_t count = 6;
    path_of_rankd(path, sizeof path);
    (void)snprintf(socket, sizeof socket, "--socket=%s", daemon->socket);
    (void)snprintf(log, sizeof log, "%s/log", daemon->folder);
    arguments[4] = daemon->http[0] != '\0' ? daemon->http + strlen("http://") : "127.0.0.1:0";
    for (const char *const *flag = daemon->flags; *flag != NULL && count < FLAGS - 1; flag++)
        arguments[count++] = *flag;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that crashes leaves no daemon behind */
    (void)setenv("ASAN_OPTIONS", "use_sigaltstack=0", 0);
    (void)dup2(out, STDOUT_FILENO);
    (void)dup2(open(log, O_WRONLY | O_CREAT | O_APPEND, 0600), STDERR_FILENO);
    (void)execv(path, (char *const *)arguments);
    _exit(127);
}

void test_daemon_again(struct test_daemon *daemon)
{
    int out[2];
    char line[128] = "";
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    daemon->pid = fork();
    if (daemon->pid == 0)
        run(daemon, out[1]);
    assert_true(daemon->pid > 0);
    (void)close(out[1]);
    FILE *file = fdopen(out[0], "r");
    bool told = fgets(line, sizeof line, file) != NULL;
    (void)fclose(file);
    if (!told || sscanf(line, "listening on %63s", daemon->http) != 1)
        fail_msg("rankd said '%s'", line);
}

void test_daemon_start(struct test_daemon *daemon, const char *const *flags)
{
    memset(daemon, 0, sizeof *daemon);
    daemon->flags = flags;
    (void)snprintf(daemon->folder, sizeof daemon->folder, "/tmp/rankd-client-XXXXXX");
    assert_non_null(mkdtemp(daemon->folder));
    (void)snprintf(daemon->socket, sizeof daemon->socket, "%s/ring", daemon->folder);
    (void)snprintf(daemon->ring, sizeof daemon->ring, "unix:%s", daemon->socket);
    test_daemon_again(daemon);
}

void test_daemon_kill(struct test_daemon *daemon)
{
    assert_int_equal(kill(daemon->pid, SIGKILL), 0);
    assert_int_equal(waitpid(daemon->pid, NULL, 0), daemon->pid);
    daemon->pid = 0;
}

void test_daemon_hold(struct test_daemon *daemon)
{
    int status;
    assert_int_equal(kill(daemon->pid, SIGSTOP), 0);
    assert_int_equal(waitpid(daemon->pid, &status, WUNTRACED), daemon->pid);
    assert_true(WIFSTOPPED(status));
}

void test_daemon_go(struct test_daemon *daemon)
{
    assert_int_equal(kill(daemon->pid, SIGCONT), 0);
}

static void clean(const struct test_daemon *daemon, char *log, size_t size)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/log", daemon->folder);
    FILE *file = fopen(path, "r");
    size_t length = file != NULL ? fread(log, 1, size - 1, file) : 0;
    log[length] = '\0';
    if (file != NULL)
        (void)fclose(file);
    (void)unlink(path);
    (void)unlink(daemon->socket);
    (void)rmdir(daemon->folder);
}

void test_daemon_stop(struct test_daemon *daemon)
{
    if (daemon->pid != 0) {
        (void)kill(daemon->pid, SIGCONT);
        (void)kill(daemon->pid, SIGTERM);
    }
    test_daemon_ended(daemon);
}

void test_daemon_ended(struct test_daemon *daemon)
{
    static char log[LOG];
    int status = 0;
    if (daemon->pid != 0)
        assert_int_equal(waitpid(daemon->pid, &status, 0), daemon->pid);
    daemon->pid = 0;
    clean(daemon, log, sizeof log);
    if (status != 0 || strstr(log, "Sanitizer") != NULL || strstr(log, "runtime error") != NULL)
        fail_msg("rankd ended with status %d: %s", status, log);
}

struct test_daemon test_shared;

int test_shared_start(void **state)
{
    static const char *const flags[] = {NULL};
    (void)state;
    test_daemon_start(&test_shared, flags);
    return 0;
}

int test_shared_stop(void **state)
{
    (void)state;
    test_daemon_stop(&test_shared);
    return 0;
}
