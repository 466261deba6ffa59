// The linear kernels, written once over a vector type V (paged_simd_avx2.h, paged_simd_avx512.h, or the portable one).
//
// A block of rows x a panel of outputs is held in registers while the inputs go by: each weight vector is loaded and converted once for
// all rows of the block, each input value is broadcast. With few rows several panels are computed at once, so that sums do not wait for
// one another.
#pragma once

#include "kernel_elements.h"
#include "linear_kernel.h"
#include "paged_kernel_driver.h"

namespace {

constexpr int kPanelVectors = 2;

/// x * (1 + erf(x / sqrt 2)) / 2 with erf by formula 7.1.26 of Abramowitz and Stegun, whose error is at most 1.5e-7.
template <class V>
inline typename V::Vector gelu(typename V::Vector x) {
    using Vector = typename V::Vector;
    const Vector z = V::mul(V::abs(x), V::set(0.70710678118654752f));
    const Vector t = V::div(V::set(1.0f), V::fma(z, V::set(0.3275911f), V::set(1.0f)));
    Vector p = V::fma(t, V::set(1.061405429f), V::set(-1.453152027f));
    p = V::fma(p, t, V::set(1.421413741f));
    p = V::fma(p, t, V::set(-0.284496736f));
    p = V::fma(p, t, V::set(0.254829592f));
    p = V::mul(V::mul(p, t), V::exp(V::sub(V::set(0.0f), V::mul(z, z))));
    const Vector erf = V::copy_sign(V::sub(V::set(1.0f), p), x);
    const Vector half = V::mul(x, V::set(0.5f));
    return V::fma(half, erf, half);
}

/// Rows [0, MR) of x with NP panels.
template <class V, class E, int MR, int NP>
void tile(const tf_linear_job& job, int row, int panel) {
    using Vector = typename V::Vector;
    constexpr int kWidth = kPanelVectors * V::kLanes;
    constexpr int kVectors = kPanelVectors * NP;
    const size_t k = static_cast<size_t>(job.k);
    const size_t panel_bytes = k * kWidth * E::kBytes;
    const float* x = job.x + static_cast<size_t>(row) * job.x_stride;
    const char* w = job.panels + static_cast<size_t>(panel) * panel_bytes;
    Vector acc[MR][kVectors];
    TF_UNROLL for (int v = 0; v < kVectors; ++v) {
        const Vector start =
            job.bias ? V::load(job.bias + static_cast<size_t>(panel) * kWidth + static_cast<size_t>(v) * V::kLanes) : V::zero();
        TF_UNROLL for (int r = 0; r < MR; ++r) { acc[r][v] = start; }
    }
    for (size_t i = 0; i < k; ++i) {
        Vector weight[kVectors];
        TF_UNROLL for (int v = 0; v < kVectors; ++v) {
            const char* at = w + static_cast<size_t>(v / kPanelVectors) * panel_bytes;
            weight[v] = E::template load<V>(at + (i * kWidth + static_cast<size_t>(v % kPanelVectors) * V::kLanes) * E::kBytes);
        }
        TF_UNROLL for (int r = 0; r < MR; ++r) {
            const Vector value = V::broadcast(x + static_cast<size_t>(r) * job.x_stride + i);
            TF_UNROLL for (int v = 0; v < kVectors; ++v) { acc[r][v] = V::fma(value, weight[v], acc[r][v]); }
        }
    }
    for (int p = 0; p < NP; ++p) {
        const int first = (panel + p) * kWidth;
        const int count = min_int(kWidth, job.n - first);
        TF_UNROLL for (int r = 0; r < MR; ++r) {
            const size_t at = static_cast<size_t>(row + r);
            float* y = job.y + at * job.y_stride + first;
            const float* residual = job.residual ? job.residual + at * job.residual_stride + first : nullptr;
            float rest[kWidth];
            TF_UNROLL for (int v = 0; v < kPanelVectors; ++v) {
                Vector sum = acc[r][p * kPanelVectors + v];
                if (job.gelu) sum = gelu<V>(sum);
                if (count == kWidth) {
                    if (residual) sum = V::add(sum, V::load(residual + v * V::kLanes));
                    V::store(y + v * V::kLanes, sum);
                } else {
                    V::store(rest + v * V::kLanes, sum);
                }
            }
            if (count < kWidth) {
                for (int o = 0; o < count; ++o) y[o] = rest[o] + (residual ? residual[o] : 0.0f);
            }
        }
    }
}

template <class V, class E, int MR>
void rows_with(const tf_linear_job& job, int row, int panel, int end) {
    constexpr int kPanelsAtOnce = MR == 1 ? V::kManyPanels : MR == 2 ? V::kManyPanels / 2 : 1;
    if constexpr (kPanelsAtOnce > 1) {
        for (; panel + kPanelsAtOnce <= end; panel += kPanelsAtOnce) tile<V, E, MR, kPanelsAtOnce>(job, row, panel);
    }
    for (; panel < end; ++panel) tile<V, E, MR, 1>(job, row, panel);
}

template <class V, class E, int MR>
void some_rows(const tf_linear_job& job, int rows, int row, int panel, int end) {
    if constexpr (MR > 1) {
        if (rows < MR) return some_rows<V, E, MR - 1>(job, rows, row, panel, end);
    }
    rows_with<V, E, MR>(job, row, panel, end);
}

template <class V, class E>
void run_typed(const tf_linear_job& job) {
    constexpr int kRows = V::kLinearRows;
    if (job.rows <= kRows) return some_rows<V, E, kRows>(job, job.rows, 0, job.first_panel, job.end_panel);
    // equal blocks: 13 rows are 7 and 6, not 12 and 1
    const int blocks = (job.rows + kRows - 1) / kRows;
    for (int panel = job.first_panel; panel < job.end_panel; ++panel) {
        for (int b = 0; b < blocks; ++b) {
            const int row = static_cast<int>(static_cast<int64_t>(job.rows) * b / blocks);
            const int end = static_cast<int>(static_cast<int64_t>(job.rows) * (b + 1) / blocks);
            some_rows<V, E, kRows>(job, end - row, row, panel, panel + 1);
        }
    }
}

template <class V>
void run_linear(const tf_linear_job* job) {
    switch (job->type) {
        case TF_LINEAR_F16: return run_typed<V, F16>(*job);
        case TF_LINEAR_BF16: return run_typed<V, BF16>(*job);
        default: return run_typed<V, F32>(*job);
    }
}

}  // namespace
