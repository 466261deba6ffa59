// Fills llama.cpp's tensors from planned ones: converted, quantised, reordered, or left where they are.
#pragma once

#include <cstdint>

#include "ggml.h"
#include "loader/tensor_plan.h"

namespace tfserve {

struct WriteOptions {
    bool zero_copy = true;     ///< a tensor in plain CPU memory that needs no change points into the checkpoint afterwards
    std::int32_t threads = 1;  ///< for tensors that are converted or reordered
};

/// What has been written so far.
struct WriteStats {
    std::uint64_t copied_bytes = 0;
    std::uint64_t mapped_bytes = 0;
    std::uint64_t overflows = 0;  ///< finite values that became infinite in float16
    double quantized_ms = 0;      ///< time for tensors that were quantised
};

/// Writes all of `target`, whose type and element count fit the plan. Throws LoadError when `target` has another shape than the plan, or
/// when values that are to be quantised are not finite.
void write_tensor(const PlannedTensor& planned, ggml_tensor* target, const WriteOptions& options, WriteStats& stats);

}  // namespace tfserve
