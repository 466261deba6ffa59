// Work in equal parts on several threads.
#pragma once

#include <cstdint>
#include <functional>

namespace tfserve {

/// Calls `work(part)` for each part from 0 to `parts` - 1, on `threads` threads at most, this one among them; returns when all have ended.
/// Parts are begun in order. The first exception ends the rest and is thrown here.
void in_parallel(std::int64_t parts, std::int32_t threads, const std::function<void(std::int64_t part)>& work);

}  // namespace tfserve
