// What the attention tests compare with: a pool of KV cells in any storage type, and plain attention in double precision.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "runtime/paged/paged_kernel.h"

namespace tfserve::paged::test {

using Random = std::mt19937;

inline int pick(Random& random, int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); }
inline float uniform(Random& random, float low, float high) { return std::uniform_real_distribution<float>(low, high)(random); }

inline float half_value(std::uint16_t h) {
    const int exponent = h >> 10 & 31;
    const int mantissa = h & 1023;
    const float sign = h & 0x8000 ? -1.0f : 1.0f;
    if (exponent == 31) {
        return mantissa ? std::numeric_limits<float>::quiet_NaN() : sign * std::numeric_limits<float>::infinity();
    }
    return sign * (exponent ? std::ldexp(1.0f + static_cast<float>(mantissa) / 1024.0f, exponent - 15)
                            : std::ldexp(static_cast<float>(mantissa) / 1024.0f, -14));
}

/// A half near x, |x| < 65504. Tests read back what was stored, so rounding does not matter.
inline std::uint16_t to_half(float x) {
    if (std::isnan(x)) {
        return 0x7e00;
    }
    const unsigned sign = std::signbit(x) ? 0x8000 : 0;
    int exponent = 0;
    const float mantissa = std::frexp(std::fabs(x), &exponent);  // [0.5, 1)
    if (exponent < -13) {                                        // subnormal
        return static_cast<std::uint16_t>(sign | static_cast<unsigned>(std::ldexp(std::fabs(x), 24)));
    }
    const unsigned fraction = static_cast<unsigned>(mantissa * 2048.0f) & 1023;
    return static_cast<std::uint16_t>(sign | static_cast<unsigned>(exponent + 14) << 10 | fraction);
}

/// A "quantised" type for TF_KERNEL_OTHER: a byte a value, in steps of 1/32; -128 stands for NaN.
inline void bytes_to_f32(const void* src, float* dst, std::int64_t n) {
    const auto* p = static_cast<const std::int8_t*>(src);
    for (std::int64_t i = 0; i < n; ++i) {
        dst[i] = p[i] == -128 ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(p[i]) / 32.0f;
    }
}

inline std::size_t type_bytes(int type) { return type == TF_KERNEL_OTHER ? 1 : type == TF_KERNEL_F32 ? 4 : 2; }

inline void store_value(int type, char* p, float x) {
    if (type == TF_KERNEL_F16) {
        const std::uint16_t h = to_half(x);
        std::memcpy(p, &h, 2);
    } else if (type == TF_KERNEL_BF16) {
        std::uint32_t bits;
        std::memcpy(&bits, &x, 4);
        const auto h = static_cast<std::uint16_t>(std::isnan(x) ? 0x7fc0 : bits >> 16);
        std::memcpy(p, &h, 2);
    } else if (type == TF_KERNEL_F32) {
        std::memcpy(p, &x, 4);
    } else {
        *reinterpret_cast<std::int8_t*>(p) =
            static_cast<std::int8_t>(std::isnan(x) ? -128.0f : std::fmin(127.0f, std::fmax(-127.0f, std::round(x * 32.0f))));
    }
}

inline float load_value(int type, const char* p) {
    float x = 0.0f;
    if (type == TF_KERNEL_F16) {
        std::uint16_t h;
        std::memcpy(&h, p, 2);
        return half_value(h);
    }
    if (type == TF_KERNEL_BF16) {
        std::uint16_t h;
        std::memcpy(&h, p, 2);
        const std::uint32_t bits = static_cast<std::uint32_t>(h) << 16;
        std::memcpy(&x, &bits, 4);
    } else if (type == TF_KERNEL_F32) {
        std::memcpy(&x, p, 4);
    } else {
        bytes_to_f32(p, &x, 1);
    }
    return x;
}

/// Cells of K or of V: [cell][head][head_size], every cell NaN until it is written.
struct Cells {
    int type, heads, head_size;
    std::size_t head_bytes, cell_bytes;
    std::vector<char> data;
    std::vector<float> values;  ///< the same, read back

    Cells(int type, int n_cells, int heads, int head_size)
        : type(type),
          heads(heads),
          head_size(head_size),
          head_bytes(type_bytes(type) * static_cast<std::size_t>(head_size)),
          cell_bytes(head_bytes * static_cast<std::size_t>(heads)),
          data(cell_bytes * static_cast<std::size_t>(n_cells)),
          values(data.size() / type_bytes(type), std::numeric_limits<float>::quiet_NaN()) {
        for (std::size_t i = 0; i < data.size(); i += type_bytes(type)) {
            store_value(type, data.data() + i, std::numeric_limits<float>::quiet_NaN());
        }
    }
    std::size_t index(std::int64_t cell, int head, int d) const {
        return (static_cast<std::size_t>(cell) * static_cast<std::size_t>(heads) + static_cast<std::size_t>(head)) *
                   static_cast<std::size_t>(head_size) +
               static_cast<std::size_t>(d);
    }
    float value(std::int64_t cell, int head, int d) const { return values[index(cell, head, d)]; }
    void set(std::int64_t cell, int head, int d, float x) {
        char* p = data.data() + index(cell, head, d) * type_bytes(type);
        store_value(type, p, x);
        values[index(cell, head, d)] = load_value(type, p);
    }
    void fill(Random& random, std::int64_t cell, float size) {
        for (int h = 0; h < heads; ++h) {
            for (int d = 0; d < head_size; ++d) {
                set(cell, h, d, uniform(random, -size, size));
            }
        }
    }
};

struct Reference {
    std::vector<double> out;
    double largest_score = 0;  ///< before any bias
    double score_spread = 0;   ///< largest sqrt(sum (q_d k_d)^2): what rounding the query perturbs
};

/// One query row over the cells [first, end) of a block table.
inline Reference attend(const float* q, const Cells& k, const Cells& v, int head_kv, const std::int32_t* table, int page_shift, int first,
                        int end, float scale, float softcap, float slope, const float* sink) {
    Reference result;
    result.out.assign(static_cast<std::size_t>(v.head_size), 0.0);
    const auto cell_of = [&](int i) {
        return (static_cast<std::int64_t>(table[i >> page_shift]) << page_shift) + (i & ((1 << page_shift) - 1));
    };
    std::vector<double> scores;
    double max = sink ? *sink : -std::numeric_limits<double>::infinity();
    for (int i = first; i < end; ++i) {
        double s = 0;
        double squares = 0;
        for (int d = 0; d < k.head_size; ++d) {
            const double x = static_cast<double>(q[d]) * scale * k.value(cell_of(i), head_kv, d);
            s += x;
            squares += x * x;
        }
        result.largest_score = std::fmax(result.largest_score, std::fabs(s));
        result.score_spread = std::fmax(result.score_spread, std::sqrt(squares));
        if (softcap != 0.0f) {
            s = softcap * std::tanh(s / softcap);
        }
        s += static_cast<double>(slope) * (i - (end - 1));
        scores.push_back(s);
        max = std::fmax(max, s);
    }
    double sum = sink ? std::exp(*sink - max) : 0.0;
    for (int i = first; i < end; ++i) {
        const double p = std::exp(scores[static_cast<std::size_t>(i - first)] - max);
        sum += p;
        for (int d = 0; d < v.head_size; ++d) {
            result.out[static_cast<std::size_t>(d)] += p * v.value(cell_of(i), head_kv, d);
        }
    }
    for (double& x : result.out) {
        x = sum > 0 ? x / sum : 0;
    }
    return result;
}

}  // namespace tfserve::paged::test
