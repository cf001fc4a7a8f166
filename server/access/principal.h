/* SPDX-License-Identifier: Apache-2.0 */
/* The sender of a request, and its scopes. */
#ifndef RK_PRINCIPAL_H
#define RK_PRINCIPAL_H

#include <stdbool.h>

/* The sender. Scopes are granted by the transport (token, or the socket's uid). */
enum {
    RK_SCOPE_NONE = 0, /* open to everybody */
    RK_SCOPE_INFER = 1u << 0,
    RK_SCOPE_BANKS = 1u << 1,
    RK_SCOPE_METRICS = 1u << 2,
    RK_SCOPE_ALL = 7u
};
struct rk_principal {
    unsigned scopes;
    char name[64]; /* of the token, or "uid 1000": for logs; owner of the regions that it registers */
    bool by_uid;   /* a ring client: it sends no token */
};

#endif
