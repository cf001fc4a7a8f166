/* SPDX-License-Identifier: Apache-2.0 */
#include "http/tls.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "config/file_read.h"

enum { PEM_MAX = 1 << 20, CHAIN_MAX = 16 };

struct rk_tls {
    char cert_path[RK_CONFIG_TEXT], key_path[RK_CONFIG_TEXT];
    pthread_mutex_t lock;
    gnutls_datum_t cert, key; /* PEM */
};

static struct rk_tls *serving;

static void clear(gnutls_datum_t *pem)
{
    rk_file_forget((char *)pem->data, pem->size);
    *pem = (gnutls_datum_t){0};
}

static enum rankd_status read_pem(const char *option, const char *path, gnutls_datum_t *pem,
                                  struct rk_err *err)
{
    size_t bytes = 0;
    char *text = rk_file_read_new(option, path, PEM_MAX, &bytes, err);
    if (!text)
        return err->status;
    *pem = (gnutls_datum_t){(unsigned char *)text, (unsigned)bytes};
    return bytes > 0 ? RANKD_OK
                     : rk_fail(err, RANKD_INVALID, "%s is '%s', which is empty; it must hold PEM text",
                               option, path);
}

/* GnuTLS compares the two as it takes them. */
static enum rankd_status check_pair(const struct rk_tls *tls, const gnutls_datum_t *cert,
                                    const gnutls_datum_t *key, struct rk_err *err)
{
    gnutls_certificate_credentials_t credentials;
    if (gnutls_certificate_allocate_credentials(&credentials) != 0)
        return rk_fail(err, RANKD_INTERNAL, "no memory");
    const int code = gnutls_certificate_set_x509_key_mem(credentials, cert, key, GNUTLS_X509_FMT_PEM);
    gnutls_certificate_free_credentials(credentials);
    return code >= 0
               ? RANKD_OK
               : rk_fail(err, RANKD_INVALID,
                         "tls-cert was \"%s\" and tls-key \"%s\"; they must be a certificate and its key "
                         "in PEM: %s",
                         tls->cert_path, tls->key_path, gnutls_strerror(code));
}

enum rankd_status rk_tls_reload(struct rk_tls *tls, struct rk_err *err)
{
    gnutls_datum_t cert = {0}, key = {0};
    if (read_pem("tls-cert", tls->cert_path, &cert, err) == RANKD_OK &&
        read_pem("tls-key", tls->key_path, &key, err) == RANKD_OK &&
        check_pair(tls, &cert, &key, err) == RANKD_OK) {
        pthread_mutex_lock(&tls->lock);
        const gnutls_datum_t old_cert = tls->cert, old_key = tls->key;
        tls->cert = cert;
        tls->key = key;
        pthread_mutex_unlock(&tls->lock);
        cert = old_cert;
        key = old_key;
    }
    clear(&cert);
    clear(&key);
    return err->status;
}

struct rk_tls *rk_tls_new(const struct rk_config *config, struct rk_err *err)
{
    struct rk_tls *tls = calloc(1, sizeof *tls);
    if (!tls || pthread_mutex_init(&tls->lock, NULL) != 0) {
        free(tls);
        (void)rk_fail(err, RANKD_INTERNAL, "no memory");
        return NULL;
    }
    memcpy(tls->cert_path, config->tls_cert, sizeof tls->cert_path);
    memcpy(tls->key_path, config->tls_key, sizeof tls->key_path);
    if (rk_tls_reload(tls, err) != RANKD_OK) {
        rk_tls_free(tls);
        return NULL;
    }
    serving = tls;
    return tls;
}

void rk_tls_free(struct rk_tls *tls)
{
    if (!tls)
        return;
    if (serving == tls)
        serving = NULL;
    clear(&tls->cert);
    clear(&tls->key);
    pthread_mutex_destroy(&tls->lock);
    free(tls);
}

/* Copies of the pair, so that a handshake under way keeps what it began with. */
static int copy_pair(const struct rk_tls *tls, gnutls_pcert_st *certs, unsigned *count, gnutls_privkey_t *key)
{
    *count = CHAIN_MAX;
    int code = gnutls_pcert_list_import_x509_raw(certs, count, &tls->cert, GNUTLS_X509_FMT_PEM, 0);
    if (code < 0)
        return code;
    code = gnutls_privkey_init(key);
    if (code == 0)
        code = gnutls_privkey_import_x509_raw(*key, &tls->key, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (code == 0)
        return 0;
    for (unsigned i = 0; i < *count; i++)
        gnutls_pcert_deinit(&certs[i]);
    gnutls_privkey_deinit(*key);
    *key = NULL;
    return code;
}

int rk_tls_retrieve(gnutls_session_t session, const struct gnutls_cert_retr_st *info, gnutls_pcert_st **certs,
                    unsigned *cert_count, gnutls_ocsp_data_st **ocsp, unsigned *ocsp_count,
                    gnutls_privkey_t *key, unsigned *flags)
{
    (void)session, (void)info;
    *ocsp = NULL;
    *ocsp_count = 0;
    *flags = GNUTLS_CERT_RETR_DEINIT_ALL;
    *certs = gnutls_calloc(CHAIN_MAX, sizeof **certs);
    if (!*certs)
        return -1;
    pthread_mutex_lock(&serving->lock);
    const int code = copy_pair(serving, *certs, cert_count, key);
    pthread_mutex_unlock(&serving->lock);
    if (code == 0)
        return 0;
    gnutls_free(*certs);
    *certs = NULL;
    *cert_count = 0;
    return -1;
}
