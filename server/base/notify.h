/* SPDX-License-Identifier: Apache-2.0 */
/* Tells the service manager the state of the daemon: systemd's notification protocol, sd_notify(3),
 * without its library. */
#ifndef RK_BASE_NOTIFY_H
#define RK_BASE_NOTIFY_H

#include <stdbool.h>

/* Sends `state` ("READY=1", "STOPPING=1", "RELOADING=1\n…") to the socket that NOTIFY_SOCKET names.
 * True if it was sent. False without a service manager, which is no error. */
bool rk_notify(const char *state);

#endif
