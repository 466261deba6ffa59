#include "speech/stored_tensor.h"

#include <cstring>
#include <limits>

namespace tfserve::speech {

namespace {

/// Elements decoded at once: a multiple of every type's block.
constexpr std::int64_t kPiece = 1024;

}  // namespace

std::int64_t StoredTensor::elements() const {
    std::int64_t n = 1;
    for (std::int64_t dim : shape) n *= dim;
    return n;
}

bool readable_type(ggml_type type) {
    switch (type) {
        case GGML_TYPE_F32:
        case GGML_TYPE_F16:
        case GGML_TYPE_BF16:
        case GGML_TYPE_F64:
        case GGML_TYPE_Q4_0:
        case GGML_TYPE_Q4_1:
        case GGML_TYPE_Q5_0:
        case GGML_TYPE_Q5_1:
        case GGML_TYPE_Q8_0:
        case GGML_TYPE_Q2_K:
        case GGML_TYPE_Q3_K:
        case GGML_TYPE_Q4_K:
        case GGML_TYPE_Q5_K:
        case GGML_TYPE_Q6_K: return true;
        default: return false;
    }
}

std::uint64_t stored_bytes(ggml_type type, std::span<const std::int64_t> shape) {
    constexpr std::uint64_t kLargest = std::numeric_limits<std::int64_t>::max();
    if (shape.empty() || shape.back() % ggml_blck_size(type) != 0) return 0;
    std::uint64_t bytes = ggml_type_size(type);
    for (std::size_t i = 0; i < shape.size(); ++i) {
        if (shape[i] < 1) return 0;
        const auto count = static_cast<std::uint64_t>(i + 1 == shape.size() ? shape[i] / ggml_blck_size(type) : shape[i]);
        if (count > kLargest / bytes) return 0;
        bytes *= count;
    }
    return bytes;
}

void StoredTensor::read_row(std::int64_t row, float* to) const {
    const std::size_t row_bytes = data.size() / static_cast<std::size_t>(elements() / width());
    const std::byte* from = data.data() + static_cast<std::size_t>(row) * row_bytes;
    if (type == GGML_TYPE_F32) {
        std::memcpy(to, from, row_bytes);
        return;
    }
    // the file promises no alignment, ggml's readers want it
    alignas(64) std::byte piece[kPiece * sizeof(double)];
    const auto block = static_cast<std::size_t>(ggml_blck_size(type));
    for (std::int64_t at = 0; at < width(); at += kPiece) {
        const std::int64_t count = std::min(kPiece, width() - at);
        const std::size_t bytes = static_cast<std::size_t>(count) / block * ggml_type_size(type);
        std::memcpy(piece, from, bytes);
        from += bytes;
        if (type == GGML_TYPE_F64) {
            const auto* values = reinterpret_cast<const double*>(piece);
            for (std::int64_t i = 0; i < count; ++i) to[at + i] = static_cast<float>(values[i]);
        } else {
            ggml_get_type_traits(type)->to_float(piece, to + at, count);
        }
    }
}

}  // namespace tfserve::speech
