/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of user ids in the configuration: "1000,1001". Blanks may stand around an id. */
#ifndef RK_BASE_UIDS_H
#define RK_BASE_UIDS_H

#include <stdbool.h>
#include <sys/types.h>

/* True if `list` is empty, or numbers of users alone. */
bool rk_uids_are(const char *list);

/* True if `uid` is one of `list`, which was checked. */
bool rk_uids_have(const char *list, uid_t uid);

#endif
