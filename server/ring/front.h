/* The ring transport: a Unix socket, a loop, shared segments. */
#ifndef RK_RING_FRONT_H
#define RK_RING_FRONT_H

#include "app.h"

/* A part of the daemon (app.h). Sets app->ring; with --socket=off that stays NULL and RANKD_OK is returned.
 * Needs app->workers. */
enum rankd_status rk_ring_start(struct rk_app *app, struct rk_err *err) __attribute__((warn_unused_result));

/* Takes no more requests, completes those that were taken, hangs up, removes the socket. NULL ring is fine.
 */
void rk_ring_stop(struct rk_app *app);

#endif
