/* SPDX-License-Identifier: Apache-2.0 */
/* The engine on a device against the CPU engine: gradients bit for bit, losses to 1e-12, everything
 * else equal. Needs a device and build/rankd-cuda.so; `make check-gpu` reports that it was skipped
 * if there is none.
 *
 *   gpu-check PLUGIN [RUNS [SEED [ITEMS]]]
 *
 * ITEMS: the most items of a request; an emulated device is slow. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "sample.h"

static int passed, failed;

void report(bool good, const char *what)
{
    if (good)
        passed++;
    else
        failed++;
    if (!good)
        printf("FAILED: %s\n", what);
}

bool same_bytes(const struct rk_out *a, const struct rk_out *b)
{
    return a->bytes == b->bytes && (a->bytes == 0 || memcmp(a->data, b->data, a->bytes) == 0);
}

int main(int argc, char **argv)
{
    struct rk_device device;
    struct rk_err err = {0};
    if (argc < 2) {
        puts("gpu-check PLUGIN [RUNS [SEED [ITEMS]]]");
        return 2;
    }
    if (rk_device_open(&device, argv[1], 0, 0, &err) != RANKD_OK) {
        printf("skipped: %s\n", err.text);
        return 77;
    }
    const int runs = argc > 2 ? atoi(argv[2]) : 200;
    seed(argc > 3 ? (uint64_t)atoll(argv[3]) : 1);
    const size_t most_items = argc > 4 ? (size_t)atoll(argv[4]) : ITEMS;
    device.always = true;
    printf("on %s\n", device.name);
    check_requests(&device, runs, most_items);
    check_sizes(&device, argv[1], most_items);
    check_unknown(&device);
    check_retrievals(&device, runs, most_items);
    rk_device_close(&device);
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}
