// Floats to rows of a ggml type, quantised ones among them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ggml.h"
#include "loader/quantization.h"

namespace tfserve {

/// The ggml type of a block type; GGML_TYPE_COUNT for `none`.
ggml_type ggml_type_of(BlockType type);

/// Writes `count` rows of `width` floats to `to`, which has room for count * ggml_row_size(type, width) bytes. Returns how many finite
/// values became infinite in float16. Preconditions: width is a multiple of the type's block, and the values are finite where it is
/// quantised.
std::uint64_t convert_rows(const float* rows, std::int64_t count, std::int64_t width, ggml_type type, std::byte* to);

bool all_finite(const float* values, std::size_t count);

}  // namespace tfserve
