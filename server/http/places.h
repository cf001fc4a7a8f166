/* Who keeps his place when connections are more than --connections allows. The longest idle one makes room
 * for the next. Where none is idle the next one gets a spare place, in which only health and metrics are
 * answered: an operator, or what restarts the daemon, must get through just then. Of those in spare places
 * the oldest makes room. */
#ifndef RK_HTTP_PLACES_H
#define RK_HTTP_PLACES_H

#include "http/connection.h"

/* More than libmicrohttpd accepts before it looks at what was hung up on. */
enum { RK_SPARE_PLACES = 16 };

/* A connection has come. The lock is held. */
void rk_places_enter(struct rk_conns *conns, struct rk_conn *conn);

/* True if only health and metrics are answered on it now. */
bool rk_places_is_spare(struct rk_conns *conns, struct rk_conn *conn);

/* Out of descriptors, libmicrohttpd accepts nobody before a connection ends: the longest idle ones do. The
 * lock is held. */
void rk_places_relieve(struct rk_conns *conns);

/* The daemon stops: requests of which only a part has come are answered 503 and hung up on. */
void rk_places_drain(struct rk_conns *conns);

#endif
