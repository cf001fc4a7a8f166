/* SPDX-License-Identifier: Apache-2.0 */
#include "bank_store/scripts.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <stdio.h>

/* The assembler includes the files unchanged; paths are relative to the folder in which make
 * runs. */
#define SCRIPT(name)                                                                                         \
    extern const char rk_lua_##name[], rk_lua_##name##_end[];                                                \
    __asm__(".section .rodata\n.global rk_lua_" #name "\n.hidden rk_lua_" #name "\nrk_lua_" #name ":\n"      \
            ".incbin \"server/bank_store/lua/" #name ".lua\"\n.global rk_lua_" #name "_end\n"                \
            ".hidden rk_lua_" #name "_end\nrk_lua_" #name "_end:\n.byte 0\n.text\n")
SCRIPT(append);
SCRIPT(create);
SCRIPT(clear);
SCRIPT(checkpoint);
SCRIPT(restore);
SCRIPT(forget);
SCRIPT(remove);

static const struct {
    const char *from, *to;
} files[RK_SCRIPTS] = {
#define FILE_OF(name)                                                                                        \
    {                                                                                                        \
        rk_lua_##name, rk_lua_##name##_end                                                                   \
    }
    [RK_SCRIPT_APPEND] = FILE_OF(append),   [RK_SCRIPT_CREATE] = FILE_OF(create),
    [RK_SCRIPT_CLEAR] = FILE_OF(clear),     [RK_SCRIPT_CHECKPOINT] = FILE_OF(checkpoint),
    [RK_SCRIPT_RESTORE] = FILE_OF(restore), [RK_SCRIPT_FORGET] = FILE_OF(forget),
    [RK_SCRIPT_REMOVE] = FILE_OF(remove),
};

static struct rk_script_text texts[RK_SCRIPTS];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void name_all(void)
{
    for (size_t i = 0; i < RK_SCRIPTS; i++) {
        unsigned char digest[20] = {0};
        texts[i].text = files[i].from;
        texts[i].bytes = (size_t)(files[i].to - files[i].from);
        (void)gnutls_hash_fast(GNUTLS_DIG_SHA1, texts[i].text, texts[i].bytes, digest);
        for (size_t b = 0; b < sizeof digest; b++)
            (void)snprintf(texts[i].sha1 + 2 * b, 3, "%02x", digest[b]);
    }
}

const struct rk_script_text *rk_script_text(enum rk_script script)
{
    pthread_once(&once, name_all);
    return &texts[script];
}
