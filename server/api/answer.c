/* SPDX-License-Identifier: Apache-2.0 */
#include "api/answer.h"
#include "api/api.h"

enum rankd_status rk_answer_text(struct rk_answer *answer, struct rk_text *text, struct rk_err *err)
{
    answer->body = rk_text_take(text, &answer->body_bytes);
    return answer->body ? RANKD_OK
                        : rk_fail(err, RANKD_OVERLOADED, "no memory for the answer; try again in a moment");
}
