/* SPDX-License-Identifier: Apache-2.0 */
/* The status page, for people with a browser. It contains no figures but requests /metrics, so that
 * a visitor without access to the metrics sees none. */
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "api/page.h"
#include "api/route.h"

enum rankd_status rk_api_page(const struct rk_api_env *env, const struct rk_call *call,
                              const struct rk_match *match, struct rk_answer *answer, struct rk_err *err)
{
    (void)env, (void)call, (void)match;
    answer->body = malloc(RK_PAGE_BYTES);
    if (!answer->body)
        return rk_fail(err, RANKD_OVERLOADED, "no memory for the page; try again in a moment");
    memcpy(answer->body, rk_page_html, RK_PAGE_BYTES);
    answer->body_bytes = RK_PAGE_BYTES;
    answer->content_type = "text/html; charset=utf-8";
    return RANKD_OK;
}
