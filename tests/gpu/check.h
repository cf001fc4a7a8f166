/* The parts of gpu-check. */
#ifndef GPU_CHECK_H
#define GPU_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "device.h"

#define ITEMS 3000000     /* of a request, where nobody says otherwise */
#define WHOLE_CARD 262144 /* items of a list that is longer are spread over the card */

void report(bool good, const char *what); /* counts, and says what failed */
bool same_bytes(const struct rk_out *a, const struct rk_out *b);

void check_requests(struct rk_device *device, int runs, size_t most_items); /* on scores */
void check_retrievals(struct rk_device *device, int runs, size_t most_items);

#endif
