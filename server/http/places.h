/* SPDX-License-Identifier: Apache-2.0 */
/* Connections beyond the limit --connections. The connection that is idle longest is closed for a
 * new one. If none is idle, the new one gets a spare place, in which only health and metrics are
 * answered: operators and supervisors must get through at such times. If the spare places are full,
 * the oldest of them is closed. */
#ifndef RK_HTTP_PLACES_H
#define RK_HTTP_PLACES_H

#include "http/connection.h"

/* More than libmicrohttpd accepts before it handles closed connections. */
enum { RK_SPARE_PLACES = 16 };

/* Gives a new connection its place. The lock is held. */
void rk_places_enter(struct rk_conns *conns, struct rk_conn *conn);

/* True if the connection may only ask for health and metrics now. */
bool rk_places_is_spare(struct rk_conns *conns, struct rk_conn *conn);

/* Without free descriptors libmicrohttpd accepts no connection until one ends: closes those that
 * are idle longest. The lock is held. */
void rk_places_relieve(struct rk_conns *conns);

/* The daemon stops: incomplete requests are answered 503 and their connections closed. */
void rk_places_drain(struct rk_conns *conns);

#endif
