/* The ring transport: a Unix socket, a loop, shared segments. */
#ifndef RK_RING_FRONT_H
#define RK_RING_FRONT_H

#include "app.h"

/* A part of the daemon (app.h). Sets app->ring; with --socket=off that stays NULL and RANKD_OK is returned.
 * Needs app->workers. */
enum rankd_status rk_ring_start(struct rk_app *app, struct rk_err *err) __attribute__((warn_unused_result));

/* Takes no more requests, completes the taken ones, closes the connections, removes the socket. Does nothing
 * if app->ring is NULL.
 */
void rk_ring_stop(struct rk_app *app);

#endif
