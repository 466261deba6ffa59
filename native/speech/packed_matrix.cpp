#include "speech/packed_matrix.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <new>

#include "loader/parallel.h"

namespace tfserve::speech {

namespace {

constexpr std::size_t kAlignment = 64;

ggml_type ggml_type_of(PackedType type) {
    switch (type) {
        case PackedType::float16: return GGML_TYPE_F16;
        case PackedType::bfloat16: return GGML_TYPE_BF16;
        case PackedType::float32: break;
    }
    return GGML_TYPE_F32;
}

/// Row `index` of a part, in the order that it is packed in.
void read_part(const MatrixPart& part, std::int64_t index, std::vector<float>& row) {
    if (!part.convolution) return part.tensor->read_row(index, row.data());
    const auto channels = static_cast<std::size_t>(part.tensor->shape[1]), size = static_cast<std::size_t>(part.tensor->shape[2]);
    std::vector<float> taps(size);
    for (std::size_t c = 0; c < channels; ++c) {
        part.tensor->read_row(index * part.tensor->shape[1] + static_cast<std::int64_t>(c), taps.data());
        for (std::size_t t = 0; t < size; ++t) row[t * channels + c] = taps[t];
    }
}

/// Writes a row in another type. Returns how many finite values became infinite.
std::uint64_t convert(const std::vector<float>& row, PackedType type, std::byte* to) {
    const auto count = static_cast<std::int64_t>(row.size());
    if (type == PackedType::float32) {
        std::memcpy(to, row.data(), row.size() * sizeof(float));
        return 0;
    }
    if (type == PackedType::bfloat16) {
        ggml_fp32_to_bf16_row(row.data(), reinterpret_cast<ggml_bf16_t*>(to), count);
        return 0;
    }
    ggml_fp32_to_fp16_row(row.data(), reinterpret_cast<ggml_fp16_t*>(to), count);
    constexpr float kLargestHalf = 65504.0f;
    return static_cast<std::uint64_t>(
        std::count_if(row.begin(), row.end(), [](float x) { return std::isfinite(x) && std::fabs(x) > kLargestHalf; }));
}

}  // namespace

PackedType packed_type_of(ggml_type type) {
    switch (type) {
        case GGML_TYPE_BF16: return PackedType::bfloat16;
        case GGML_TYPE_F32:
        case GGML_TYPE_F64: return PackedType::float32;
        default: return PackedType::float16;
    }
}

PackedMatrix::PackedMatrix(const tf_linear_kernel& kernel, std::span<const MatrixPart> parts, PackedType type, int threads,
                           std::uint64_t& overflows)
    : kernel_(&kernel), type_(type) {
    bool biased = false;
    for (const MatrixPart& part : parts) {
        const std::int64_t rows = part.tensor->shape.front();
        inputs_ = static_cast<std::int32_t>(part.tensor->elements() / rows);
        outputs_ += static_cast<std::int32_t>(rows);
        biased = biased || part.bias != nullptr;
    }
    panels_ = (outputs_ + kernel.panel_width - 1) / kernel.panel_width;
    const std::size_t size = panel_bytes() * static_cast<std::size_t>(panels_);
    data_.reset(static_cast<std::byte*>(std::aligned_alloc(kAlignment, (size + kAlignment - 1) / kAlignment * kAlignment)));
    if (!data_) throw std::bad_alloc();
    if (biased) {
        bias_.resize(static_cast<std::size_t>(panels_) * static_cast<std::size_t>(kernel.panel_width));
        float* at = bias_.data();
        for (const MatrixPart& part : parts) {
            if (part.bias != nullptr) part.bias->read_row(0, at);
            at += part.tensor->shape.front();
        }
    }
    std::atomic<std::uint64_t> lost = 0;
    in_parallel(panels_, threads, [&](std::int64_t panel) {
        std::uint64_t here = 0;
        pack_panel(parts, static_cast<std::int32_t>(panel), here);
        lost += here;
    });
    overflows += lost;
}

std::size_t PackedMatrix::panel_bytes() const {
    return static_cast<std::size_t>(inputs_) * static_cast<std::size_t>(kernel_->panel_width) * element_bytes();
}

std::uint64_t PackedMatrix::bytes() const {
    return std::uint64_t{panel_bytes()} * static_cast<std::uint64_t>(panels_) + bias_.size() * sizeof(float);
}

void PackedMatrix::pack_panel(std::span<const MatrixPart> parts, std::int32_t panel, std::uint64_t& overflows) {
    const auto width = static_cast<std::size_t>(kernel_->panel_width);
    const auto inputs = static_cast<std::size_t>(inputs_);
    std::byte* const out = data_.get() + panel_bytes() * static_cast<std::size_t>(panel);
    std::memset(out, 0, panel_bytes());
    std::vector<float> row(inputs);
    std::vector<std::byte> converted(inputs * element_bytes());
    for (std::size_t o = 0; o < width; ++o) {
        std::int64_t index = std::int64_t{panel} * kernel_->panel_width + static_cast<std::int64_t>(o);
        if (index >= outputs_) break;
        const MatrixPart* part = parts.data();
        for (; index >= part->tensor->shape.front(); ++part) index -= part->tensor->shape.front();
        const std::byte* from = nullptr;
        if (!part->convolution && part->tensor->type == ggml_type_of(type_)) {
            from = part->tensor->data.data() + static_cast<std::size_t>(index) * converted.size();
        } else {
            read_part(*part, index, row);
            overflows += convert(row, type_, converted.data());
            from = converted.data();
        }
        for (std::size_t i = 0; i < inputs; ++i) {
            std::memcpy(out + (i * width + o) * element_bytes(), from + i * element_bytes(), element_bytes());
        }
    }
}

tf_linear_job PackedMatrix::job() const {
    tf_linear_job job{};
    job.k = inputs_;
    job.panels = reinterpret_cast<const char*>(data_.get());
    job.type = static_cast<std::int32_t>(type_);
    job.end_panel = panels_;
    job.n = outputs_;
    job.bias = bias_.empty() ? nullptr : bias_.data();
    return job;
}

void PackedMatrix::read_row(std::int32_t output, float* to) const {
    const auto width = static_cast<std::size_t>(kernel_->panel_width);
    const std::byte* from = data_.get() + panel_bytes() * static_cast<std::size_t>(output / kernel_->panel_width);
    const auto o = static_cast<std::size_t>(output % kernel_->panel_width);
    for (std::size_t i = 0; i < static_cast<std::size_t>(inputs_); ++i) {
        const std::byte* const at = from + (i * width + o) * element_bytes();
        if (type_ == PackedType::float32) {
            std::memcpy(to + i, at, sizeof(float));
        } else if (type_ == PackedType::bfloat16) {
            ggml_bf16_t value;
            std::memcpy(&value, at, sizeof value);
            to[i] = ggml_bf16_to_fp32(value);
        } else {
            ggml_fp16_t value;
            std::memcpy(&value, at, sizeof value);
            to[i] = ggml_fp16_to_fp32(value);
        }
    }
}

}  // namespace tfserve::speech
