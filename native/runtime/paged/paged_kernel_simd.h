// The products and the softmax of the vector kernels, written once over a vector type V (paged_simd_avx2.h, ..._avx512.h).
//
// Few rows (decode): dot products straight from the cache's rows; each key or value vector is loaded and converted once for
// all rows of a block, which is what grouped queries gain from. Many rows (prefill): a key tile is transposed once, then
// multiplied as a matrix product with a block of rows x cells held in registers.
#pragma once

#include "kernel_elements.h"
#include "paged_kernel_driver.h"

// Four rows of the next tile, into the second-level cache. A macro: GCC takes a function that only prefetches for a pure
// one and drops the call.
#define TF_PREFETCH_ROWS(rows, c, bytes0, bytes)                                     \
    if ((rows).next) {                                                               \
        for (int row_ = 0; row_ < 4; ++row_) {                                       \
            const char* start_ = (rows).next[(c) + row_] + (rows).offset + (bytes0); \
            for (int byte_ = 0; byte_ < (bytes); byte_ += 64) {                      \
                _mm_prefetch(start_ + byte_, _MM_HINT_T1);                           \
            }                                                                        \
        }                                                                            \
    }

namespace {

// ---- few rows ---------------------------------------------------------------------------------

/// Rows past n up to the next multiple of 4 are read, too: their pointers are valid.
template <class V, class E, int NR>
void dot_rows(const float* q, int dk, const TileRows& k, int n, float* s) {
    using Vector = typename V::Vector;
    for (int c = 0; c < n; c += 4) {
        TF_PREFETCH_ROWS(k, c, 0, dk * E::kBytes)
        Vector acc[NR][4];
        TF_UNROLL for (int r = 0; r < NR; ++r) {
            TF_UNROLL for (int i = 0; i < 4; ++i) { acc[r][i] = V::zero(); }
        }
        const char* row[4] = {k.row[c] + k.offset, k.row[c + 1] + k.offset, k.row[c + 2] + k.offset, k.row[c + 3] + k.offset};
        for (int d = 0; d < dk; d += V::kLanes) {
            Vector query[NR];
            TF_UNROLL for (int r = 0; r < NR; ++r) { query[r] = V::load(q + r * dk + d); }
            TF_UNROLL for (int i = 0; i < 4; ++i) {
                const Vector key = E::template load<V>(row[i] + d * E::kBytes);
                TF_UNROLL for (int r = 0; r < NR; ++r) { acc[r][i] = V::fma(query[r], key, acc[r][i]); }
            }
        }
        TF_UNROLL for (int r = 0; r < NR; ++r) { V::store_sums(s + r * kTile + c, acc[r][0], acc[r][1], acc[r][2], acc[r][3]); }
    }
}

template <class V, class E>
void direct_scores(int n_rows, const void* q, int dk, const TileRows& k, const float*, int n, float* s) {
    const float* x = static_cast<const float*>(q);
    if constexpr (V::kDotRows == 3) {
        switch (n_rows) {
            case 1: dot_rows<V, E, 1>(x, dk, k, n, s); break;
            case 2: dot_rows<V, E, 2>(x, dk, k, n, s); break;
            default: dot_rows<V, E, 3>(x, dk, k, n, s); break;
        }
    } else {
        TF_KERNEL_ROWS(n_rows, (dot_rows<V, E, NR>(x, dk, k, n, s)))
    }
}

/// NZ vectors of the values, from dimension d0 on, for NR rows.
template <class V, class E, int NR, int NZ>
void add_values(const float* p, const TileRows& v, int n, int d0, int dv, float* o) {
    using Vector = typename V::Vector;
    Vector acc[NR][NZ];
    TF_UNROLL for (int r = 0; r < NR; ++r) {
        TF_UNROLL for (int z = 0; z < NZ; ++z) { acc[r][z] = V::load(o + r * dv + d0 + z * V::kLanes); }
    }
    for (int c = 0; c < n; ++c) {
        const char* row = v.row[c] + v.offset + d0 * E::kBytes;
        if ((c & 3) == 0) {
            TF_PREFETCH_ROWS(v, c, d0 * E::kBytes, NZ * V::kLanes * E::kBytes)
        }
        if constexpr (NZ > NR) {  // keep the fewer of the two in registers
            Vector weight[NR];
            TF_UNROLL for (int r = 0; r < NR; ++r) { weight[r] = V::broadcast(p + r * kTile + c); }
            TF_UNROLL for (int z = 0; z < NZ; ++z) {
                const Vector value = E::template load<V>(row + z * V::kLanes * E::kBytes);
                TF_UNROLL for (int r = 0; r < NR; ++r) { acc[r][z] = V::fma(weight[r], value, acc[r][z]); }
            }
        } else {
            Vector value[NZ];
            TF_UNROLL for (int z = 0; z < NZ; ++z) { value[z] = E::template load<V>(row + z * V::kLanes * E::kBytes); }
            TF_UNROLL for (int r = 0; r < NR; ++r) {
                const Vector weight = V::broadcast(p + r * kTile + c);
                TF_UNROLL for (int z = 0; z < NZ; ++z) { acc[r][z] = V::fma(weight, value[z], acc[r][z]); }
            }
        }
    }
    TF_UNROLL for (int r = 0; r < NR; ++r) {
        TF_UNROLL for (int z = 0; z < NZ; ++z) { V::store(o + r * dv + d0 + z * V::kLanes, acc[r][z]); }
    }
}

template <class V, class E, int NR>
inline void add_value_rows(const float* p, const TileRows& v, int n, int dv, float* o) {
    constexpr int wide = V::value_vectors(NR);
    int d = 0;
    for (; d + wide * V::kLanes <= dv; d += wide * V::kLanes) {
        add_values<V, E, NR, wide>(p, v, n, d, dv, o);
    }
    if constexpr (wide > 4) {
        for (; d + 4 * V::kLanes <= dv; d += 4 * V::kLanes) {
            add_values<V, E, NR, 4>(p, v, n, d, dv, o);
        }
    }
    if constexpr (wide > 2) {
        for (; d + 2 * V::kLanes <= dv; d += 2 * V::kLanes) {
            add_values<V, E, NR, 2>(p, v, n, d, dv, o);
        }
    }
    for (; d < dv; d += V::kLanes) {
        add_values<V, E, NR, 1>(p, v, n, d, dv, o);
    }
}

template <class V, class E>
void accumulate(int n_rows, const float* p, const TileRows& v, const float*, int n, int dv, float* o) {
    TF_KERNEL_ROWS(n_rows, (add_value_rows<V, E, NR>(p, v, n, dv, o)))
}

// ---- many rows --------------------------------------------------------------------------------

/// packed[d*kTile + c] = k[c][d], for n rounded up to whole vectors.
template <class V, class E>
void pack_transposed(const TileRows& k, int n, int dk, float* packed) {
    for (int c = 0; c < n; c += V::kLanes) {
        for (int i = 0; i < V::kLanes; i += 4) {
            TF_PREFETCH_ROWS(k, c + i, 0, dk * E::kBytes)
        }
        for (int d = 0; d < dk; d += V::kLanes) {
            typename V::Vector x[V::kLanes];
            TF_UNROLL for (int i = 0; i < V::kLanes; ++i) { x[i] = E::template load<V>(k.row[c + i] + k.offset + d * E::kBytes); }
            V::transpose(x);
            TF_UNROLL for (int i = 0; i < V::kLanes; ++i) { V::store(packed + (d + i) * kTile + c, x[i]); }
        }
    }
}

template <class V, class E>
void row_to_f32(const void* src, float* dst, int64_t n) {
    const char* p = static_cast<const char*>(src);
    for (int64_t i = 0; i < n; i += V::kLanes) {
        V::store(dst + i, E::template load<V>(p + i * E::kBytes));
    }
}

/// NR rows x NZ vectors of cells.
template <class V, int NR, int NZ>
inline void multiply_packed(const float* q, int dk, const float* packed, float* s) {
    using Vector = typename V::Vector;
    Vector acc[NR][NZ];
    TF_UNROLL for (int r = 0; r < NR; ++r) {
        TF_UNROLL for (int z = 0; z < NZ; ++z) { acc[r][z] = V::zero(); }
    }
    for (int d = 0; d < dk; ++d, packed += kTile) {
        Vector key[NZ];
        TF_UNROLL for (int z = 0; z < NZ; ++z) { key[z] = V::load(packed + z * V::kLanes); }
        TF_UNROLL for (int r = 0; r < NR; ++r) {
            const Vector query = V::broadcast(q + r * dk + d);
            TF_UNROLL for (int z = 0; z < NZ; ++z) { acc[r][z] = V::fma(query, key[z], acc[r][z]); }
        }
    }
    TF_UNROLL for (int r = 0; r < NR; ++r) {
        TF_UNROLL for (int z = 0; z < NZ; ++z) { V::store(s + r * kTile + z * V::kLanes, acc[r][z]); }
    }
}

template <class V, int NR>
inline void multiply_packed_rows(const float* q, int dk, const float* packed, int n, float* s) {
    constexpr int wide = V::kPackedVectors;
    int c = 0;
    for (; c + (wide - 1) * V::kLanes < n; c += wide * V::kLanes) {
        multiply_packed<V, NR, wide>(q, dk, packed + c, s + c);
    }
    if constexpr (wide > 2) {
        for (; c + V::kLanes < n; c += 2 * V::kLanes) {
            multiply_packed<V, NR, 2>(q, dk, packed + c, s + c);
        }
    }
    for (; c < n; c += V::kLanes) {
        multiply_packed<V, NR, 1>(q, dk, packed + c, s + c);
    }
}

template <class V>
void packed_scores(int n_rows, const void* q, int dk, const TileRows&, const float* packed, int n, float* s) {
    TF_KERNEL_ROWS(n_rows, (multiply_packed_rows<V, NR>(static_cast<const float*>(q), dk, packed, n, s)))
}

// ---- softmax ----------------------------------------------------------------------------------

/// tanh, relative error about 3e-7 for all x. |x| is a sum of s <= 1/4 and the rest r. tanh(s) is its power series, which is exact
/// near zero, where a cap far away leaves all scores; tanh(r) is (1 - e) / (1 + e) with e = exp(-2r); and
/// tanh(s + r) = (tanh(s) + tanh(r)) / (1 + tanh(s) tanh(r)).
template <class V>
inline typename V::Vector tanh_vector(typename V::Vector x) {
    using Vector = typename V::Vector;
    const Vector one = V::set(1.0f);
    const Vector size = V::abs(x);
    const Vector r = V::max(V::sub(size, V::set(0.25f)), V::zero());
    const Vector s = V::sub(size, r);
    const Vector s2 = V::mul(s, s);
    Vector p = V::set(62.0f / 2835.0f);
    p = V::fma(p, s2, V::set(-17.0f / 315.0f));
    p = V::fma(p, s2, V::set(2.0f / 15.0f));
    p = V::fma(p, s2, V::set(-1.0f / 3.0f));
    const Vector ts = V::fma(V::mul(p, s2), s, s);
    const Vector e = V::exp(V::mul(r, V::set(-2.0f)));
    const Vector above = V::sub(one, e), below = V::add(one, e);
    return V::copy_sign(V::div(V::fma(ts, below, above), V::fma(ts, above, below)), x);
}

/// Turns the scores of one row and tile into weights exp(score - max), updates max and sum in `state`, and returns the
/// factor by which the row's earlier results must shrink. Lanes outside of [lo, hi) become 0, up to `padded`.
template <class V>
float softmax_row(float* s, int lo, int hi, int padded, const ScoreBias& bias, RowState& state) {
    using Vector = typename V::Vector;
    constexpr int lanes = V::kLanes;
    const int start = lo / lanes * lanes;
    Vector max_vector = V::set(state.max);
    for (int z = start; z < hi; z += lanes) {
        Vector x = V::load(s + z);
        if (bias.softcap != 0.0f) {
            x = V::mul(tanh_vector<V>(V::mul(x, V::set(1.0f / bias.softcap))), V::set(bias.softcap));
        }
        if (bias.slope != 0.0f) {
            x = V::fma(V::set(bias.slope), V::iota(z + bias.distance), x);
        }
        if (z < lo || z + lanes > hi) {
            x = V::keep(x, lo - z, hi - z, V::set(kMinusInfinity));
        }
        V::store(s + z, x);
        max_vector = V::max(max_vector, x);
    }
    const float max = V::largest(max_vector);
    if (max == kMinusInfinity) {
        memset(s, 0, static_cast<size_t>(padded) * sizeof(float));
        return 1.0f;
    }
    for (int z = 0; z < start; z += lanes) {
        V::store(s + z, V::zero());
    }
    max_vector = V::set(max);
    Vector sum = V::zero();
    for (int z = start; z < padded; z += lanes) {  // padded is hi, rounded up to whole vectors at least
        const Vector x = z < hi ? V::exp(V::sub(V::load(s + z), max_vector)) : V::zero();
        V::store(s + z, x);
        sum = V::add(sum, x);
    }
    const float factor = state.max == max ? 1.0f : V::exp1(state.max - max);
    state.sum = state.sum * factor + V::sum(sum);
    state.max = max;
    return factor;
}

/// The Isa of the job loop for a vector type.
template <class V>
struct SimdIsa {
    static constexpr int kLanes = V::kLanes;

    template <class E>
    static void set_key_path(Path& path, bool many) {
        if (many) {
            path.pack_k = pack_transposed<V, E>;
            path.scores = packed_scores<V>;
        } else {
            path.scores = direct_scores<V, E>;
        }
    }

    template <class E>
    static void set_value_path(Path& path, bool many) {
        if (many) {
            path.v_to_f32 = row_to_f32<V, E>;  // read again by every row block
            path.accumulate = accumulate<V, F32>;
        } else {
            path.accumulate = accumulate<V, E>;
        }
    }

    static Path path(int k_type, int v_type, int rows, int, int) { return path_for(k_type, v_type, rows >= V::kPackRows); }

    static Path path_for(int k_type, int v_type, bool many) {
        Path path = {};
        path.row_block = many ? kMaxRowBlock : V::kDotRows;
        path.query_bytes = sizeof(float);
        switch (k_type) {
            case TF_KERNEL_F16: set_key_path<F16>(path, many); break;
            case TF_KERNEL_BF16: set_key_path<BF16>(path, many); break;
            default: set_key_path<F32>(path, many); break;
        }
        switch (v_type) {
            case TF_KERNEL_F16: set_value_path<F16>(path, many); break;
            case TF_KERNEL_BF16: set_value_path<BF16>(path, many); break;
            default: path.accumulate = accumulate<V, F32>; break;
        }
        return path;
    }

    static float softmax_row(float* s, int lo, int hi, int padded, const ScoreBias& bias, RowState& state) {
        return ::softmax_row<V>(s, lo, hi, padded, bias, state);
    }

    static void scale(float* dst, const float* src, int n, float factor) {
        const typename V::Vector f = V::set(factor);
        for (int i = 0; i < n; i += V::kLanes) {
            V::store(dst + i, V::mul(V::load(src + i), f));
        }
    }

    static float exp(float x) { return V::exp1(x); }
};

template <int multiple>
int accepts_multiples(int dk, int dv) {
    return dk > 0 && dv > 0 && dk % multiple == 0 && dv % multiple == 0;
}

}  // namespace
