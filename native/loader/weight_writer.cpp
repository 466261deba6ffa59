#include "loader/weight_writer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "ggml-backend.h"
#include "loader/load_error.h"

namespace tfserve {

namespace {

/// Converts `count` elements; `from` is aligned for its type.
void widen(const std::byte* from, DType type, std::int64_t count, float* to) {
    switch (type) {
        case DType::bfloat16: ggml_bf16_to_fp32_row(reinterpret_cast<const ggml_bf16_t*>(from), to, count); break;
        case DType::float16: ggml_fp16_to_fp32_row(reinterpret_cast<const ggml_fp16_t*>(from), to, count); break;
        case DType::float32: std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float)); break;
        case DType::float64: {
            const auto* values = reinterpret_cast<const double*>(from);
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

void check_target(const PlannedTensor& planned, const ggml_tensor* target) {
    const std::vector<std::int64_t>& shape = planned.shape;
    bool fits = true;
    for (std::size_t dim = 0; dim < GGML_MAX_DIMS; ++dim) {
        fits = fits && target->ne[dim] == (dim < shape.size() ? shape[shape.size() - 1 - dim] : 1);
    }
    if (fits) return;
    throw LoadError(LoadError::Kind::invalid, "The tensor " + planned.name + " has a shape that this architecture does not expect.");
}

bool stays_in_place(const PlannedTensor& planned, const ggml_tensor* target) {
    if (!planned.whole || planned.sources.front()->dtype == DType::float64) return false;
    const SafeTensor& source = *planned.sources.front();
    if (ggml_type_of(source.dtype) != target->type) return false;
    // vector instructions of ggml load unaligned, its scalar tails need the element's own alignment
    if (reinterpret_cast<std::uintptr_t>(source.data.data()) % dtype_size(source.dtype) != 0) return false;
    return target->buffer != nullptr && ggml_backend_buffer_get_type(target->buffer) == ggml_backend_cpu_buffer_type();
}

/// Fetches rows of MXFP4 weights as ggml lays them out: blocks of a scale and 16 bytes, of which the first halves hold values 0 to 15.
class Mxfp4Reader {
   public:
    static constexpr std::size_t kPacked = 16, kBlock = 1 + kPacked;
    static constexpr std::int64_t kValues = 32;

    explicit Mxfp4Reader(const PlannedTensor& planned) : planned_(planned), blocks_(planned.width() / kValues) {}

    /// Writes one row, numbered through all slices, to `to`, which has room for it.
    void read(std::int64_t row, std::byte* to) const {
        const std::int64_t slice = row / planned_.rows(), within = row % planned_.rows();
        const StridedView& view = planned_.view;
        const auto first = static_cast<std::size_t>((view.start + slice * view.slice_stride + within * view.row_stride) / kValues);
        const std::byte* packed = planned_.sources.front()->data.data() + first * kPacked;
        const std::byte* scales = planned_.scales->data.data() + first;
        for (std::int64_t block = 0; block < blocks_; ++block, packed += kPacked, to += kBlock) {
            to[0] = scales[block];
            auto value = [&](std::size_t i) { return i % 2 == 0 ? packed[i / 2] & std::byte{15} : packed[i / 2] >> 4; };
            for (std::size_t i = 0; i < kPacked; ++i) to[1 + i] = value(i) | value(i + kPacked) << 4;
        }
    }

   private:
    const PlannedTensor& planned_;
    const std::int64_t blocks_;
};

void write_mxfp4(const PlannedTensor& planned, ggml_tensor* target, WriteStats& stats) {
    const Mxfp4Reader reader(planned);
    const std::int64_t rows = planned.slices() * planned.rows(), width = planned.width();
    const std::size_t target_row = ggml_row_size(target->type, width);
    std::vector<std::byte> stored(ggml_row_size(GGML_TYPE_MXFP4, width)), converted(target_row);
    std::vector<float> wide(static_cast<std::size_t>(width));
    for (std::int64_t row = 0; row < rows; ++row) {
        reader.read(row, stored.data());
        const bool as_stored = target->type == GGML_TYPE_MXFP4;
        if (!as_stored) {
            ggml_get_type_traits(GGML_TYPE_MXFP4)->to_float(stored.data(), wide.data(), width);
            narrow(wide.data(), target->type, width, converted.data(), stats);
        }
        const std::vector<std::byte>& out = as_stored ? stored : converted;
        ggml_backend_tensor_set(target, out.data(), static_cast<std::size_t>(row) * target_row, target_row);
    }
}

/// Fetches rows of a planned tensor, numbered through all slices, in the type they are stored in.
class RowReader {
   public:
    explicit RowReader(const PlannedTensor& planned)
        : planned_(planned),
          element_(dtype_size(planned.sources.front()->dtype)),
          rows_per_head_(planned.interleaved_heads != 0 ? planned.rows() / planned.interleaved_heads : 0) {}

    /// Writes one row to `to`, which has room for it.
    void read(std::int64_t row, std::byte* to) const {
        const std::int64_t slice = row / planned_.rows(), within = row % planned_.rows();
        const std::int64_t stored = rows_per_head_ != 0 ? interleaved_source_row(within, rows_per_head_) : within;
        const SafeTensor& source = *planned_.sources[planned_.sources.size() > 1 ? static_cast<std::size_t>(slice) : 0];
        const StridedView& view = planned_.view;
        const std::int64_t first = view.start + slice * view.slice_stride + stored * view.row_stride;
        const std::byte* from = source.data.data() + static_cast<std::size_t>(first) * element_;
        const auto width = static_cast<std::size_t>(planned_.width());
        if (view.element_stride == 1 || width == 1) {
            std::memcpy(to, from, width * element_);
            return;
        }
        const std::size_t step = static_cast<std::size_t>(view.element_stride) * element_;
        for (std::size_t i = 0; i < width; ++i) std::memcpy(to + i * element_, from + i * step, element_);
    }

   private:
    const PlannedTensor& planned_;
    const std::size_t element_;
    const std::int64_t rows_per_head_;
};

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
    if (planned.sources.empty()) {
        ggml_backend_tensor_set(target, planned.values.data(), 0, bytes);
        stats.copied_bytes += bytes;
        return;
    }
    if (planned.scales != nullptr) {
        write_mxfp4(planned, target, stats);
        stats.copied_bytes += bytes;
        return;
    }
    const SafeTensor& source = *planned.sources.front();
    if (zero_copy && stays_in_place(planned, target)) {
        target->data = const_cast<std::byte*>(source.data.data());  // read-only mapping; weights are never written
        stats.mapped_bytes += bytes;
        return;
    }
    const bool same_type = source.dtype != DType::float64 && ggml_type_of(source.dtype) == target->type && planned.add == 0;
    stats.copied_bytes += bytes;
    if (same_type && planned.whole) {
        ggml_backend_tensor_set(target, source.data.data(), 0, bytes);
        return;
    }

    const RowReader reader(planned);
    const std::int64_t rows = planned.slices() * planned.rows(), width = planned.width();
    const std::size_t target_row = static_cast<std::size_t>(width) * ggml_type_size(target->type);
    constexpr std::size_t kChunkBytes = 4u << 20;
    const std::int64_t chunk_rows = std::clamp<std::int64_t>(static_cast<std::int64_t>(kChunkBytes / target_row), 1, rows);
    std::vector<std::byte> chunk(static_cast<std::size_t>(chunk_rows) * target_row);
    std::vector<std::byte> stored(same_type ? 0 : static_cast<std::size_t>(width) * dtype_size(source.dtype));
    std::vector<float> wide(same_type ? 0 : static_cast<std::size_t>(width));
    for (std::int64_t first = 0; first < rows; first += chunk_rows) {
        const std::int64_t count = std::min(chunk_rows, rows - first);
        for (std::int64_t i = 0; i < count; ++i) {
            std::byte* to = chunk.data() + static_cast<std::size_t>(i) * target_row;
            if (same_type) {
                reader.read(first + i, to);
                continue;
            }
            reader.read(first + i, stored.data());
            widen(stored.data(), source.dtype, width, wide.data());
            for (float& value : wide) value += planned.add;
            narrow(wide.data(), target->type, width, to, stats);
        }
        ggml_backend_tensor_set(target, chunk.data(), static_cast<std::size_t>(first) * target_row,
                                static_cast<std::size_t>(count) * target_row);
    }
}

}  // namespace tfserve
