/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of user ids in the configuration: "1000,1001". */
#ifndef RK_BASE_UIDS_H
#define RK_BASE_UIDS_H

#include <stdbool.h>
#include <sys/types.h>

/* True if `uid` is one of `list`; entries that are not numbers match nobody. */
bool rk_uids_have(const char *list, uid_t uid);

#endif
