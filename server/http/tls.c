#include "tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PEM_MAX = 1 << 20 };

static char *read_file_new(const char *option, const char *path, struct rk_err *err)
{
    FILE *file = fopen(path, "re");
    char *text = calloc(1, PEM_MAX + 1);
    size_t length = 0;
    if (file && text)
        length = fread(text, 1, PEM_MAX, file);
    if (file)
        (void)fclose(file);
    if (length && length < PEM_MAX)
        return text;
    free(text);
    (void)rk_fail(err, RANKD_INVALID, "%s was \"%s\"; it must name a PEM file that can be read: %s", option,
                  path, file ? "it is empty or too large" : strerror(errno));
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
    if (pem)
        explicit_bzero(pem, strlen(pem));
    free(pem);
}
