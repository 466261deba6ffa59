#include "speech/cpu_ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "ggml-cpu.h"

namespace tfserve::speech {

namespace {

constexpr float kNormEpsilon = 1e-5f;  // torch.nn.LayerNorm's
/// Values of a block of rows that stay in a core's second-level cache while panels of weights go by.
constexpr std::int64_t kBlockValues = 96 * 1024;
constexpr std::int64_t kMaxBlockRows = 96;
/// Weights of one part when there are few rows: long enough to be streamed, short enough to be shared out evenly.
constexpr std::int64_t kPartWeights = 64 * 1024;
constexpr int kPanelsAPart = 4;
constexpr std::int64_t kNormRows = 32;
constexpr std::int32_t kStoreRows = 64;
constexpr std::int32_t kPageShift = 20;  // one page holds all cells
constexpr std::int32_t kOnlyPage[1] = {0};

std::int64_t parts_of(std::int64_t count, std::int64_t size) { return (count + size - 1) / size; }

}  // namespace

/// Parts are blocks of rows x groups of panels.
struct CpuOps::Linear {
    tf_linear_job job;
    const tf_linear_kernel* kernel;
    std::int32_t panels;
    std::int64_t block_rows, block_panels;
    std::int64_t padding;
    bool residual;
    std::atomic<std::int64_t> next = 0;

    Linear(const PackedMatrix& matrix, std::int64_t rows, std::int64_t stride, const LinearOptions& options)
        : job(matrix.job()),
          kernel(&matrix.kernel()),
          panels(matrix.panels()),
          padding(options.padding),
          residual(options.residual != nullptr) {
        job.rows = static_cast<std::int32_t>(rows);
        job.x_stride = static_cast<std::size_t>(stride);
        job.gelu = options.gelu ? 1 : 0;
        job.residual = options.constant;
        job.residual_stride = job.y_stride = static_cast<std::size_t>(job.n);
        const std::int64_t fitting = std::max<std::int64_t>(kBlockValues / job.k, kernel->row_block);
        block_rows = std::min({rows, kMaxBlockRows, fitting / kernel->row_block * kernel->row_block});
        const std::int64_t panel_values = std::int64_t{job.k} * kernel->panel_width;
        block_panels = rows > kernel->row_block ? kPanelsAPart : std::max<std::int64_t>(kPanelsAPart, kPartWeights / panel_values);
    }

    static void compute(ggml_tensor* dst, int, int, void* self) {
        auto& op = *static_cast<Linear*>(self);
        const std::int64_t row_parts = parts_of(op.job.rows, op.block_rows), panel_parts = parts_of(op.panels, op.block_panels);
        const std::size_t width = op.job.y_stride, padding = static_cast<std::size_t>(op.padding) * width;
        float* const y = static_cast<float*>(dst->data) + padding;
        const float* const residual = op.residual ? static_cast<const float*>(dst->src[1]->data) : op.job.residual;
        for (std::int64_t part = op.next++; part < row_parts * panel_parts; part = op.next++) {
            if (part == 0) {
                std::fill(y - padding, y, 0.0f);
                float* const end = y + static_cast<std::size_t>(op.job.rows) * width;
                std::fill(end, end + padding, 0.0f);
            }
            // parts that follow each other share weights
            const std::int64_t row = part % row_parts * op.block_rows, panel = part / row_parts * op.block_panels;
            const std::size_t at = static_cast<std::size_t>(row) * width;
            tf_linear_job job = op.job;
            job.rows = static_cast<std::int32_t>(std::min(op.block_rows, op.job.rows - row));
            job.x = static_cast<const float*>(dst->src[0]->data) + static_cast<std::size_t>(row) * job.x_stride;
            job.first_panel = static_cast<std::int32_t>(panel);
            job.end_panel = static_cast<std::int32_t>(std::min<std::int64_t>(panel + op.block_panels, op.panels));
            job.y = y + at;
            job.residual = residual != nullptr ? residual + at : nullptr;
            op.kernel->run(&job);
        }
    }
};

struct CpuOps::Norm {
    const float *weight, *bias;
    std::atomic<std::int64_t> next = 0;

    Norm(const float* weight, const float* bias) : weight(weight), bias(bias) {}

    static void row(const float* x, const float* weight, const float* bias, std::int64_t n, float* y) {
        // sums in lanes of their own, which the compiler keeps in vectors
        constexpr std::int64_t kLanes = 16;
        float lane[kLanes] = {};
        const std::int64_t whole = n / kLanes * kLanes;
        const auto total = [&] {
            double sum = 0;
            for (float value : lane) sum += static_cast<double>(value);
            return sum;
        };
        for (std::int64_t i = 0; i < whole; i += kLanes) {
            for (std::int64_t l = 0; l < kLanes; ++l) lane[l] += x[i + l];
        }
        double sum = total();
        for (std::int64_t i = whole; i < n; ++i) sum += static_cast<double>(x[i]);
        const auto mean = static_cast<float>(sum / static_cast<double>(n));
        std::fill(std::begin(lane), std::end(lane), 0.0f);
        for (std::int64_t i = 0; i < whole; i += kLanes) {
            for (std::int64_t l = 0; l < kLanes; ++l) lane[l] += (x[i + l] - mean) * (x[i + l] - mean);
        }
        double squares = total();
        for (std::int64_t i = whole; i < n; ++i) squares += static_cast<double>((x[i] - mean) * (x[i] - mean));
        const float scale = 1.0f / std::sqrt(static_cast<float>(squares / static_cast<double>(n)) + kNormEpsilon);
        for (std::int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
    }

    static void compute(ggml_tensor* dst, int, int, void* self) {
        auto& op = *static_cast<Norm*>(self);
        const std::int64_t width = dst->ne[0], rows = dst->ne[1];
        for (std::int64_t part = op.next++; part * kNormRows < rows; part = op.next++) {
            for (std::int64_t r = part * kNormRows; r < std::min(rows, (part + 1) * kNormRows); ++r) {
                row(static_cast<const float*>(dst->src[0]->data) + r * width, op.weight, op.bias, width,
                    static_cast<float*>(dst->data) + r * width);
            }
        }
    }
};

/// Parts are heads x pieces of at most TF_KERNEL_MAX_ROWS rows of a run.
struct CpuOps::Attention {
    struct Piece {
        const AttentionRun* run;
        std::int32_t row, rows;  ///< of all rows
    };

    const tf_kernel* kernel = nullptr;
    std::vector<std::vector<std::byte>>* scratch = nullptr;
    int heads = 0, head_dim = 0;
    CellLayout layout;
    std::int64_t kv_offset = 0;
    std::vector<AttentionRun> runs;
    std::vector<Piece> pieces;
    std::vector<std::int32_t> row_of, first_cell, end_cell;
    std::atomic<std::int64_t> next = 0;

    static void compute(ggml_tensor* dst, int thread, int, void* self) {
        auto& op = *static_cast<Attention*>(self);
        const auto parts = static_cast<std::int64_t>(op.pieces.size()) * op.heads;
        for (std::int64_t part = op.next++; part < parts; part = op.next++) {
            // all heads of a piece are neighbours: their cells are
            op.run_head(dst, op.pieces[static_cast<std::size_t>(part / op.heads)], static_cast<std::size_t>(part % op.heads), thread);
        }
    }

    void run_head(ggml_tensor* dst, const Piece& piece, std::size_t head, int thread) const {
        const ggml_tensor* q = dst->src[0];
        const std::size_t element = layout.element(), dim = static_cast<std::size_t>(head_dim);
        const auto first = static_cast<std::size_t>(piece.row);
        const char* cells = piece.run->cells != nullptr
                                ? reinterpret_cast<const char*>(piece.run->cells)
                                : static_cast<const char*>(dst->src[1]->data) + static_cast<std::size_t>(kv_offset) * element;
        tf_kernel_job job{};
        job.k = cells + head * dim * element;
        job.v = job.k + static_cast<std::size_t>(heads) * dim * element;
        job.k_cell = job.v_cell = layout.cell_bytes;
        job.k_head = job.v_head = dim * element;
        job.k_type = job.v_type = layout.type;
        job.table = kOnlyPage;
        job.page_shift = kPageShift;
        job.dk = job.dv = head_dim;
        job.g = job.n_heads_kv = 1;
        job.n_tokens = piece.rows;
        job.token_row = row_of.data() + first;
        job.first_cell = first_cell.data() + first;
        job.end_cell = end_cell.data() + first;
        job.q = static_cast<const char*>(q->data) + head * dim * sizeof(float);
        job.q_token = q->nb[1];
        job.q_head = dim * sizeof(float);
        job.dst = static_cast<float*>(dst->data) + head * dim;
        job.dst_token = static_cast<std::size_t>(dst->ne[0]);
        job.dst_head = dim;
        job.cell1 = end_cell[first + static_cast<std::size_t>(piece.rows) - 1];
        job.scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
        kernel->run(&job, (*scratch)[static_cast<std::size_t>(thread)].data());
    }
};

/// Parts are pieces of rows.
struct CpuOps::Store {
    std::int64_t first = 0, count = 0;
    CellLayout layout;
    std::vector<StoreRun> runs;
    std::atomic<std::size_t> next = 0;

    static void compute(ggml_tensor* dst, int, int, void* self) {
        auto& op = *static_cast<Store*>(self);
        const ggml_tensor* x = dst->src[0];
        for (std::size_t part = op.next++; part < op.runs.size(); part = op.next++) {
            const StoreRun& run = op.runs[part];
            for (std::int32_t i = 0; i < run.rows; ++i) {
                const auto* from = reinterpret_cast<const float*>(static_cast<const char*>(x->data) +
                                                                  static_cast<std::size_t>(run.first_row + i) * x->nb[1]) +
                                   op.first;
                std::byte* const to = run.to + static_cast<std::size_t>(i) * op.layout.cell_bytes;
                if (op.layout.type == TF_KERNEL_F32) {
                    std::memcpy(to, from, static_cast<std::size_t>(op.count) * sizeof(float));
                } else {
                    ggml_cpu_fp32_to_fp16(from, reinterpret_cast<ggml_fp16_t*>(to), op.count);
                }
            }
        }
    }
};

/// A few rows: one part.
struct CpuOps::Rows {
    std::vector<std::int32_t> names;
    std::atomic<int> next = 0;

    static void compute(ggml_tensor* dst, int, int, void* self) {
        auto& op = *static_cast<Rows*>(self);
        if (op.next++ > 0) return;
        const auto width = static_cast<std::size_t>(dst->ne[0]);
        auto* to = static_cast<float*>(dst->data);
        for (std::int32_t name : op.names) {
            std::memcpy(to, static_cast<const float*>(dst->src[0]->data) + static_cast<std::size_t>(name) * width, width * sizeof(float));
            to += width;
        }
    }
};

/// Parts are heads.
struct CpuOps::Weights {
    int head_dim = 0;
    std::int64_t cells = 0;
    CellLayout layout;
    std::vector<WatchedHead> heads;
    std::atomic<std::size_t> next = 0;

    static void compute(ggml_tensor* dst, int, int, void* self) {
        auto& op = *static_cast<Weights*>(self);
        std::vector<float> keys;
        for (std::size_t part = op.next++; part < op.heads.size(); part = op.next++) op.run_head(dst, part, keys);
    }

    void run_head(ggml_tensor* dst, std::size_t part, std::vector<float>& keys) const {
        const ggml_tensor* q = dst->src[0];
        const WatchedHead& watched = heads[part];
        const auto dim = static_cast<std::size_t>(head_dim), offset = static_cast<std::size_t>(watched.head) * dim;
        keys.resize(static_cast<std::size_t>(cells) * dim);
        for (std::int64_t c = 0; c < cells; ++c) {
            const std::byte* from = watched.cells + static_cast<std::size_t>(c) * layout.cell_bytes + offset * layout.element();
            float* const to = keys.data() + static_cast<std::size_t>(c) * dim;
            if (layout.type == TF_KERNEL_F32) {
                std::memcpy(to, from, dim * sizeof(float));
            } else {
                ggml_cpu_fp16_to_fp32(reinterpret_cast<const ggml_fp16_t*>(from), to, head_dim);
            }
        }
        const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
        for (std::int64_t row = 0; row < q->ne[1]; ++row) {
            const auto* query =
                reinterpret_cast<const float*>(static_cast<const char*>(q->data) + static_cast<std::size_t>(row) * q->nb[1]);
            float* const out = static_cast<float*>(dst->data) + (static_cast<std::int64_t>(part) * q->ne[1] + row) * cells;
            float largest = -INFINITY;
            for (std::int64_t c = 0; c < cells; ++c) {
                out[c] = scale * dot(query + offset, keys.data() + static_cast<std::size_t>(c) * dim, head_dim);
                largest = std::max(largest, out[c]);
            }
            double sum = 0;
            for (std::int64_t c = 0; c < cells; ++c) {
                out[c] = std::exp(out[c] - largest);
                sum += static_cast<double>(out[c]);
            }
            const auto inverse = static_cast<float>(1.0 / sum);
            for (std::int64_t c = 0; c < cells; ++c) out[c] *= inverse;
        }
    }

    static float dot(const float* a, const float* b, int n) {
        constexpr int kLanes = 8;
        float lane[kLanes] = {};
        int i = 0;
        for (; i + kLanes <= n; i += kLanes) {
            for (int l = 0; l < kLanes; ++l) lane[l] += a[i + l] * b[i + l];
        }
        float sum = 0;
        for (float value : lane) sum += value;
        for (; i < n; ++i) sum += a[i] * b[i];
        return sum;
    }
};

CpuOps::CpuOps(int threads) : threads_(threads), scratch_(static_cast<std::size_t>(threads)) {}

CpuOps::~CpuOps() = default;

void CpuOps::clear() {
    linears_.clear();
    norms_.clear();
    attentions_.clear();
    stores_.clear();
    rows_.clear();
    weights_.clear();
}

void CpuOps::start() {
    const auto reset = [](auto& ops) {
        for (auto& op : ops) op.next = 0;
    };
    reset(linears_);
    reset(norms_);
    reset(attentions_);
    reset(stores_);
    reset(rows_);
    reset(weights_);
}

ggml_tensor* CpuOps::linear(ggml_context* ctx, const PackedMatrix& matrix, ggml_tensor* x, std::int64_t rows,
                            const LinearOptions& options) {
    Linear& op = linears_.emplace_back(matrix, rows, options.stride == 0 ? x->ne[0] : options.stride, options);
    ggml_tensor* args[] = {x, options.residual};
    return ggml_custom_4d(ctx, GGML_TYPE_F32, matrix.outputs(), rows + 2 * options.padding, 1, 1, args, options.residual != nullptr ? 2 : 1,
                          &Linear::compute, threads_, &op);
}

ggml_tensor* CpuOps::norm(ggml_context* ctx, const std::vector<float>& weight, const std::vector<float>& bias, ggml_tensor* x) {
    Norm& op = norms_.emplace_back(weight.data(), bias.data());
    return ggml_custom_4d(ctx, GGML_TYPE_F32, x->ne[0], x->ne[1], 1, 1, &x, 1, &Norm::compute, threads_, &op);
}

ggml_tensor* CpuOps::attention(ggml_context* ctx, ggml_tensor* q, int heads, int head_dim, const CellLayout& layout,
                               std::vector<AttentionRun> runs, ggml_tensor* kv, std::int64_t kv_offset) {
    Attention& op = attentions_.emplace_back();
    op.kernel = tf_kernel_for(head_dim, head_dim);
    op.scratch = &scratch_;
    const std::size_t needed = op.kernel->scratch_bytes(head_dim, head_dim, TF_KERNEL_MAX_ROWS, 1);
    for (auto& piece : scratch_) {
        if (piece.size() < needed) piece.resize(needed);
    }
    op.heads = heads;
    op.head_dim = head_dim;
    op.layout = layout;
    op.kv_offset = kv_offset;
    op.runs = std::move(runs);
    const auto rows = static_cast<std::size_t>(q->ne[1]);
    op.row_of.resize(rows);
    op.first_cell.resize(rows);
    op.end_cell.resize(rows);
    for (const AttentionRun& run : op.runs) {
        for (std::int32_t i = 0; i < run.rows; ++i) {
            const auto row = static_cast<std::size_t>(run.first_row + i);
            op.row_of[row] = run.first_row + i;
            op.end_cell[row] = run.first_end + i * run.end_step;
        }
        for (std::int32_t i = 0; i < run.rows; i += TF_KERNEL_MAX_ROWS) {
            op.pieces.push_back({&run, run.first_row + i, std::min<std::int32_t>(TF_KERNEL_MAX_ROWS, run.rows - i)});
        }
    }
    ggml_tensor* args[] = {q, kv};
    return ggml_custom_4d(ctx, GGML_TYPE_F32, std::int64_t{heads} * head_dim, q->ne[1], 1, 1, args, kv != nullptr ? 2 : 1,
                          &Attention::compute, threads_, &op);
}

ggml_tensor* CpuOps::store(ggml_context* ctx, ggml_tensor* x, std::int64_t first, std::int64_t count, const CellLayout& layout,
                           std::vector<StoreRun> runs) {
    Store& op = stores_.emplace_back();
    op.first = first;
    op.count = count;
    op.layout = layout;
    for (const StoreRun& run : runs) {
        for (std::int32_t i = 0; i < run.rows; i += kStoreRows) {
            op.runs.push_back(
                {run.first_row + i, std::min(kStoreRows, run.rows - i), run.to + static_cast<std::size_t>(i) * layout.cell_bytes});
        }
    }
    return ggml_custom_4d(ctx, GGML_TYPE_F32, 1, 1, 1, 1, &x, 1, &Store::compute, threads_, &op);
}

ggml_tensor* CpuOps::rows(ggml_context* ctx, ggml_tensor* x, std::vector<std::int32_t> names) {
    Rows& op = rows_.emplace_back();
    op.names = std::move(names);
    return ggml_custom_4d(ctx, GGML_TYPE_F32, x->ne[0], static_cast<std::int64_t>(op.names.size()), 1, 1, &x, 1, &Rows::compute, threads_,
                          &op);
}

ggml_tensor* CpuOps::attention_weights(ggml_context* ctx, ggml_tensor* q, int head_dim, std::int64_t cells, const CellLayout& layout,
                                       std::vector<WatchedHead> heads) {
    Weights& op = weights_.emplace_back();
    op.head_dim = head_dim;
    op.cells = cells;
    op.layout = layout;
    op.heads = std::move(heads);
    return ggml_custom_4d(ctx, GGML_TYPE_F32, cells, q->ne[1], static_cast<std::int64_t>(op.heads.size()), 1, &q, 1, &Weights::compute,
                          threads_, &op);
}

}  // namespace tfserve::speech
