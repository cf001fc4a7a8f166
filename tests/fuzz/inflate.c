/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/inflate.h"

#include <assert.h>
#include <stdlib.h>

#include "targets.h"

enum { LIMIT = 1 << 20 };

void rk_fuzz_inflate(const uint8_t *data, size_t bytes)
{
    if (bytes == 0)
        return;
    void *out = NULL;
    size_t out_bytes = 0;
    struct rk_err err = {0};
    enum rk_encoding encoding = data[0] & 1 ? RK_ENCODING_GZIP : RK_ENCODING_DEFLATE;
    if (rk_inflate(encoding, data + 1, bytes - 1, LIMIT, &out, &out_bytes, &err) == RANKD_OK)
        assert(out_bytes <= LIMIT);
    else
        assert(err.text[0] != '\0');
    free(out);
}
