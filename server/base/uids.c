/* SPDX-License-Identifier: Apache-2.0 */
#include "base/uids.h"

#include <stdlib.h>
#include <string.h>

bool rk_uids_have(const char *list, uid_t uid)
{
    while (*list != '\0') {
        char *end;
        unsigned long listed = strtoul(list, &end, 10);
        if (end != list && listed == uid)
            return true;
        list = strchr(end, ',');
        if (list == NULL)
            return false;
        list++;
    }
    return false;
}
