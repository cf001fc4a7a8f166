/* SPDX-License-Identifier: Apache-2.0 */
/* Makes a finished text the body of an answer. */
#ifndef RK_API_ANSWER_H
#define RK_API_ANSWER_H

#include "api/api.h"
#include "base/text.h"

/* Takes the text (which is empty afterwards). RANKD_INTERNAL if the text ran out of memory. */
enum rankd_status rk_answer_text(struct rk_answer *answer, struct rk_text *text, struct rk_err *err);

#endif
