/* SPDX-License-Identifier: Apache-2.0 */
/* The emulated device's insides: what is put on a stream, and the seed of everything that happens
 * in no promised order.
 *
 * Work is done by the thread that waits for it, with one lock held, in any order that streams and
 * events allow. */
#pragma once

#include <functional>

#include <cuda_runtime.h>

namespace device
{

cudaError_t enqueue(Stream *stream, std::function<void()> work);
uint64_t draw(); // with the device's lock held, or in what runs on a stream

/* True when what the environment says is to fail now: EMULATED_DEVICE=WHAT:N, the N-th call of WHAT
 * and, with a + behind it, all later ones; several by commas. */
bool fails(const char *what);

void run(const Kernel &kernel); // grid.cc

// Another process writes to what it has shared (EMULATED_DEVICE_MEDDLES=1): called wherever that may happen.
void meddle();

} // namespace device
