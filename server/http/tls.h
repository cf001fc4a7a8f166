/* The certificate and key for TLS. */
#ifndef RK_HTTP_TLS_H
#define RK_HTTP_TLS_H

#include "config.h"

/* Reads --tls-cert and --tls-key whole. On success both are the caller's, to be freed with rk_tls_free(). */
enum rankd_status rk_tls_read(const struct rk_config *config, char **cert, char **key, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Clears and frees; NULL is fine. */
void rk_tls_free(char *pem);

#endif
