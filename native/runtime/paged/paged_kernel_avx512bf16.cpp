// AVX-512 with products of BF16 pairs: where the cache is BF16, queries and softmax weights are rounded to BF16, too, and
// vdpbf16ps multiplies twice as many values as an F32 product. Other caches are handled as by the avx512 kernel.
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__) && defined(__AVX512BF16__)

#include "paged_simd_avx512.h"

#include "paged_kernel_simd.h"

namespace {

// The intrinsics' BF16 vector type is spelled by a cast of the bits.
inline __m512bh as_pairs(__m512i x) { return reinterpret_cast<__m512bh>(x); }
inline __m512bh load_pairs(const void* p) { return as_pairs(_mm512_loadu_si512(p)); }
inline __m512bh broadcast_pair(const uint16_t* p) {
    int32_t pair;
    memcpy(&pair, p, sizeof(pair));
    return as_pairs(_mm512_set1_epi32(pair));
}
/// 16 values, rounded to nearest. dst may overlap src: the vector is read before it is written.
inline void round_values(const float* src, uint16_t* dst) {
    const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_loadu_ps(src));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(dst), reinterpret_cast<const __m256i&>(rounded));
}

/// In place: element i of 2 bytes lies before element i of 4.
void round_queries(float* q, size_t n) {
    uint16_t* out = reinterpret_cast<uint16_t*>(q);
    for (size_t i = 0; i < n; i += 16) {
        round_values(q + i, out + i);
    }
}

/// Softmax weights of a row block, rounded.
struct Weights {
    uint16_t p[kMaxRowBlock * kTile];

    Weights(int n_rows, const float* weights, int n) {
        for (int r = 0; r < n_rows; ++r) {
            for (int c = 0; c < n; c += 16) {
                round_values(weights + r * kTile + c, p + r * kTile + c);
            }
        }
    }
};

// ---- few rows ---------------------------------------------------------------------------------

template <int NR>
void dot_pairs(const uint16_t* q, int dk, const TileRows& k, int n, float* s) {
    for (int c = 0; c < n; c += 4) {
        TF_PREFETCH_ROWS(k, c, 0, dk * 2)
        __m512 acc[NR][4];
        TF_UNROLL for (int r = 0; r < NR; ++r) {
            TF_UNROLL for (int i = 0; i < 4; ++i) { acc[r][i] = _mm512_setzero_ps(); }
        }
        const char* row[4] = {k.row[c] + k.offset, k.row[c + 1] + k.offset, k.row[c + 2] + k.offset, k.row[c + 3] + k.offset};
        for (int d = 0; d < dk; d += 32) {
            __m512bh query[NR];
            TF_UNROLL for (int r = 0; r < NR; ++r) { query[r] = load_pairs(q + r * dk + d); }
            TF_UNROLL for (int i = 0; i < 4; ++i) {
                const __m512bh key = load_pairs(row[i] + 2 * d);
                TF_UNROLL for (int r = 0; r < NR; ++r) { acc[r][i] = _mm512_dpbf16_ps(acc[r][i], query[r], key); }
            }
        }
        TF_UNROLL for (int r = 0; r < NR; ++r) { Avx512::store_sums(s + r * kTile + c, acc[r][0], acc[r][1], acc[r][2], acc[r][3]); }
    }
}

void pair_scores(int n_rows, const void* q, int dk, const TileRows& k, const float*, int n, float* s) {
    TF_KERNEL_ROWS(n_rows, dot_pairs<NR>(static_cast<const uint16_t*>(q), dk, k, n, s))
}

/// Values of two cells at a time, 32 * NZ dimensions from d0 on. Interleaving two rows of 32 values gives two vectors of
/// pairs, whose dimensions are 0-3 8-11 16-19 24-27 and 4-7 12-15 20-23 28-31: results are kept in that order meanwhile.
template <int NR, int NZ>
void add_value_pairs(const uint16_t* p, const TileRows& v, int n, int d0, int dv, float* o) {
    const __m512i take_low = _mm512_setr_epi32(0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    const __m512i take_high = _mm512_setr_epi32(4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    const __m512i give_first = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i give_second = _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
    __m512 low[NR][NZ], high[NR][NZ];
    TF_UNROLL for (int r = 0; r < NR; ++r) {
        TF_UNROLL for (int z = 0; z < NZ; ++z) {
            const float* at = o + r * dv + d0 + 32 * z;
            const __m512 first = _mm512_loadu_ps(at), second = _mm512_loadu_ps(at + 16);
            low[r][z] = _mm512_permutex2var_ps(first, take_low, second);
            high[r][z] = _mm512_permutex2var_ps(first, take_high, second);
        }
    }
    for (int c = 0; c < n; c += 2) {
        if ((c & 3) == 0) {
            TF_PREFETCH_ROWS(v, c, 2 * d0, 64 * NZ)
        }
        const char* row0 = v.row[c] + v.offset + 2 * d0;
        const char* row1 = v.row[c + 1] + v.offset + 2 * d0;
        __m512bh value_low[NZ], value_high[NZ];
        TF_UNROLL for (int z = 0; z < NZ; ++z) {
            const __m512i a = _mm512_loadu_si512(row0 + 64 * z), b = _mm512_loadu_si512(row1 + 64 * z);
            value_low[z] = as_pairs(_mm512_unpacklo_epi16(a, b));
            value_high[z] = as_pairs(_mm512_unpackhi_epi16(a, b));
        }
        TF_UNROLL for (int r = 0; r < NR; ++r) {
            const __m512bh weight = broadcast_pair(p + r * kTile + c);
            TF_UNROLL for (int z = 0; z < NZ; ++z) {
                low[r][z] = _mm512_dpbf16_ps(low[r][z], weight, value_low[z]);
                high[r][z] = _mm512_dpbf16_ps(high[r][z], weight, value_high[z]);
            }
        }
    }
    TF_UNROLL for (int r = 0; r < NR; ++r) {
        TF_UNROLL for (int z = 0; z < NZ; ++z) {
            float* at = o + r * dv + d0 + 32 * z;
            _mm512_storeu_ps(at, _mm512_permutex2var_ps(low[r][z], give_first, high[r][z]));
            _mm512_storeu_ps(at + 16, _mm512_permutex2var_ps(low[r][z], give_second, high[r][z]));
        }
    }
}

template <int NR>
inline void add_value_pair_rows(const float* weights, const uint16_t* p, const TileRows& v, int n, int dv, float* o) {
    int d = 0;
    for (; d + 64 <= dv; d += 64) {
        add_value_pairs<NR, 2>(p, v, n, d, dv, o);
    }
    for (; d + 32 <= dv; d += 32) {
        add_value_pairs<NR, 1>(p, v, n, d, dv, o);
    }
    if (d < dv) {
        add_values<Avx512, BF16, NR, 1>(weights, v, n, d, dv, o);
    }
}

void accumulate_pairs(int n_rows, const float* p, const TileRows& v, const float*, int n, int dv, float* o) {
    const Weights weights(n_rows, p, n);
    TF_KERNEL_ROWS(n_rows, add_value_pair_rows<NR>(p, weights.p, v, n, dv, o))
}

// ---- many rows --------------------------------------------------------------------------------

/// Word packed[(d/2)*kTile + c] = dimensions d and d + 1 of cell c.
void pack_key_pairs(const TileRows& k, int n, int dk, float* packed) {
    for (int c = 0; c < n; c += 16) {
        for (int i = 0; i < 16; i += 4) {
            TF_PREFETCH_ROWS(k, c + i, 0, dk * 2)
        }
        for (int d = 0; d < dk; d += 32) {
            __m512 x[16];
            TF_UNROLL for (int i = 0; i < 16; ++i) { x[i] = _mm512_loadu_ps(k.row[c + i] + k.offset + 2 * d); }
            Avx512::transpose(x);
            TF_UNROLL for (int i = 0; i < 16; ++i) { _mm512_storeu_ps(packed + (d / 2 + i) * kTile + c, x[i]); }
        }
    }
}

/// Word packed[(c/2)*dv + d] = cells c and c + 1 of dimension d.
void pack_value_pairs(const TileRows& v, int n, int dv, float* packed) {
    for (int c = 0; c < n; c += 2) {
        if ((c & 3) == 0) {
            TF_PREFETCH_ROWS(v, c, 0, dv * 2)
        }
        const char* row0 = v.row[c] + v.offset;
        const char* row1 = v.row[c + 1] + v.offset;
        for (int d = 0; d < dv; d += 16) {
            const __m512i a = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row0 + 2 * d)));
            const __m512i b = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row1 + 2 * d)));
            _mm512_storeu_si512(packed + (c / 2) * dv + d, _mm512_or_si512(a, _mm512_slli_epi32(b, 16)));
        }
    }
}

/// out[r][16*NZ] (+)= sum over i < n of pair i of row r of `a` x pairs i of `x`; row and column strides in elements and words.
template <int NR, int NZ, bool add>
inline void multiply_pairs(const uint16_t* a, int a_row, const float* x, int x_row, int n, float* out, int out_row) {
    __m512 acc[NR][NZ];
    TF_UNROLL for (int r = 0; r < NR; ++r) {
        TF_UNROLL for (int z = 0; z < NZ; ++z) { acc[r][z] = add ? _mm512_loadu_ps(out + r * out_row + 16 * z) : _mm512_setzero_ps(); }
    }
    for (int i = 0; i < n; ++i, x += x_row, a += 2) {
        __m512bh column[NZ];
        TF_UNROLL for (int z = 0; z < NZ; ++z) { column[z] = load_pairs(x + 16 * z); }
        TF_UNROLL for (int r = 0; r < NR; ++r) {
            const __m512bh factor = broadcast_pair(a + r * a_row);
            TF_UNROLL for (int z = 0; z < NZ; ++z) { acc[r][z] = _mm512_dpbf16_ps(acc[r][z], factor, column[z]); }
        }
    }
    TF_UNROLL for (int r = 0; r < NR; ++r) {
        TF_UNROLL for (int z = 0; z < NZ; ++z) { _mm512_storeu_ps(out + r * out_row + 16 * z, acc[r][z]); }
    }
}

/// `columns` rounded up to whole vectors.
template <int NR, bool add>
inline void multiply_pair_columns(int columns, const uint16_t* a, int a_row, const float* x, int x_row, int n, float* out, int out_row) {
    int c = 0;
    for (; c + 48 < columns; c += 64) {
        multiply_pairs<NR, 4, add>(a, a_row, x + c, x_row, n, out + c, out_row);
    }
    for (; c + 16 < columns; c += 32) {
        multiply_pairs<NR, 2, add>(a, a_row, x + c, x_row, n, out + c, out_row);
    }
    for (; c < columns; c += 16) {
        multiply_pairs<NR, 1, add>(a, a_row, x + c, x_row, n, out + c, out_row);
    }
}

void packed_pair_scores(int n_rows, const void* q, int dk, const TileRows&, const float* packed, int n, float* s) {
    const uint16_t* queries = static_cast<const uint16_t*>(q);
    TF_KERNEL_ROWS(n_rows, (multiply_pair_columns<NR, false>(n, queries, dk, packed, kTile, dk / 2, s, kTile)))
}

void accumulate_packed_pairs(int n_rows, const float* p, const TileRows&, const float* packed, int n, int dv, float* o) {
    const Weights weights(n_rows, p, n);
    TF_KERNEL_ROWS(n_rows, (multiply_pair_columns<NR, true>(dv, weights.p, kTile, packed, dv, (n + 1) / 2, o, dv)))
}

struct Avx512Bf16 : SimdIsa<Avx512> {
    static constexpr int kPackPairRows = 16;  ///< as Avx512::kPackRows; pairs need no conversion to be packed

    static Path path(int k_type, int v_type, int rows, int dk, int) {
        const bool keys = k_type == TF_KERNEL_BF16 && dk % 32 == 0;
        const bool values = v_type == TF_KERNEL_BF16;
        const bool many = rows >= (keys && values ? kPackPairRows : Avx512::kPackRows);
        Path path = path_for(k_type, v_type, many);
        if (!many) {
            if (keys) {
                path.scores = pair_scores;
            }
            if (values) {
                path.accumulate = accumulate_pairs;
            }
        } else {
            if (keys) {
                path.pack_k = pack_key_pairs;
                path.scores = packed_pair_scores;
            }
            if (values) {
                path.v_to_f32 = nullptr;
                path.pack_v = pack_value_pairs;
                path.accumulate = accumulate_packed_pairs;
            }
        }
        if (keys) {
            path.query_bytes = sizeof(uint16_t);
            path.prepare_queries = round_queries;
        }
        return path;
    }
};

const tf_kernel kernel = {"avx512bf16", run_job<Avx512Bf16>, scratch_bytes, accepts_multiples<Avx512::kLanes>};

}  // namespace

extern "C" const struct tf_kernel* tf_kernel_avx512bf16(void) { return &kernel; }

#else

#include "paged_kernel.h"

extern "C" const struct tf_kernel* tf_kernel_avx512bf16(void) { return nullptr; }

#endif
