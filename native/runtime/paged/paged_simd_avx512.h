// AVX-512 F, BW, VL and DQ: vectors of 16.
#pragma once

#include "paged_kernel_driver.h"

#include <immintrin.h>

namespace {

struct Avx512 {
    using Vector = __m512;
    static constexpr int kLanes = 16;
    // 32 registers: 6 rows x 4 cells or vectors of accumulators
    static constexpr int kDotRows = 6;
    static constexpr int kPackedVectors = 4;
    static constexpr int kPackRows = 22;  ///< rows from which transposing the keys pays
    static constexpr int value_vectors(int rows) { return rows == 1 ? 8 : 4; }

    static inline Vector zero() { return _mm512_setzero_ps(); }
    static inline Vector set(float x) { return _mm512_set1_ps(x); }
    static inline Vector broadcast(const float* p) { return _mm512_set1_ps(*p); }
    static inline Vector load(const float* p) { return _mm512_loadu_ps(p); }
    static inline void store(float* p, Vector x) { _mm512_storeu_ps(p, x); }
    static inline Vector load_f16(const char* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
    static inline Vector load_bf16(const char* p) {
        const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
        return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
    }

    static inline Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
    static inline Vector sub(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
    static inline Vector mul(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
    static inline Vector div(Vector a, Vector b) { return _mm512_div_ps(a, b); }
    static inline Vector max(Vector a, Vector b) { return _mm512_max_ps(a, b); }
    static inline Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
    static inline Vector abs(Vector x) { return _mm512_abs_ps(x); }
    static inline Vector copy_sign(Vector magnitude, Vector sign) {
        return _mm512_or_ps(magnitude, _mm512_and_ps(sign, _mm512_set1_ps(-0.0f)));
    }
    static inline Vector iota(int first) {
        const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        return _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_set1_epi32(first), lane));
    }
    /// Lanes [lo, hi) of x, `other` elsewhere.
    static inline Vector keep(Vector x, int lo, int hi, Vector other) {
        const unsigned below_hi = hi >= kLanes ? 0xffffu : (1u << hi) - 1;
        const unsigned below_lo = lo > 0 ? (1u << lo) - 1 : 0;
        return _mm512_mask_blend_ps(static_cast<__mmask16>(below_hi & ~below_lo), other, x);
    }

    /// exp of x <= 0, relative error about 2e-7; vanishes towards -110.
    static inline Vector exp(Vector x) {
        x = _mm512_max_ps(x, _mm512_set1_ps(-110.0f));
        const Vector n =
            _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        Vector f = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693145751953125f), x);
        f = _mm512_fnmadd_ps(n, _mm512_set1_ps(1.42860682030941723e-6f), f);
        Vector p = _mm512_set1_ps(1.0f / 720.0f);
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f / 120.0f));
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f / 24.0f));
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f / 6.0f));
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.5f));
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
        return _mm512_scalef_ps(p, n);
    }
    static inline float exp1(float x) { return _mm512_cvtss_f32(exp(_mm512_set1_ps(x))); }

    static inline float largest(Vector v) { return _mm512_reduce_max_ps(v); }
    static inline float sum(Vector v) { return _mm512_reduce_add_ps(v); }
    /// p[0..3] = the sums of a, b, c, d
    static inline void store_sums(float* p, Vector a, Vector b, Vector c, Vector d) {
        const Vector ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));  // a b a b in each 128 bits
        const Vector cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        const Vector s = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
        const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(s), _mm512_extractf32x8_ps(s, 1));
        _mm_storeu_ps(p, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
    }

    static inline void transpose(Vector (&x)[16]) {
        Vector a[16], b[16];
        TF_UNROLL for (int i = 0; i < 16; i += 2) {
            a[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
            a[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
        }
        TF_UNROLL for (int i = 0; i < 16; i += 4) {  // 4 x 4 blocks are done
            b[i] = _mm512_shuffle_ps(a[i], a[i + 2], 0x44);
            b[i + 1] = _mm512_shuffle_ps(a[i], a[i + 2], 0xee);
            b[i + 2] = _mm512_shuffle_ps(a[i + 1], a[i + 3], 0x44);
            b[i + 3] = _mm512_shuffle_ps(a[i + 1], a[i + 3], 0xee);
        }
        TF_UNROLL for (int i = 0; i < 4; ++i) {  // now the blocks among each other
            a[i] = _mm512_shuffle_f32x4(b[i], b[4 + i], 0x88);
            a[4 + i] = _mm512_shuffle_f32x4(b[i], b[4 + i], 0xdd);
            a[8 + i] = _mm512_shuffle_f32x4(b[8 + i], b[12 + i], 0x88);
            a[12 + i] = _mm512_shuffle_f32x4(b[8 + i], b[12 + i], 0xdd);
        }
        TF_UNROLL for (int i = 0; i < 4; ++i) {
            x[i] = _mm512_shuffle_f32x4(a[i], a[8 + i], 0x88);
            x[8 + i] = _mm512_shuffle_f32x4(a[i], a[8 + i], 0xdd);
            x[4 + i] = _mm512_shuffle_f32x4(a[4 + i], a[12 + i], 0x88);
            x[12 + i] = _mm512_shuffle_f32x4(a[4 + i], a[12 + i], 0xdd);
        }
    }
};

}  // namespace
