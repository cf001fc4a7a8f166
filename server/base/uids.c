/* SPDX-License-Identifier: Apache-2.0 */
#include "base/uids.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Reads an entry and the comma behind it. The rest of the list; NULL if this is no uid. (The
 * largest number stands for "none" in the kernel's calls.) */
static const char *take_uid(const char *list, uid_t *uid)
{
    uint64_t number = 0;
    list += strspn(list, " ");
    const size_t digits = strspn(list, "0123456789");
    for (size_t i = 0; i < digits && number < UINT32_MAX; i++)
        number = number * 10 + (uint64_t)(list[i] - '0');
    list += digits;
    list += strspn(list, " ");
    const bool more = *list == ',';
    if (digits == 0 || number >= UINT32_MAX || (*list && !more) || (more && !list[1]))
        return NULL;
    *uid = (uid_t)number;
    return list + more;
}

bool rk_uids_are(const char *list)
{
    uid_t uid;
    while (list && *list)
        list = take_uid(list, &uid);
    return list;
}

bool rk_uids_have(const char *list, uid_t uid)
{
    uid_t listed;
    while (list && *list) {
        list = take_uid(list, &listed);
        if (list && listed == uid)
            return true;
    }
    return false;
}
