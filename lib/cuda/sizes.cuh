/* SPDX-License-Identifier: Apache-2.0 */
// How many relevant items requests had lately, so that the next one is launched without waiting for
// its own counts.
#pragma once

#include <deque>
#include <mutex>

#include "cuda/kernels.cuh"

namespace rk
{

class Sizes
{
  public:
    // What lists of this shape want most probably, with a little to spare; {0, 0} if none was seen.
    LongSize expected(size_t lists, uint32_t items);
    void note(size_t lists, uint32_t items, const LongSize &seen);

  private:
    static constexpr size_t SHAPES = 16, LAST = 8; // the most recent first, of shapes and of each one's sizes
    struct Shape {
        size_t lists;
        uint32_t items;
        std::deque<LongSize> seen;
    };
    Shape &shape_of(size_t lists, uint32_t items);
    std::mutex lock_;
    std::deque<Shape> shapes_;
};

} // namespace rk
