/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of clients that the device reads and writes by itself. */
#include "device/device.h"

static bool is_worth_it(struct rk_pin_candidate *memory)
{
    int untried = RK_PIN_NOT_YET;
    return atomic_load_explicit(&memory->state, memory_order_relaxed) == RK_PIN_NOT_YET &&
           atomic_load_explicit(&memory->traffic_bytes, memory_order_relaxed) >= memory->bytes &&
           atomic_compare_exchange_strong(&memory->state, &untried, RK_PIN_TRIED);
}

void rk_device_pin(struct rk_device *device, struct rk_pin_candidate *memory)
{
    char why[RK_DEVICE_WHY];
    if (is_worth_it(memory) &&
        device->plugin->pin(device->handle, memory->base, memory->bytes, why) == RK_DEVICE_DONE)
        atomic_store(&memory->state, RK_PIN_DONE);
}

void rk_device_unpin(struct rk_device *device, struct rk_pin_candidate *memory)
{
    if (atomic_load(&memory->state) == RK_PIN_DONE)
        device->plugin->unpin(device->handle, memory->base);
    atomic_store(&memory->state, RK_PIN_TRIED);
}
