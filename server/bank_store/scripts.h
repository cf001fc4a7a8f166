/* SPDX-License-Identifier: Apache-2.0 */
/* The scripts that run inside Redis (lua/). Each is one step: it happens completely or not at
 * all. */
#ifndef RK_BANK_STORE_SCRIPTS_H
#define RK_BANK_STORE_SCRIPTS_H

#include <stddef.h>

enum rk_script {
    RK_SCRIPT_APPEND,
    RK_SCRIPT_CREATE,
    RK_SCRIPT_CLEAR,
    RK_SCRIPT_CHECKPOINT,
    RK_SCRIPT_RESTORE,
    RK_SCRIPT_FORGET,
    RK_SCRIPT_REMOVE,
    RK_SCRIPTS
};

struct rk_script_text {
    const char *text;
    size_t bytes;
    char sha1[41]; /* its name in EVALSHA */
};

/* Never NULL. Any thread. */
const struct rk_script_text *rk_script_text(enum rk_script script);

#endif
