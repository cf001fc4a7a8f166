#include "tls.h"

#include <string.h>

#include "file_read.h"

enum { PEM_MAX = 1 << 20 };

static char *read_file_new(const char *option, const char *path, struct rk_err *err)
{
    size_t length = 0;
    char *text = rk_file_read_new(option, path, PEM_MAX, &length, err);
    if (!text || length)
        return text;
    rk_file_forget(text, length);
    (void)rk_fail(err, RANKD_INVALID, "%s is '%s', which is empty; it must hold PEM text", option, path);
    return NULL;
}

enum rankd_status rk_tls_read(const struct rk_config *config, char **cert, char **key, struct rk_err *err)
{
    *key = NULL;
    *cert = read_file_new("tls-cert", config->tls_cert, err);
    if (*cert)
        *key = read_file_new("tls-key", config->tls_key, err);
    if (*key)
        return RANKD_OK;
    rk_tls_free(*cert);
    *cert = NULL;
    return err->status;
}

void rk_tls_free(char *pem)
{
    rk_file_forget(pem, pem ? strlen(pem) : 0);
}
