// The kernel for any processor and any head size: plain loops that compilers vectorise. Rows are converted to F32 first.
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

template <int NR>
void dot_rows(const float* q, int dk, const TileRows& k, int n, float* s) {
    constexpr int lanes = 8;
    for (int c = 0; c < n; ++c) {
        const float* x = row_of(k, c);
        float acc[NR][lanes] = {};
        int d = 0;
        for (; d + lanes <= dk; d += lanes) {
            TF_UNROLL for (int r = 0; r < NR; ++r) {
                TF_UNROLL for (int i = 0; i < lanes; ++i) { acc[r][i] += q[r * dk + d + i] * x[d + i]; }
            }
        }
        for (; d < dk; ++d) {
            TF_UNROLL for (int r = 0; r < NR; ++r) { acc[r][0] += q[r * dk + d] * x[d]; }
        }
        for (int r = 0; r < NR; ++r) {
            const float* a = acc[r];
            s[r * kTile + c] = ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]));
        }
    }
}

void scores(int n_rows, const void* q, int dk, const TileRows& k, const float*, int n, float* s) {
    const float* x = static_cast<const float*>(q);
    TF_KERNEL_ROWS(n_rows, dot_rows<NR>(x, dk, k, n, s))
}

void accumulate(int n_rows, const float* p, const TileRows& v, const float*, int n, int dv, float* o) {
    for (int r = 0; r < n_rows; ++r, p += kTile, o += dv) {
        int c = 0;
        for (; c + 4 <= n; c += 4) {  // four rows at once: the result is loaded and stored a quarter as often
            const float *v0 = row_of(v, c), *v1 = row_of(v, c + 1), *v2 = row_of(v, c + 2), *v3 = row_of(v, c + 3);
            const float p0 = p[c], p1 = p[c + 1], p2 = p[c + 2], p3 = p[c + 3];
            for (int d = 0; d < dv; ++d) {
                o[d] += (p0 * v0[d] + p1 * v1[d]) + (p2 * v2[d] + p3 * v3[d]);
            }
        }
        for (; c < n; ++c) {
            const float* x = row_of(v, c);
            for (int d = 0; d < dv; ++d) {
                o[d] += p[c] * x[d];
            }
        }
    }
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
