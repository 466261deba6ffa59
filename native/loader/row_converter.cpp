#include "loader/row_converter.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace tfserve {

ggml_type ggml_type_of(BlockType type) {
    switch (type) {
        case BlockType::q4_0: return GGML_TYPE_Q4_0;
        case BlockType::q4_1: return GGML_TYPE_Q4_1;
        case BlockType::q5_0: return GGML_TYPE_Q5_0;
        case BlockType::q5_1: return GGML_TYPE_Q5_1;
        case BlockType::q8_0: return GGML_TYPE_Q8_0;
        case BlockType::q2_k: return GGML_TYPE_Q2_K;
        case BlockType::q3_k: return GGML_TYPE_Q3_K;
        case BlockType::q4_k: return GGML_TYPE_Q4_K;
        case BlockType::q5_k: return GGML_TYPE_Q5_K;
        case BlockType::q6_k: return GGML_TYPE_Q6_K;
        case BlockType::iq4_nl: return GGML_TYPE_IQ4_NL;
        case BlockType::iq4_xs: return GGML_TYPE_IQ4_XS;
        case BlockType::mxfp4: return GGML_TYPE_MXFP4;
        case BlockType::none: break;
    }
    return GGML_TYPE_COUNT;
}

std::uint64_t convert_rows(const float* rows, std::int64_t count, std::int64_t width, ggml_type type, std::byte* to) {
    const std::int64_t elements = count * width;
    switch (type) {
        case GGML_TYPE_F32: std::memcpy(to, rows, static_cast<std::size_t>(elements) * sizeof(float)); return 0;
        case GGML_TYPE_BF16: ggml_fp32_to_bf16_row(rows, reinterpret_cast<ggml_bf16_t*>(to), elements); return 0;
        case GGML_TYPE_F16: {
            constexpr float kLimit = 65520.0f;  // what is below it rounds to a finite float16
            ggml_fp32_to_fp16_row(rows, reinterpret_cast<ggml_fp16_t*>(to), elements);
            const auto overflows = std::count_if(rows, rows + elements, [](float x) { return std::isfinite(x) && std::fabs(x) >= kLimit; });
            return static_cast<std::uint64_t>(overflows);
        }
        // ggml_quantize_chunk tries many scales a block: 13 times the work for an error that is a thirtieth less
        case GGML_TYPE_IQ4_NL: ggml_get_type_traits(type)->from_float_ref(rows, to, elements); return 0;
        default: ggml_quantize_chunk(type, rows, to, 0, count, width, nullptr); return 0;
    }
}

bool all_finite(const float* values, std::size_t count) {
    // the sum of absolute values of finite floats is finite in double
    double sum = 0;
    for (std::size_t i = 0; i < count; ++i) sum += std::fabs(static_cast<double>(values[i]));
    return std::isfinite(sum);
}

}  // namespace tfserve
