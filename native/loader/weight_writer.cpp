#include "loader/weight_writer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "ggml-backend.h"
#include "loader/load_error.h"

namespace tfserve {

namespace {

/// Reads `count` elements from possibly unaligned memory.
void widen(const std::byte* from, DType type, std::int64_t count, std::vector<std::byte>& aligned, float* to) {
    const std::size_t bytes = static_cast<std::size_t>(count) * dtype_size(type);
    aligned.resize(bytes);
    std::memcpy(aligned.data(), from, bytes);
    switch (type) {
        case DType::bfloat16: ggml_bf16_to_fp32_row(reinterpret_cast<const ggml_bf16_t*>(aligned.data()), to, count); break;
        case DType::float16: ggml_fp16_to_fp32_row(reinterpret_cast<const ggml_fp16_t*>(aligned.data()), to, count); break;
        case DType::float32: std::memcpy(to, aligned.data(), bytes); break;
        case DType::float64: {
            const auto* values = reinterpret_cast<const double*>(aligned.data());
            std::transform(values, values + count, to, [](double x) { return static_cast<float>(x); });
            break;
        }
        case DType::other: break;
    }
}

/// Largest finite value that rounds to a finite float16.
constexpr float kFloat16Limit = 65520.0f;

void narrow(const float* from, ggml_type type, std::int64_t count, std::byte* to, WriteStats& stats) {
    switch (type) {
        case GGML_TYPE_BF16: ggml_fp32_to_bf16_row(from, reinterpret_cast<ggml_bf16_t*>(to), count); break;
        case GGML_TYPE_F16:
            ggml_fp32_to_fp16_row(from, reinterpret_cast<ggml_fp16_t*>(to), count);
            stats.overflows += static_cast<std::uint64_t>(
                std::count_if(from, from + count, [](float x) { return std::isfinite(x) && std::fabs(x) >= kFloat16Limit; }));
            break;
        default: std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float)); break;
    }
}

std::int64_t row_count(const PlannedTensor& planned) { return planned.shape.front(); }
std::int64_t row_width(const PlannedTensor& planned) { return planned.shape.size() > 1 ? planned.shape[1] : 1; }

void check_target(const PlannedTensor& planned, const ggml_tensor* target) {
    const std::int64_t inner = planned.shape.back(), outer = planned.shape.size() > 1 ? planned.shape.front() : 1;
    if (target->ne[0] == inner && target->ne[1] == outer && target->ne[2] == 1 && target->ne[3] == 1) return;
    throw LoadError(LoadError::Kind::invalid, "The tensor " + planned.name + " has a shape that this architecture does not expect.");
}

bool stays_in_place(const PlannedTensor& planned, const ggml_tensor* target) {
    if (planned.source == nullptr || planned.interleaved_heads != 0 || planned.source->dtype == DType::float64) return false;
    if (ggml_type_of(planned.source->dtype) != target->type) return false;
    // vector instructions of ggml load unaligned, its scalar tails need the element's own alignment
    if (reinterpret_cast<std::uintptr_t>(planned.source->data.data()) % dtype_size(planned.source->dtype) != 0) return false;
    return target->buffer != nullptr && ggml_backend_buffer_get_type(target->buffer) == ggml_backend_cpu_buffer_type();
}

}  // namespace

ggml_type ggml_type_of(DType type) {
    switch (type) {
        case DType::bfloat16: return GGML_TYPE_BF16;
        case DType::float16: return GGML_TYPE_F16;
        default: return GGML_TYPE_F32;
    }
}

void write_tensor(const PlannedTensor& planned, ggml_tensor* target, bool zero_copy, WriteStats& stats) {
    check_target(planned, target);
    const std::size_t bytes = ggml_nbytes(target);
    if (planned.source == nullptr) {
        ggml_backend_tensor_set(target, planned.values.data(), 0, bytes);
        stats.copied_bytes += bytes;
        return;
    }
    const SafeTensor& source = *planned.source;
    if (zero_copy && stays_in_place(planned, target)) {
        target->data = const_cast<std::byte*>(source.data.data());  // read-only mapping; weights are never written
        stats.mapped_bytes += bytes;
        return;
    }
    const bool same_type = source.dtype != DType::float64 && ggml_type_of(source.dtype) == target->type;
    stats.copied_bytes += bytes;
    if (same_type && planned.interleaved_heads == 0) {
        ggml_backend_tensor_set(target, source.data.data(), 0, bytes);
        return;
    }

    const std::int64_t rows = row_count(planned), width = row_width(planned);
    const std::size_t source_row = static_cast<std::size_t>(width) * dtype_size(source.dtype);
    const std::size_t target_row = static_cast<std::size_t>(width) * ggml_type_size(target->type);
    const std::int64_t rows_per_head = planned.interleaved_heads != 0 ? rows / planned.interleaved_heads : 0;
    constexpr std::size_t kChunkBytes = 4u << 20;
    const std::int64_t chunk_rows = std::clamp<std::int64_t>(static_cast<std::int64_t>(kChunkBytes / target_row), 1, rows);
    std::vector<std::byte> chunk(static_cast<std::size_t>(chunk_rows) * target_row), aligned;
    std::vector<float> wide(same_type ? 0 : static_cast<std::size_t>(width));
    for (std::int64_t first = 0; first < rows; first += chunk_rows) {
        const std::int64_t count = std::min(chunk_rows, rows - first);
        for (std::int64_t i = 0; i < count; ++i) {
            const std::int64_t row = rows_per_head != 0 ? interleaved_source_row(first + i, rows_per_head) : first + i;
            const std::byte* from = source.data.data() + static_cast<std::size_t>(row) * source_row;
            std::byte* to = chunk.data() + static_cast<std::size_t>(i) * target_row;
            if (same_type) {
                std::memcpy(to, from, target_row);
            } else {
                widen(from, source.dtype, width, aligned, wide.data());
                narrow(wide.data(), target->type, width, to, stats);
            }
        }
        ggml_backend_tensor_set(target, chunk.data(), static_cast<std::size_t>(first) * target_row,
                                static_cast<std::size_t>(count) * target_row);
    }
}

}  // namespace tfserve
