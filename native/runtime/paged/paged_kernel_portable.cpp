// The kernel for any processor and any head size: plain loops that compilers vectorise, and products of vectors of four
// where these would not do. Rows are converted to F32 first.
#include "paged_kernel_driver.h"

#include <math.h>

namespace {

inline float from_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

#if !defined(__ARM_FP16_FORMAT_IEEE)
/// Without branches, so that loops of it vectorise. Scaling by 2^112 puts the exponent right, for subnormals too.
inline float half_to_float(uint16_t half) {
    const uint32_t magnitude = static_cast<uint32_t>(half & 0x7fff) << 13;
    const float scaled = from_bits(magnitude) * from_bits(0x77800000u);
    uint32_t bits;
    memcpy(&bits, &scaled, sizeof(bits));
    bits |= magnitude >= 0x0f800000u ? 0x7f800000u : 0;  // infinity and NaN
    return from_bits(bits | static_cast<uint32_t>(half & 0x8000) << 16);
}
#endif

void f16_to_f32(const void* src, float* dst, int64_t n) {
#if defined(__ARM_FP16_FORMAT_IEEE)
    const __fp16* p = static_cast<const __fp16*>(src);
    for (int64_t i = 0; i < n; ++i) {
        dst[i] = p[i];
    }
#else
    const uint16_t* p = static_cast<const uint16_t*>(src);
    for (int64_t i = 0; i < n; ++i) {
        dst[i] = half_to_float(p[i]);
    }
#endif
}

void bf16_to_f32(const void* src, float* dst, int64_t n) {
    const uint16_t* p = static_cast<const uint16_t*>(src);
    for (int64_t i = 0; i < n; ++i) {
        dst[i] = from_bits(static_cast<uint32_t>(p[i]) << 16);
    }
}

/// exp of x <= 0, relative error about 2e-7; zero below -87. No call and no branch.
inline float exp_negative(float x) {
    const float clamped = x > -87.0f ? x : -87.0f;
    const float shifted = clamped * 1.44269504088896341f + 12582912.0f;  // rounds to an integer in the low bits
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof(bits));
    const float n = shifted - 12582912.0f;
    const float f = (clamped - n * 0.693145751953125f) - n * 1.42860682030941723e-6f;
    float p = 1.0f / 720.0f;
    p = p * f + 1.0f / 120.0f;
    p = p * f + 1.0f / 24.0f;
    p = p * f + 1.0f / 6.0f;
    p = p * f + 0.5f;
    p = p * f + 1.0f;
    p = p * f + 1.0f;
    const float result = p * from_bits((bits - 0x4b400000u + 127u) << 23);
    return x > -87.0f ? result : 0.0f;
}

inline const float* row_of(const TileRows& rows, int c) { return reinterpret_cast<const float*>(rows.row[c] + rows.offset); }

// Four values: a register of SSE2 and NEON, spelled for GCC and Clang; elsewhere it becomes scalars.
typedef float Four __attribute__((vector_size(16)));

inline Four load4(const float* p) {
    Four x;
    memcpy(&x, p, sizeof(x));
    return x;
}

/// Two cells at a time; the row after the last one is read, too: its pointer is valid.
template <int NR>
void dot_rows(const float* q, int dk, const TileRows& k, int n, float* s) {
    for (int c = 0; c < n; c += 2) {
        const float *k0 = row_of(k, c), *k1 = row_of(k, c + 1);
        Four acc[NR][2];
        TF_UNROLL for (int r = 0; r < NR; ++r) { acc[r][0] = acc[r][1] = Four{0, 0, 0, 0}; }
        int d = 0;
        for (; d + 4 <= dk; d += 4) {
            const Four x0 = load4(k0 + d), x1 = load4(k1 + d);
            TF_UNROLL for (int r = 0; r < NR; ++r) {
                const Four query = load4(q + r * dk + d);
                acc[r][0] += query * x0;
                acc[r][1] += query * x1;
            }
        }
        for (int r = 0; r < NR; ++r) {
            for (int i = 0; i < 2; ++i) {
                const Four a = acc[r][i];
                float sum = (a[0] + a[2]) + (a[1] + a[3]);
                for (int rest = d; rest < dk; ++rest) {
                    sum += q[r * dk + rest] * (i ? k1 : k0)[rest];
                }
                s[r * kTile + c + i] = sum;
            }
        }
    }
}

void scores(int n_rows, const void* q, int dk, const TileRows& k, const float*, int n, float* s) {
    const float* x = static_cast<const float*>(q);
    TF_KERNEL_ROWS(n_rows, dot_rows<NR>(x, dk, k, n, s))
}

template <int NR>
void add_values(const float* p, const TileRows& v, int n, int dv, float* o) {
    int d = 0;
    for (; d + 8 <= dv; d += 8) {
        Four acc[NR][2];
        TF_UNROLL for (int r = 0; r < NR; ++r) {
            acc[r][0] = load4(o + r * dv + d);
            acc[r][1] = load4(o + r * dv + d + 4);
        }
        for (int c = 0; c < n; ++c) {
            const float* row = row_of(v, c) + d;
            const Four x0 = load4(row), x1 = load4(row + 4);
            TF_UNROLL for (int r = 0; r < NR; ++r) {
                const float weight = p[r * kTile + c];
                acc[r][0] += weight * x0;
                acc[r][1] += weight * x1;
            }
        }
        TF_UNROLL for (int r = 0; r < NR; ++r) { memcpy(o + r * dv + d, acc[r], sizeof(acc[r])); }
    }
    for (; d < dv; ++d) {
        for (int c = 0; c < n; ++c) {
            for (int r = 0; r < NR; ++r) {
                o[r * dv + d] += p[r * kTile + c] * row_of(v, c)[d];
            }
        }
    }
}

void accumulate(int n_rows, const float* p, const TileRows& v, const float*, int n, int dv, float* o) {
    TF_KERNEL_ROWS(n_rows, add_values<NR>(p, v, n, dv, o))
}

struct Portable {
    static constexpr int kLanes = 1;

    static Path path(int k_type, int v_type, int, int, int) {
        const auto converter = [](int type) -> tf_kernel_to_f32 {
            return type == TF_KERNEL_F16 ? f16_to_f32 : type == TF_KERNEL_BF16 ? bf16_to_f32 : nullptr;
        };
        return {4, sizeof(float), nullptr, converter(k_type), converter(v_type), nullptr, nullptr, scores, accumulate};
    }

    static float softmax_row(float* s, int lo, int hi, int padded, const ScoreBias& bias, RowState& state) {
        float max = state.max;
        for (int c = lo; c < hi; ++c) {
            if (bias.softcap != 0.0f) {
                s[c] = bias.softcap * tanhf(s[c] / bias.softcap);
            }
            if (bias.slope != 0.0f) {
                s[c] += bias.slope * static_cast<float>(c + bias.distance);
            }
            max = s[c] > max ? s[c] : max;
        }
        if (max == kMinusInfinity) {
            memset(s, 0, static_cast<size_t>(padded) * sizeof(float));
            return 1.0f;
        }
        for (int c = 0; c < lo; ++c) {
            s[c] = 0.0f;
        }
        for (int c = lo; c < hi; ++c) {
            s[c] = exp_negative(s[c] - max);
        }
        for (int c = hi; c < padded; ++c) {
            s[c] = 0.0f;
        }
        const float factor = state.max == kMinusInfinity ? 0.0f : exp(state.max - max);
        float sum = state.sum * factor;
        for (int c = lo; c < hi; ++c) {
            sum += s[c];
        }
        state = {max, sum};
        return factor;
    }

    static void scale(float* dst, const float* src, int n, float factor) {
        for (int i = 0; i < n; ++i) {
            dst[i] = src[i] * factor;
        }
    }

    static float exp(float x) { return expf(x); }
};

int accepts(int, int) { return 1; }

const tf_kernel kernel = {"portable", run_job<Portable>, scratch_bytes, accepts};

}  // namespace

extern "C" const struct tf_kernel* tf_kernel_portable(void) { return &kernel; }
