// The job loop that all kernels share: tiles of cells, blocks of query rows, online softmax state, results.
//
// Included by each kernel's source file, which brings its instruction set as the type `Isa`. Everything here has internal
// linkage and uses no C++ library code: an object file compiled for AVX-512 must not give the linker a function that
// another one could pick up.
//
//   struct Isa {
//       static constexpr int kLanes;       // score rows are handled in vectors of so many cells; divides kTile
//       static Path path(int k_type, int v_type, int rows, int dk, int dv);      // types: F16, BF16 or F32
//       static float softmax_row(float* s, int lo, int hi, int padded, const ScoreBias&, RowState&);   // see softmax below
//       static void scale(float* dst, const float* src, int n, float factor);    // dst may be src
//       static float exp(float x);         // x <= 0
//   };
#pragma once

#include "paged_kernel.h"

#include <string.h>

// GCC unrolls loops over accumulator arrays too late to split these into registers, and stores each of them in every
// iteration, unless told to unroll them.
#if defined(__clang__)
#define TF_UNROLL _Pragma("clang loop unroll(full)")
#else
#define TF_UNROLL _Pragma("GCC unroll 16")
#endif

namespace {

constexpr int kTile = TF_KERNEL_TILE;
constexpr int kMaxRowBlock = 6;

/// K or V rows of a tile: row c starts at row[c] + offset. All kTile pointers are valid (the last cell's is repeated).
/// `next` holds those of the next tile, to be prefetched on the way, or is null.
struct TileRows {
    const char* const* row;
    const char* const* next;
    size_t offset;
};

/// Online softmax of one query row: the largest score so far, and the sum of exp(score - max).
struct RowState {
    float max, sum;
};

/// What a score goes through before the softmax: softcap * tanh(s / softcap) unless softcap is 0, then
/// + slope * (cell + distance), where `cell` counts from the tile's start.
struct ScoreBias {
    float softcap, slope;
    int distance;
};

/// How the products of a job are computed. Queries are prepared once, K and V once a tile and KV head.
struct Path {
    int row_block;    ///< query rows at a time, at most kMaxRowBlock
    int query_bytes;  ///< of one element of a prepared query
    /// Converts n scaled query values in place; null: they stay F32.
    void (*prepare_queries)(float* q, size_t n);
    /// Converts a row to F32 before anything else reads it; null: rows are read as stored.
    tf_kernel_to_f32 k_to_f32, v_to_f32;
    /// Rearrange the first n rows, rounded up as the path likes, into a buffer of kTile*head-size floats; null: not needed.
    void (*pack_k)(const TileRows& k, int n, int dk, float* packed);
    void (*pack_v)(const TileRows& v, int n, int dv, float* packed);
    /// s[r*kTile + c] = q[r] . k[c] for c < n; may write up to c == kTile.
    void (*scores)(int n_rows, const void* q, int dk, const TileRows& k, const float* packed, int n, float* s);
    /// o[r*dv + d] += sum over c < n of p[r*kTile + c] * v[c][d]. p is zero from n on to the next multiple of kLanes.
    void (*accumulate)(int n_rows, const float* p, const TileRows& v, const float* packed, int n, int dv, float* o);
};

constexpr float kMinusInfinity = -__builtin_inff();

inline int min_int(int a, int b) { return a < b ? a : b; }
inline int max_int(int a, int b) { return a > b ? a : b; }
inline size_t align64(size_t x) { return (x + 63) & ~static_cast<size_t>(63); }

struct Scratch {
    float *q, *o, *s;        ///< prepared queries and unnormalised results of all rows; scores of one row block
    float *k_rows, *v_rows;  ///< rows converted to F32
    float *k_packed, *v_packed;
    RowState* state;
};

/// Bytes that such a job needs; with `base` (64-byte aligned) also sets the pointers.
size_t lay_out(int dk, int dv, int rows, int n_heads_kv, char* base, Scratch* out) {
    size_t used = 0;
    const auto take = [&used, base](size_t floats) {
        char* p = base ? base + used : nullptr;
        used += align64(floats * sizeof(float));
        return reinterpret_cast<float*>(p);
    };
    const size_t n_rows = static_cast<size_t>(rows) * static_cast<size_t>(n_heads_kv);
    Scratch s;
    s.q = take(n_rows * static_cast<size_t>(dk));
    s.o = take(n_rows * static_cast<size_t>(dv));
    s.s = take(static_cast<size_t>(kMaxRowBlock) * kTile);
    s.k_rows = take(static_cast<size_t>(dk) * kTile);
    s.v_rows = take(static_cast<size_t>(dv) * kTile);
    s.k_packed = take(static_cast<size_t>(dk) * kTile);
    s.v_packed = take(static_cast<size_t>(dv) * kTile);
    s.state = reinterpret_cast<RowState*>(take(2 * n_rows));
    if (out) {
        *out = s;
    }
    return used;
}

size_t scratch_bytes(int dk, int dv, int rows, int n_heads_kv) { return lay_out(dk, dv, rows, n_heads_kv, nullptr, nullptr) + 64; }

/// Row pointers of KV head 0 for the n cells from index `cell0` on, found through the block table.
inline void gather_rows(const tf_kernel_job* job, int cell0, int n, const char** k, const char** v) {
    const int shift = job->page_shift;
    const int mask = static_cast<int>((1u << shift) - 1);
    for (int c = 0; c < n;) {
        const int in_page = (cell0 + c) & mask;
        const int run = min_int(mask - in_page + 1, n - c);
        const size_t cell = (static_cast<size_t>(job->table[(cell0 + c) >> shift]) << shift) + static_cast<size_t>(in_page);
        const char* k_row = job->k + cell * job->k_cell;
        const char* v_row = job->v + cell * job->v_cell;
        for (int i = 0; i < run; ++i, ++c) {
            k[c] = k_row;
            v[c] = v_row;
            k_row += job->k_cell;
            v_row += job->v_cell;
        }
    }
    for (int c = n; c < kTile; ++c) {
        k[c] = k[n - 1];
        v[c] = v[n - 1];
    }
}

/// Converts the tile's rows and makes `rows` point to the result. `pointers` holds kTile entries.
inline void convert_rows(TileRows& rows, int n, int head_size, tf_kernel_to_f32 to_f32, float* out, const char** pointers) {
    const size_t stride = static_cast<size_t>(head_size);
    for (int c = 0; c < n; ++c) {
        if (rows.next) {
            __builtin_prefetch(rows.next[c] + rows.offset, 0, 2);
        }
        to_f32(rows.row[c] + rows.offset, out + static_cast<size_t>(c) * stride, head_size);
    }
    for (int c = 0; c < kTile; ++c) {
        pointers[c] = reinterpret_cast<const char*>(out + static_cast<size_t>(min_int(c, n - 1)) * stride);
    }
    rows = {pointers, nullptr, 0};
}

/// One tile of one KV head: its keys and values, ready for the path's products.
struct TileData {
    TileRows k, v;
    int cell0, n;
};

/// Scores, softmax and values of the rows [r0, r0 + nr) of KV head `head` for one tile.
template <class Isa>
void run_row_block(const tf_kernel_job* job, const Path& path, const Scratch& w, const TileData& tile, int head, int r0, int nr) {
    const int g = job->g;
    const int rows = job->n_tokens * g;

    // the part of the tile that any of these rows sees
    int block_hi = 0;
    bool any = false;
    for (int t = r0 / g; t <= (r0 + nr - 1) / g; ++t) {
        const int lo = max_int(job->first_cell[t] - tile.cell0, 0);
        const int hi = min_int(job->end_cell[t] - tile.cell0, tile.n);
        any = any || lo < hi;
        block_hi = max_int(block_hi, hi);
    }
    if (!any) {
        return;
    }
    const int padded = (block_hi + Isa::kLanes - 1) / Isa::kLanes * Isa::kLanes;

    const size_t row = static_cast<size_t>(head) * static_cast<size_t>(rows) + static_cast<size_t>(r0);
    const char* q = reinterpret_cast<const char*>(w.q) + row * static_cast<size_t>(job->dk) * static_cast<size_t>(path.query_bytes);
    float* o = w.o + row * static_cast<size_t>(job->dv);
    path.scores(nr, q, job->dk, tile.k, w.k_packed, block_hi, w.s);

    for (int r = 0; r < nr; ++r) {
        const int t = (r0 + r) / g;
        const int lo = max_int(job->first_cell[t] - tile.cell0, 0);
        const int hi = min_int(job->end_cell[t] - tile.cell0, tile.n);
        float* s = w.s + r * kTile;
        if (lo >= hi) {
            memset(s, 0, static_cast<size_t>(padded) * sizeof(float));
            continue;
        }
        const float slope = job->slopes ? job->slopes[head * g + (r0 + r) % g] : 0.0f;
        const ScoreBias bias = {job->softcap, slope, tile.cell0 - (job->end_cell[t] - 1)};
        const float factor = Isa::softmax_row(s, lo, hi, padded, bias, w.state[row + static_cast<size_t>(r)]);
        if (factor != 1.0f) {
            float* o_row = o + static_cast<size_t>(r) * static_cast<size_t>(job->dv);
            Isa::scale(o_row, o_row, job->dv, factor);
        }
    }
    path.accumulate(nr, w.s, tile.v, w.v_packed, block_hi, job->dv, o);
}

/// Reads the job's cells once, for the KV heads [head0, head1).
template <class Isa>
void run_tiles(const tf_kernel_job* job, const Path& path, const Scratch& w, int head0, int head1) {
    const int rows = job->n_tokens * job->g;
    // blocks of equal height, so that the last one is no odd small one
    const int n_blocks = (rows + path.row_block - 1) / path.row_block;
    const int height = (rows + n_blocks - 1) / n_blocks;

    const char* gathered[2][2][kTile];  // [this or the next tile][K, V]
    const char* converted[2][kTile];
    int n = min_int(job->cell1 - job->cell0, kTile);
    if (n > 0) {
        gather_rows(job, job->cell0, n, gathered[0][0], gathered[0][1]);
    }
    int now = 0;
    for (int cell0 = job->cell0; cell0 < job->cell1; cell0 += kTile) {
        const int n_next = min_int(job->cell1 - cell0 - kTile, kTile);
        if (n_next > 0) {
            gather_rows(job, cell0 + kTile, n_next, gathered[now ^ 1][0], gathered[now ^ 1][1]);
        }
        for (int head = head0; head < head1; ++head) {
            TileData tile;
            tile.cell0 = cell0;
            tile.n = n;
            tile.k = {gathered[now][0], n_next > 0 ? gathered[now ^ 1][0] : nullptr, static_cast<size_t>(head) * job->k_head};
            tile.v = {gathered[now][1], n_next > 0 ? gathered[now ^ 1][1] : nullptr, static_cast<size_t>(head) * job->v_head};
            if (path.k_to_f32) {
                convert_rows(tile.k, n, job->dk, path.k_to_f32, w.k_rows, converted[0]);
            }
            if (path.v_to_f32) {
                convert_rows(tile.v, n, job->dv, path.v_to_f32, w.v_rows, converted[1]);
            }
            if (path.pack_k) {
                path.pack_k(tile.k, n, job->dk, w.k_packed);
            }
            if (path.pack_v) {
                path.pack_v(tile.v, n, job->dv, w.v_packed);
            }
            for (int r0 = 0; r0 < rows; r0 += height) {
                run_row_block<Isa>(job, path, w, tile, head, r0, min_int(height, rows - r0));
                tile.k.next = tile.v.next = nullptr;  // the first block has brought in the next tile
            }
        }
        n = n_next;
        now ^= 1;
    }
}

template <class Isa>
void load_queries(const tf_kernel_job* job, const Path& path, const Scratch& w) {
    const size_t dk = static_cast<size_t>(job->dk);
    float* out = w.q;
    for (int head = 0; head < job->n_heads_kv; ++head) {
        for (int t = 0; t < job->n_tokens; ++t) {
            const char* q = job->q + static_cast<size_t>(job->token_row[t]) * job->q_token;
            for (int h = head * job->g; h < (head + 1) * job->g; ++h, out += dk) {
                Isa::scale(out, reinterpret_cast<const float*>(q + static_cast<size_t>(h) * job->q_head), job->dk, job->scale);
            }
        }
    }
    const size_t n_rows = static_cast<size_t>(job->n_heads_kv) * static_cast<size_t>(job->n_tokens * job->g);
    if (path.prepare_queries) {
        path.prepare_queries(w.q, n_rows * dk);
    }
    memset(w.o, 0, n_rows * static_cast<size_t>(job->dv) * sizeof(float));
    for (size_t r = 0; r < n_rows; ++r) {
        w.state[r] = {kMinusInfinity, 0.0f};
    }
}

template <class Isa>
void store_results(const tf_kernel_job* job, const Scratch& w) {
    const size_t dv = static_cast<size_t>(job->dv);
    const float* o = w.o;
    const RowState* state = w.state;
    for (int head = 0; head < job->n_heads_kv; ++head) {
        float* part = job->part ? job->part + static_cast<size_t>(head) * job->part_head : nullptr;
        for (int t = 0; t < job->n_tokens; ++t) {
            for (int h = head * job->g; h < (head + 1) * job->g; ++h, o += dv, ++state) {
                if (part) {
                    part[0] = state->max;
                    part[1] = state->sum;
                    memcpy(part + 2, o, dv * sizeof(float));
                    part += dv + 2;
                    continue;
                }
                float sum = state->sum;
                float factor = 1.0f;
                if (job->sinks) {  // one more logit in the sum, without a value
                    const float sink = job->sinks[h];
                    if (sink > state->max) {
                        factor = state->max == kMinusInfinity ? 0.0f : Isa::exp(state->max - sink);
                        sum = sum * factor + 1.0f;
                    } else if (sink != kMinusInfinity) {
                        sum += Isa::exp(sink - state->max);
                    }
                }
                float* dst = job->dst + static_cast<size_t>(job->token_row[t]) * job->dst_token + static_cast<size_t>(h) * job->dst_head;
                Isa::scale(dst, o, job->dv, sum > 0.0f ? factor / sum : 0.0f);
            }
        }
    }
}

template <class Isa>
void run_job(const tf_kernel_job* job, void* scratch) {
    const int rows = job->n_tokens * job->g;
    Scratch w;
    lay_out(job->dk, job->dv, rows, job->n_heads_kv, reinterpret_cast<char*>(align64(reinterpret_cast<size_t>(scratch))), &w);

    const bool k_other = job->k_type == TF_KERNEL_OTHER;
    const bool v_other = job->v_type == TF_KERNEL_OTHER;
    Path path = Isa::path(k_other ? TF_KERNEL_F32 : job->k_type, v_other ? TF_KERNEL_F32 : job->v_type, rows, job->dk, job->dv);
    if (k_other) {
        path.k_to_f32 = job->k_to_f32;
    }
    if (v_other) {
        path.v_to_f32 = job->v_to_f32;
    }

    load_queries<Isa>(job, path, w);
    if (path.pack_k) {
        // many rows: the queries and results of one head are all the cache should have to hold
        for (int head = 0; head < job->n_heads_kv; ++head) {
            run_tiles<Isa>(job, path, w, head, head + 1);
        }
    } else {
        run_tiles<Isa>(job, path, w, 0, job->n_heads_kv);
    }
    store_results<Isa>(job, w);
}

/// Calls F<n>() with n = n_rows, known at compile time.
#define TF_KERNEL_ROWS(n_rows, call) \
    switch (n_rows) {                \
        case 1: {                    \
            constexpr int NR = 1;    \
            call;                    \
        } break;                     \
        case 2: {                    \
            constexpr int NR = 2;    \
            call;                    \
        } break;                     \
        case 3: {                    \
            constexpr int NR = 3;    \
            call;                    \
        } break;                     \
        case 4: {                    \
            constexpr int NR = 4;    \
            call;                    \
        } break;                     \
        case 5: {                    \
            constexpr int NR = 5;    \
            call;                    \
        } break;                     \
        default: {                   \
            constexpr int NR = 6;    \
            call;                    \
        } break;                     \
    }

}  // namespace
