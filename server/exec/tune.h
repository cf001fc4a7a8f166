/* SPDX-License-Identifier: Apache-2.0 */
/* `rankd --tune`: fits the engine's plans to this machine. */
#ifndef RK_EXEC_TUNE_H
#define RK_EXEC_TUNE_H

#include <stdio.h>

#include "base/err.h"

/* Times the engine with different tunings, on random lists and by turns, for some seconds on up to
 * two threads, and writes a tuning file with what was fastest, the times as comments. A change of
 * less than a twentieth is taken for chance: the default stays. Changes rk_tuning. */
enum rankd_status rk_tune(FILE *out, struct rk_err *err) __attribute__((warn_unused_result));

#endif
