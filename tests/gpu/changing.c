/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors in memory of the device that another process shares may change while they are read:
 * results are then unspecified, but nothing beyond the memory is touched and every request ends.
 * Needs an emulated device that changes shared memory (EMULATED_DEVICE_MEDDLES=1), whose handles
 * are names of shared memory objects; most useful under a sanitizer.
 *
 *   gpu-changing PLUGIN [RUNS [SEED]] */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device/device.h"
#include "engine.h"
#include "request/request.h"

static size_t below(size_t n)
{
    return (size_t)random() % n;
}

/* The memory that the other process shares: scores, targets (one byte each), then room for ranks or
 * a gradient. */
struct shared_tensor {
    char name[RK_DEVICE_HANDLE];
    size_t bytes;
    void *address;
};

static bool share(struct rk_device *device, size_t bytes, struct shared_tensor *shared)
{
    char why[RK_DEVICE_WHY];
    size_t found = 0;
    snprintf(shared->name, sizeof shared->name, "/rankd_changing_%d", (int)getpid());
    const int fd = shm_open(shared->name, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0)
        return false;
    (void)close(fd);
    shared->bytes = bytes;
    const bool good = device->plugin->map(device->handle, (const unsigned char *)shared->name,
                                          &shared->address, &found, why) == RK_DEVICE_DONE;
    (void)shm_unlink(shared->name);
    return good && found == bytes;
}

static void fill(struct shared_tensor *shared, size_t n, double share)
{
    float *scores = shared->address;
    int8_t *targets = (int8_t *)(scores + n);
    for (size_t i = 0; i < n; i++) {
        scores[i] = (float)below(1000) / 1000;
        targets[i] = (double)below(100000) < share * 100000 ? 1 : below(20) == 0 ? -1 : 0;
    }
}

static struct rk_tensor tensor(enum rk_dtype dtype, size_t rows, size_t columns, void *data)
{
    return (struct rk_tensor){.dtype = dtype,
                              .rank = 2,
                              .shape = {rows, columns},
                              .data = data,
                              .bytes = rows * columns * rk_dtype_size(dtype),
                              .on_device = true};
}

static struct rk_request request_of(struct shared_tensor *shared, size_t rows, size_t columns)
{
    static const char *const models[] = {"ap", "recall", "rank", "rank_vjp"};
    const size_t n = rows * columns;
    char *base = shared->address;
    struct rk_request request = {.model = rk_model_find(models[below(4)]), .params = rk_params_default()};
    request.in[RK_IN_SCORES] = tensor(RK_FP32, rows, columns, base);
    if (request.model->loss) {
        request.in[RK_IN_TARGETS] = tensor(RK_INT8, rows, columns, base + 4 * n);
        request.params.axis = columns < rows ? RK_AXIS_COLUMNS : RK_AXIS_ROWS;
        request.params.interclass = below(3) ? 0 : 0.5;
        request.params.margin = below(2) ? 0.1 : 0;
        request.outputs = 1u << RK_OUT_LOSS | 1u << RK_OUT_LIST_LOSS;
    } else if (strcmp(request.model->name, "rank_vjp") == 0) {
        request.in[RK_IN_UPSTREAM] = tensor(RK_FP32, rows, columns, base); /* the scores again */
    }
    if (strcmp(request.model->name, "rank") == 0)
        request.outputs = 1u << RK_OUT_RANKS;
    else
        request.outputs |=
            below(2) ? 1u << RK_OUT_GRADIENT : 1u << RK_OUT_GRADIENT_INDICES | 1u << RK_OUT_GRADIENT_VALUES;
    return request;
}

/* The gradient goes back to the shared memory, too. */
static struct rk_reply reply_of(struct shared_tensor *shared, const struct rk_request *request, size_t n)
{
    struct rk_reply reply = {0};
    if (request->outputs & 1u << RK_OUT_GRADIENT)
        reply.out[RK_OUT_GRADIENT] =
            (struct rk_out){.data = (char *)shared->address + 8 * n, .capacity = 4 * n, .on_device = true};
    return reply;
}

static bool run_one(struct rk_device *device, size_t rows, size_t columns, double relevant)
{
    struct shared_tensor shared = {0};
    struct rk_err err = {0};
    const size_t n = rows * columns;
    if (!share(device, 12 * n, &shared))
        return false;
    fill(&shared, n, relevant);
    const struct rk_request request = request_of(&shared, rows, columns);
    struct rk_reply reply = reply_of(&shared, &request, n);
    struct rk_scratch *scratch = rk_scratch_new(0);
    const struct rk_exec exec = {.scratch = scratch, .device = device};
    const enum rankd_status status = rk_engine_run(&exec, &request, &reply, &err);
    const bool good = status == RANKD_OK
                          ? reply.info.lists == (columns < rows ? columns : rows) || !request.model->loss
                          : status == RANKD_INVALID && err.text[0] != '\0';
    if (!good)
        printf("FAILED: %s [%zu, %zu]: %d %s\n", request.model->name, rows, columns, (int)status, err.text);
    rk_reply_clear(&reply);
    rk_scratch_free(scratch);
    device->plugin->unmap(device->handle, shared.address);
    return good;
}

int main(int argc, char **argv)
{
    static const size_t items[] = {1, 7, 100, 1200, 5000, 20000, 270000};
    static const double shares[] = {0, 0.001, 0.02, 0.1, 0.5, 1};
    struct rk_device device;
    struct rk_err err = {0};
    if (argc < 2 || rk_device_open(&device, argv[1], 0, 0, &err) != RANKD_OK) {
        printf("gpu-changing PLUGIN [RUNS [SEED]]: %s\n", err.text);
        return 2;
    }
    const int runs = argc > 2 ? atoi(argv[2]) : 50;
    srandom(argc > 3 ? (unsigned)atoi(argv[3]) : 1);
    device.always = true;
    int passed = 0;
    for (int run = 0; run < runs; run++) {
        const size_t n = items[below(7)], lists = n > 5000 ? 1 : 1 + below(n > 100 ? 6 : 60);
        const bool turned = below(2);
        passed += run_one(&device, turned ? n : lists, turned ? lists : n, shares[below(6)]);
    }
    const bool lost = atomic_load(&device.lost);
    printf("%d passed, %d failed%s\n", passed, runs - passed, lost ? ", and the device is lost" : "");
    rk_device_close(&device);
    return passed < runs || lost;
}
