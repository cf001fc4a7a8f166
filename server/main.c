/* SPDX-License-Identifier: Apache-2.0 */
/* rankd: reads its configuration, starts its components, waits for a signal, stops them. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "access/access.h"
#include "app.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/signals.h"
#include "detach.h"
#include "exec/tune.h"
#include "exec/tuning_file.h"
#include "health.h"
#include "http/front.h"
#include "rankd_streams.h"
#include "regions/regions.h"
#include "ring/linger.h"

extern char **environ;

static int complain(const struct rk_err *err)
{
    const int status = err->status == RANKD_INVALID ? 2 : 1;
    (void)fprintf(stderr, "rankd: %s\n", err->text);
    rk_detach_end((unsigned char)status);
    return status;
}

/* While the daemon drains: a second signal ends the waiting. */
static void *watch_for_hurry(void *argument)
{
    int number;
    while ((number = rk_signals_wait()) == SIGHUP)
        continue;
    if (number == 0)
        return NULL;
    rk_app_force_shutdown(argument);
    /* Running computations can't be interrupted; they get a moment to end. */
    (void)nanosleep(&(struct timespec){1, 0}, NULL);
    _exit(1);
}

static void read_tokens_again(struct rk_app *app)
{
    struct rk_err err = {0};
    if (rk_access_reload(app->access, &err) != RANKD_OK) {
        rk_log_say(app->log, RK_LOG_ERROR, "main", "SIGHUP: the tokens stay as they were: %s", err.text);
        return;
    }
    const size_t swept = rk_regions_sweep(app->regions);
    rk_log_say(app->log, RK_LOG_INFO, "main", "SIGHUP: tokens were read again; %zu regions went with theirs",
               swept);
}

static void read_certificate_again(struct rk_app *app)
{
    struct rk_err err = {0};
    if (!rk_http_has_tls(app->http))
        return;
    if (rk_http_reload(app->http, &err) != RANKD_OK)
        rk_log_say(app->log, RK_LOG_ERROR, "main", "SIGHUP: the certificate stays as it was: %s", err.text);
    else
        rk_log_say(app->log, RK_LOG_INFO, "main", "SIGHUP: the certificate was read again");
}

static void read_again(struct rk_app *app)
{
    read_tokens_again(app);
    read_certificate_again(app);
}

/* Until another signal than SIGHUP came: its number. */
static int wait_for_stop(struct rk_app *app)
{
    int number;
    while ((number = rk_signals_wait()) == SIGHUP)
        read_again(app);
    return number;
}

/* Requests are taken as before, so that none is lost that a load balancer sends before it notices
 * the stop.  */
static void wait_for_balancers(struct rk_app *app, int number)
{
    const uint64_t delay = app->config.shutdown_delay;
    const uint64_t until = rk_now_ns() + delay * 1000000u;
    if (delay == 0)
        return;
    rk_app_leave(app);
    rk_log_say(app->log, RK_LOG_INFO, "main",
               "%s: not ready any more; requests are taken for %.1f s, or until a second signal",
               strsignal(number), (double)delay / 1000);
    uint64_t now;
    while ((now = rk_now_ns()) < until) {
        if (rk_signals_wait_for((until - now) / 1000000u + 1) != SIGHUP)
            return;
        read_again(app);
    }
}

/* systemd, or a service manager like it. */
static void tell_manager(const struct rk_app *app, const char *state)
{
    if (getenv("NOTIFY_SOCKET") && !rk_notify(state))
        rk_log_say(app->log, RK_LOG_WARN, "main", "%s could not be sent to NOTIFY_SOCKET", state);
}

/* The manager's own limit on a stop does not know of the delay. */
static void tell_manager_stopping(const struct rk_app *app)
{
    char state[80];
    const unsigned long long limit = app->config.shutdown_delay + app->config.drain_timeout + 5000;
    (void)snprintf(state, sizeof state, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%llu", limit * 1000);
    tell_manager(app, app->config.shutdown_delay ? state : "STOPPING=1");
}

static int run(struct rk_app *app)
{
    struct rk_err err = {0};
    if (app->config.detach && rk_detach_begin(&err) != RANKD_OK)
        return complain(&err);
    if (!rk_signals_start())
        (void)rk_fail(&err, RANKD_INTERNAL, "signals could not be set up");
    if (err.status != RANKD_OK || rk_app_start(app, &err) != RANKD_OK)
        return complain(&err);
    rk_http_announce(app->http, STDOUT_FILENO);
    tell_manager(app, "READY=1");
    rk_detach_end(0);
    const int number = wait_for_stop(app);
    tell_manager_stopping(app);
    wait_for_balancers(app, number);
    rk_app_refuse(app); /* the reader of the next line may rely on it */
    rk_log_say(app->log, RK_LOG_INFO, "main", "%s: draining; a second signal does not wait",
               strsignal(number));

    pthread_t watcher;
    const bool watching = pthread_create(&watcher, NULL, watch_for_hurry, app) == 0;
    rk_app_stop(app);
    if (watching) {
        rk_signals_end();
        pthread_join(watcher, NULL);
    }
    return 0;
}

int main(int argc, char **argv)
{
    static struct rk_app app;
    struct rk_err err = {0};
    enum rk_config_action action;
    if (!rankd_streams_open())
        (void)rk_fail(&err, RANKD_INTERNAL,
                      "a standard stream is closed, and /dev/null can't be opened in its place");
    if (err.status != RANKD_OK)
        return complain(&err);
    if (rk_config_read(&app.config, argc, argv, environ, &action, &err) != RANKD_OK)
        return complain(&err);
    switch (action) {
    case RK_CONFIG_HELP:
        rk_config_help(stdout);
        return 0;
    case RK_CONFIG_VERSION:
        (void)puts("rankd " RK_VERSION);
        return 0;
    case RK_CONFIG_PRINT:
        rk_config_print(&app.config, stdout);
        return 0;
    case RK_CONFIG_MARKDOWN:
        rk_config_reference(stdout);
        return 0;
    case RK_CONFIG_CHECK:
        if (rk_http_check(&app.config, &err) != RANKD_OK || rk_linger_check(&app.config, &err) != RANKD_OK ||
            rk_tuning_check(app.config.tuning, &err) != RANKD_OK ||
            !(app.access = rk_access_new(&app.config, &err)))
            return complain(&err);
        rk_access_free(app.access);
        rk_config_print(&app.config, stdout);
        return 0;
    case RK_CONFIG_HEALTH:
        return rk_health(&app.config, &err) == RANKD_OK ? 0 : complain(&err);
    case RK_CONFIG_TUNE:
        return rk_tune(stdout, &err) == RANKD_OK ? 0 : complain(&err);
    case RK_CONFIG_RUN:
        break;
    }
    return run(&app);
}
