#include "loader/row_reader.h"

#include <algorithm>
#include <cstring>

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

}  // namespace

ggml_type ggml_type_of(DType type) {
    switch (type) {
        case DType::bfloat16: return GGML_TYPE_BF16;
        case DType::float16: return GGML_TYPE_F16;
        default: return GGML_TYPE_F32;
    }
}

RowReader::RowReader(const PlannedTensor& planned)
    : planned_(planned),
      dtype_(planned.sources.front()->dtype),
      element_(dtype_size(dtype_)),
      rows_per_head_(planned.interleaved_heads != 0 ? planned.rows() / planned.interleaved_heads : 0) {}

ggml_type RowReader::type() const {
    if (planned_.scales != nullptr) return GGML_TYPE_MXFP4;
    return dtype_ == DType::float64 ? GGML_TYPE_COUNT : ggml_type_of(dtype_);
}

void RowReader::read(std::int64_t row, std::byte* to) const {
    const std::int64_t slice = row / planned_.rows(), within = row % planned_.rows();
    if (planned_.scales != nullptr) return read_mxfp4(slice, within, to);
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

/// ggml's blocks are a scale and 16 bytes, of which the first halves hold values 0 to 15.
void RowReader::read_mxfp4(std::int64_t slice, std::int64_t within, std::byte* to) const {
    constexpr std::size_t kPacked = 16;
    constexpr std::int64_t kValues = 32;
    const StridedView& view = planned_.view;
    const auto first = static_cast<std::size_t>((view.start + slice * view.slice_stride + within * view.row_stride) / kValues);
    const std::byte* packed = planned_.sources.front()->data.data() + first * kPacked;
    const std::byte* scales = planned_.scales->data.data() + first;
    for (std::int64_t block = 0; block < planned_.width() / kValues; ++block, packed += kPacked, to += 1 + kPacked) {
        to[0] = scales[block];
        auto value = [&](std::size_t i) { return i % 2 == 0 ? packed[i / 2] & std::byte{15} : packed[i / 2] >> 4; };
        for (std::size_t i = 0; i < kPacked; ++i) to[1 + i] = value(i) | value(i + kPacked) << 4;
    }
}

void RowReader::read_wide(std::int64_t row, float* to) {
    const std::int64_t width = planned_.width();
    if (planned_.scales != nullptr) {
        stored_.resize(ggml_row_size(GGML_TYPE_MXFP4, width));
        read(row, stored_.data());
        ggml_get_type_traits(GGML_TYPE_MXFP4)->to_float(stored_.data(), to, width);
    } else {
        stored_.resize(static_cast<std::size_t>(width) * element_);
        read(row, stored_.data());
        widen(stored_.data(), dtype_, width, to);
    }
    if (planned_.add == 0) return;
    for (std::int64_t i = 0; i < width; ++i) to[i] += planned_.add;
}

}  // namespace tfserve
