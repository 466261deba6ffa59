// AVX2 + FMA + F16C: vectors of 8.
#pragma once

#include <immintrin.h>

namespace {

struct Avx2 {
    using Vector = __m256;
    static constexpr int kLanes = 8;
    // 16 registers: 3 rows x 4 cells (or 6 x 2 vectors) of accumulators, the rest for what is multiplied
    static constexpr int kDotRows = 3;
    static constexpr int kPackedVectors = 2;
    static constexpr int kPackRows = 18;  ///< rows from which transposing the keys pays
    static constexpr int value_vectors(int rows) { return rows == 1 ? 8 : rows <= 3 ? 4 : 2; }

    static inline Vector zero() { return _mm256_setzero_ps(); }
    static inline Vector set(float x) { return _mm256_set1_ps(x); }
    static inline Vector broadcast(const float* p) { return _mm256_broadcast_ss(p); }
    static inline Vector load(const float* p) { return _mm256_loadu_ps(p); }
    static inline void store(float* p, Vector x) { _mm256_storeu_ps(p, x); }
    static inline Vector load_f16(const char* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
    static inline Vector load_bf16(const char* p) {
        const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
        return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
    }

    static inline Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
    static inline Vector sub(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
    static inline Vector mul(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
    static inline Vector div(Vector a, Vector b) { return _mm256_div_ps(a, b); }
    static inline Vector max(Vector a, Vector b) { return _mm256_max_ps(a, b); }
    static inline Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
    static inline Vector abs(Vector x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }
    static inline Vector copy_sign(Vector magnitude, Vector sign) {
        return _mm256_or_ps(magnitude, _mm256_and_ps(sign, _mm256_set1_ps(-0.0f)));
    }
    static inline __m256i lanes_from(int first) {
        return _mm256_add_epi32(_mm256_set1_epi32(first), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    }
    static inline Vector iota(int first) { return _mm256_cvtepi32_ps(lanes_from(first)); }
    /// Lanes [lo, hi) of x, `other` elsewhere.
    static inline Vector keep(Vector x, int lo, int hi, Vector other) {
        const __m256i lane = lanes_from(0);
        const __m256i below = _mm256_cmpgt_epi32(_mm256_set1_epi32(lo), lane);
        const __m256i inside = _mm256_andnot_si256(below, _mm256_cmpgt_epi32(_mm256_set1_epi32(hi), lane));
        return _mm256_blendv_ps(other, x, _mm256_castsi256_ps(inside));
    }

    /// exp of x <= 0, relative error about 2e-7; zero below -87.
    static inline Vector exp(Vector x) {
        const Vector least = _mm256_set1_ps(-87.0f);
        const Vector visible = _mm256_cmp_ps(x, least, _CMP_GT_OQ);
        x = _mm256_max_ps(x, least);
        const Vector n =
            _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504088896341f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        Vector f = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693145751953125f), x);
        f = _mm256_fnmadd_ps(n, _mm256_set1_ps(1.42860682030941723e-6f), f);
        Vector p = _mm256_set1_ps(1.0f / 720.0f);
        p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0f / 120.0f));
        p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0f / 24.0f));
        p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0f / 6.0f));
        p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0.5f));
        p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0f));
        p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0f));
        const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
        return _mm256_and_ps(visible, _mm256_mul_ps(p, _mm256_castsi256_ps(power)));
    }
    static inline float exp1(float x) { return _mm256_cvtss_f32(exp(_mm256_set1_ps(x))); }

    static inline float largest(Vector v) {
        __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        m = _mm_max_ps(m, _mm_movehl_ps(m, m));
        return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
    }
    static inline float sum(Vector v) {
        __m128 m = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        m = _mm_add_ps(m, _mm_movehl_ps(m, m));
        return _mm_cvtss_f32(_mm_add_ss(m, _mm_movehdup_ps(m)));
    }
    /// p[0..3] = the sums of a, b, c, d
    static inline void store_sums(float* p, Vector a, Vector b, Vector c, Vector d) {
        const Vector s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
        _mm_storeu_ps(p, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
    }

    static inline void transpose(Vector (&x)[8]) {
        const Vector a0 = _mm256_unpacklo_ps(x[0], x[1]), a1 = _mm256_unpackhi_ps(x[0], x[1]);
        const Vector a2 = _mm256_unpacklo_ps(x[2], x[3]), a3 = _mm256_unpackhi_ps(x[2], x[3]);
        const Vector a4 = _mm256_unpacklo_ps(x[4], x[5]), a5 = _mm256_unpackhi_ps(x[4], x[5]);
        const Vector a6 = _mm256_unpacklo_ps(x[6], x[7]), a7 = _mm256_unpackhi_ps(x[6], x[7]);
        const Vector b0 = _mm256_shuffle_ps(a0, a2, 0x44), b1 = _mm256_shuffle_ps(a0, a2, 0xee);
        const Vector b2 = _mm256_shuffle_ps(a1, a3, 0x44), b3 = _mm256_shuffle_ps(a1, a3, 0xee);
        const Vector b4 = _mm256_shuffle_ps(a4, a6, 0x44), b5 = _mm256_shuffle_ps(a4, a6, 0xee);
        const Vector b6 = _mm256_shuffle_ps(a5, a7, 0x44), b7 = _mm256_shuffle_ps(a5, a7, 0xee);
        x[0] = _mm256_permute2f128_ps(b0, b4, 0x20);
        x[1] = _mm256_permute2f128_ps(b1, b5, 0x20);
        x[2] = _mm256_permute2f128_ps(b2, b6, 0x20);
        x[3] = _mm256_permute2f128_ps(b3, b7, 0x20);
        x[4] = _mm256_permute2f128_ps(b0, b4, 0x31);
        x[5] = _mm256_permute2f128_ps(b1, b5, 0x31);
        x[6] = _mm256_permute2f128_ps(b2, b6, 0x31);
        x[7] = _mm256_permute2f128_ps(b3, b7, 0x31);
    }
};

}  // namespace
