// Weights of a linear layer, laid out for the kernels of speech/kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "speech/kernels/linear_kernel.h"
#include "speech/stored_tensor.h"

namespace tfserve::speech {

/// Type of packed weights in memory.
enum class PackedType : std::uint8_t { float16 = TF_LINEAR_F16, bfloat16 = TF_LINEAR_BF16, float32 = TF_LINEAR_F32 };

/// A piece of rows of a packed matrix: all rows of `tensor`. Convolution kernels [out][in][taps] become rows [taps][in], so that a row
/// fits windows of positions that lie one after the other.
struct MatrixPart {
    const StoredTensor* tensor = nullptr;
    bool convolution = false;
    const StoredTensor* bias = nullptr;  ///< null: zero
};

/// y = x * W^T + bias for W of `outputs` x `inputs`.
class PackedMatrix {
   public:
    PackedMatrix() = default;
    /// The parts' rows, one part after the other; all have the same number of inputs. With `threads` at a time.
    /// Values that float16 does not hold become infinite; returns how many in `overflows`.
    PackedMatrix(const tf_linear_kernel& kernel, std::span<const MatrixPart> parts, PackedType type, int threads, std::uint64_t& overflows);

    std::int32_t outputs() const { return outputs_; }
    std::int32_t inputs() const { return inputs_; }
    std::int32_t panels() const { return panels_; }
    std::uint64_t bytes() const;
    const tf_linear_kernel& kernel() const { return *kernel_; }

    /// Everything of a job but its rows and panels.
    tf_linear_job job() const;
    /// Row `output` of W as float32: `inputs` values.
    void read_row(std::int32_t output, float* to) const;

   private:
    struct Free {
        void operator()(std::byte* memory) const { std::free(memory); }
    };

    void pack_panel(std::span<const MatrixPart> parts, std::int32_t panel, std::uint64_t& overflows);
    std::size_t element_bytes() const { return type_ == PackedType::float32 ? 4 : 2; }
    std::size_t panel_bytes() const;

    const tf_linear_kernel* kernel_ = nullptr;
    PackedType type_ = PackedType::float32;
    std::int32_t outputs_ = 0, inputs_ = 0, panels_ = 0;
    std::unique_ptr<std::byte, Free> data_;
    std::vector<float> bias_;  ///< empty, or one a panel's output
};

/// The type that holds all values of a stored type.
PackedType packed_type_of(ggml_type type);

}  // namespace tfserve::speech
