/* SPDX-License-Identifier: Apache-2.0 */
/* Targets of every type: as bytes, which say what an item is, and as grades, which say how
 * relevant. */
#ifndef RK_REQUEST_TARGET_H
#define RK_REQUEST_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/number.h"
#include "base/tensor.h"

#define RK_TARGET_BAD 2 /* stands for every value that is no target */

/* Which values are targets, beside 0 (irrelevant) and -1 (ignored). BOOL is never anything but 0
 * and 1, and unsigned types have no -1. */
enum rk_target_rule {
    RK_TARGET_BINARY, /* 1: relevant */
    RK_TARGET_GRADE,  /* whole numbers from 1 to RK_GRADE_MAX: relevant, with a grade (gain "exp2") */
    RK_TARGET_REAL    /* any finite number above 0: the same (gain "linear") */
};
#define RK_GRADE_MAX 31

struct rk_request;
enum rk_target_rule rk_target_rule_of(const struct rk_request *request);

/* "1 (relevant), 0 (irrelevant) or -1 (ignored)": the end of a sentence about a target of that
 * type. */
const char *rk_target_may_be(enum rk_target_rule rule, enum rk_dtype dtype);

/* Whether targets of that type are read in place, as bytes with the values above 0 (relevant), 0
 * and -1. And the greatest of them. */
bool rk_targets_are_bytes(enum rk_dtype dtype, enum rk_target_rule rule);
int8_t rk_targets_most(enum rk_dtype dtype, enum rk_target_rule rule);

/* Elements 0..n-1 of a buffer at any alignment as 1 (relevant, whatever the grade), 0, -1, or
 * RK_TARGET_BAD. */
void rk_targets_narrow(const void *targets, enum rk_dtype dtype, enum rk_target_rule rule, size_t n,
                       int8_t *out);

/* The first element that is no target and what it is; false if there is none. */
bool rk_targets_first_bad(const void *targets, enum rk_dtype dtype, enum rk_target_rule rule, size_t n,
                          size_t *at, char value[RK_NUMBER_TEXT]);

/* The grades of consecutive items: targets as they were sent. */
struct rk_grades {
    const void *first; /* of item 0, of any alignment; NULL: every relevant item has the grade 1 */
    enum rk_dtype dtype;
    size_t stride; /* bytes from one item's to the next one's */
};

/* The grade of item i, which is relevant. A value that is no grade of a relevant item, because the
 * targets changed since they were narrowed, is given as 1: grades are finite and above 0. With
 * RK_TARGET_GRADE they are whole and at most RK_GRADE_MAX. */
double rk_grade_at(const struct rk_grades *grades, enum rk_target_rule rule, size_t i);

#endif
