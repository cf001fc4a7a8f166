/* SPDX-License-Identifier: Apache-2.0 */
/* Which items of a request on embeddings are appended to its bank. */
#ifndef RK_REQUEST_APPENDED_H
#define RK_REQUEST_APPENDED_H

#include "request/request.h"

struct rk_appended {
    enum rk_input rows, labels, ids;
};

/* False where queries rank the references and the bank only. */
static inline bool rk_request_ranks_batch(const struct rk_request *request)
{
    return request->params.gallery == RK_GALLERY_ALL;
}

/* The batch, where that is ranked; otherwise the references, which later queries then rank. */
static inline struct rk_appended rk_request_appended(const struct rk_request *request)
{
    if (rk_request_ranks_batch(request))
        return (struct rk_appended){RK_IN_EMBEDDINGS, RK_IN_LABELS, RK_IN_IDS};
    return (struct rk_appended){RK_IN_REF_EMBEDDINGS, RK_IN_REF_LABELS, RK_IN_REF_IDS};
}

#endif
