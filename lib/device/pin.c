/* Memory of clients that the card reads and writes by itself. */
#include "device/device.h"

static bool is_worth_it(struct rk_pinnable *memory)
{
    int untried = RK_PIN_NOT_YET;
    return atomic_load_explicit(&memory->state, memory_order_relaxed) == RK_PIN_NOT_YET &&
           atomic_load_explicit(&memory->moved, memory_order_relaxed) >= memory->bytes &&
           atomic_compare_exchange_strong(&memory->state, &untried, RK_PIN_TRIED);
}

void rk_device_pin(struct rk_device *device, struct rk_pinnable *memory)
{
    char why[RK_DEVICE_WHY];
    if (is_worth_it(memory) &&
        device->plugin->pin(device->card, memory->base, memory->bytes, why) == RK_CARD_DONE)
        atomic_store(&memory->state, RK_PIN_DONE);
}

void rk_device_unpin(struct rk_device *device, struct rk_pinnable *memory)
{
    if (atomic_load(&memory->state) == RK_PIN_DONE)
        device->plugin->unpin(device->card, memory->base);
    atomic_store(&memory->state, RK_PIN_TRIED);
}
