/* SPDX-License-Identifier: Apache-2.0 */
#include "base/nearest.h"

#include <string.h>

enum { LONGEST = 64 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment distance, three rows of the usual table. */
static size_t distance(const char *a, size_t na, const char *b, size_t nb)
{
    size_t rows[3][LONGEST + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= nb; j++)
        above[j] = j;
    for (size_t i = 1; i <= na; i++) {
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t replaced = above[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = least(replaced, least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], before[j - 2] + 1);
        }
        size_t *spare = before;
        before = above;
        above = row;
        row = spare;
    }
    return above[nb];
}

struct rk_nearest rk_nearest_start(const char *name)
{
    return (struct rk_nearest){.name = name};
}

void rk_nearest_offer(struct rk_nearest *nearest, const char *known)
{
    size_t na = strnlen(nearest->name, LONGEST + 1), nb = strnlen(known, LONGEST + 1);
    if (na > LONGEST || nb > LONGEST || na == 0)
        return;
    size_t longer = na > nb ? na : nb;
    size_t near = longer / 2 > 2 ? longer / 2 : 2;
    if (near >= longer)
        near = longer - 1; /* something must be alike */
    size_t d = distance(nearest->name, na, known, nb);
    if (d <= near && (!nearest->best || d < nearest->distance)) {
        nearest->best = known;
        nearest->distance = d;
    }
}
