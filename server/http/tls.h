/* SPDX-License-Identifier: Apache-2.0 */
/* Certificate and key for TLS. They can be read again while the daemon runs. */
#ifndef RK_HTTP_TLS_H
#define RK_HTTP_TLS_H

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>

#include "config/config.h"

/* TLS 1.2 and 1.3, for libmicrohttpd. */
#define RK_TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

struct rk_tls;

/* Reads --tls-cert and --tls-key and checks that they match. NULL with *err set: RANKD_INVALID
 * names the file. There is one at a time in a process (rk_tls_retrieve). */
struct rk_tls *rk_tls_new(const struct rk_config *config, struct rk_err *err);
void rk_tls_free(struct rk_tls *tls); /* NULL is fine */

/* Reads both files again, for new connections. On failure the old ones stay. Any thread. */
enum rankd_status rk_tls_reload(struct rk_tls *tls, struct rk_err *err) __attribute__((warn_unused_result));

/* A gnutls_certificate_retrieve_function3: GnuTLS calls it for the certificate and key of a
 * connection. It has no closure, so it uses the one rk_tls of the process. The returned objects
 * belong to GnuTLS. */
int rk_tls_retrieve(gnutls_session_t session, const struct gnutls_cert_retr_st *info, gnutls_pcert_st **certs,
                    unsigned *cert_count, gnutls_ocsp_data_st **ocsp, unsigned *ocsp_count,
                    gnutls_privkey_t *key, unsigned *flags);

#endif
