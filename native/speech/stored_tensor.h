// A tensor as a checkpoint's file has it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ggml.h"
#include "loader/mapped_file.h"

namespace tfserve::speech {

/// The data lies in a mapped file and is exactly product(shape) elements long; it may be unaligned. GGML_TYPE_F64 has no rows of ggml's
/// own and is narrowed on the way.
struct StoredTensor {
    ggml_type type = GGML_TYPE_F32;
    std::vector<std::int64_t> shape;  ///< outermost first, each >= 1
    std::span<const std::byte> data;
    const MappedFile* file = nullptr;

    std::int64_t width() const { return shape.back(); }
    std::int64_t elements() const;
    /// Writes row `row` of width() elements as float32. Precondition: the type is one of readable_type().
    void read_row(std::int64_t row, float* to) const;
};

/// Whether rows of the type can be read.
bool readable_type(ggml_type type);

/// Bytes of a tensor of this type and shape; 0 when its rows are not whole blocks or the size does not fit into 64 bits.
std::uint64_t stored_bytes(ggml_type type, std::span<const std::int64_t> shape);

/// Tensors by the name that transformers gives them, without the leading `model.`.
using StoredTensors = std::map<std::string, StoredTensor, std::less<>>;

}  // namespace tfserve::speech
