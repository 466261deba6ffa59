#include "paged_op.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "ggml-cpu-impl.h"
#include "ggml.h"
#include "paged_kernel.h"
#include "paged_merge.h"
#include "paged_plan.h"

namespace {

using namespace tfserve::paged;

constexpr std::size_t kAlign = 64;

std::size_t padded(std::size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

tfserve_paged_attn_params params_of(const ggml_tensor* dst) {
    tfserve_paged_attn_params p;
    std::memcpy(&p, dst->op_params, sizeof(p));
    return p;
}

int kernel_type(ggml_type type) {
    switch (type) {
        case GGML_TYPE_F16: return TF_KERNEL_F16;
        case GGML_TYPE_BF16: return TF_KERNEL_BF16;
        case GGML_TYPE_F32: return TF_KERNEL_F32;
        default: return TF_KERNEL_OTHER;
    }
}

/// Sizes of one node, and where its parts lie in the work buffer. All threads compute the same.
struct Layout {
    int dk, dv, n_head, n_head_kv, group;
    const tf_kernel* kernel;
    std::size_t arrivals, slopes, partials, scratch;  // offsets
    std::size_t scratch_bytes;                        // of each thread
    PartialLayout partial;

    explicit Layout(const ggml_tensor* dst) {
        const auto p = params_of(dst);
        dk = static_cast<int>(dst->src[1]->ne[0]);
        dv = static_cast<int>(dst->src[2]->ne[0]);
        n_head = static_cast<int>(dst->src[0]->ne[2]);
        n_head_kv = static_cast<int>(dst->src[1]->ne[2]);
        group = n_head / n_head_kv;
        kernel = tf_kernel_for(dk, dv);
        partial = {n_head, group, dv};
        arrivals = 0;
        slopes = arrivals + padded(static_cast<std::size_t>(p.max_groups) * n_head_kv * sizeof(std::atomic<std::int32_t>));
        partials = slopes + padded(p.max_bias > 0 ? n_head * sizeof(float) : 0);
        scratch = partials + padded(partial.buffer_floats(static_cast<std::size_t>(p.max_partial_rows)) * sizeof(float));
        scratch_bytes = padded(kernel->scratch_bytes(dk, dv, TF_KERNEL_MAX_ROWS, n_head_kv));
    }
    std::size_t bytes(int n_threads) const { return kAlign + scratch + scratch_bytes * static_cast<std::size_t>(n_threads); }
};

/// The plan's arrays.
struct PlanView {
    const std::int32_t* words;

    explicit PlanView(const ggml_tensor* plan) : words(static_cast<const std::int32_t*>(plan->data)) {
        GGML_ASSERT(words[kPlanMagic] == kPlanMagicValue && words[kPlanWords] <= plan->ne[0]);
    }
    int units() const { return words[kPlanUnits]; }
    const PlanRun& run(int i) const { return reinterpret_cast<const PlanRun*>(words + words[kPlanRunOffset])[i]; }
    const PlanUnit& unit(int i) const { return reinterpret_cast<const PlanUnit*>(words + words[kPlanUnitOffset])[i]; }
    const PlanGroup& split_group(int i) const { return reinterpret_cast<const PlanGroup*>(words + words[kPlanGroupOffset])[i]; }
    const std::int32_t* token_row() const { return words + words[kPlanTokenRow]; }
    const std::int32_t* first_cell() const { return words + words[kPlanFirstCell]; }
    const std::int32_t* end_cell() const { return words + words[kPlanEndCell]; }
    const std::int32_t* table(const PlanRun& r) const { return words + words[kPlanTableOffset] + r.table0; }
};

void fill_slopes(float* out, int n_head, float max_bias) {
    const int n = 1 << static_cast<int>(std::floor(std::log2(static_cast<float>(n_head))));
    const float m0 = std::pow(2.0f, -max_bias / n);
    const float m1 = std::pow(2.0f, -max_bias / 2.0f / n);
    for (int i = 0; i < n_head; ++i) {
        out[i] = i < n ? std::pow(m0, static_cast<float>(i + 1)) : std::pow(m1, static_cast<float>(2 * (i - n) + 1));
    }
}

/// Computes the items of one node that a thread takes.
class Worker {
   public:
    Worker(const ggml_compute_params* params, ggml_tensor* dst)
        : params_(params),
          dst_(dst),
          q_(dst->src[0]),
          k_(dst->src[1]),
          v_(dst->src[2]),
          plan_(dst->src[3]),
          op_(params_of(dst)),
          lay_(dst) {
        GGML_ASSERT(params->wsize >= lay_.bytes(params->nth));
        const auto base = reinterpret_cast<std::uintptr_t>(params->wdata);
        work_ = reinterpret_cast<char*>((base + kAlign - 1) / kAlign * kAlign);
        arrivals_ = reinterpret_cast<std::atomic<std::int32_t>*>(work_ + lay_.arrivals);
        partials_ = reinterpret_cast<float*>(work_ + lay_.partials);
        slopes_ = op_.max_bias > 0 ? reinterpret_cast<float*>(work_ + lay_.slopes) : nullptr;
        sinks_ = dst->src[4] ? static_cast<const float*>(dst->src[4]->data) : nullptr;
    }

    void run() {
        const int nth = params_->nth;
        // the heads of a cell are neighbours: with units enough, one item streams all of them
        group_rows_ = std::min<int>(lay_.group, TF_KERNEL_MAX_ROWS);
        heads_per_item_ = group_rows_ == lay_.group ? heads_per_item(static_cast<std::size_t>(plan_.units()), lay_.n_head_kv, nth) : 1;
        items_per_unit_ = lay_.n_head_kv / heads_per_item_;
        const int n_items = plan_.units() * items_per_unit_;
        if (params_->ith == 0) prepare();
        ggml_barrier(params_->threadpool);
        for (int item = params_->ith; item < n_items; item = ggml_threadpool_chunk_add(params_->threadpool, 1)) {
            compute(plan_.unit(item / items_per_unit_), item % items_per_unit_ * heads_per_item_);
        }
    }

   private:
    // thread 0, before any other starts: the work buffer holds what the last node left there
    void prepare() {
        GGML_ASSERT(plan_.words[kPlanGroups] <= op_.max_groups && plan_.words[kPlanPartialRows] <= op_.max_partial_rows);
        const int n = plan_.words[kPlanGroups] * lay_.n_head_kv;
        for (int i = 0; i < n; ++i) arrivals_[i].store(0, std::memory_order_relaxed);
        if (slopes_) fill_slopes(slopes_, lay_.n_head, op_.max_bias);
        ggml_threadpool_chunk_set(params_->threadpool, params_->nth);
    }

    void compute(const PlanUnit& unit, int head) {
        const PlanRun& run = plan_.run(unit.run);
        const int max_tokens = std::max(1, TF_KERNEL_MAX_ROWS / group_rows_);
        for (int t = 0; t < unit.n_tokens; t += max_tokens) {
            for (int x = 0; x < lay_.group; x += group_rows_) {
                run_job(unit, run, head, t, std::min(max_tokens, unit.n_tokens - t), x, std::min(group_rows_, lay_.group - x));
            }
        }
        if (unit.group < 0) return;
        const PlanGroup& split = plan_.split_group(unit.group);
        auto& arrived = arrivals_[unit.group * lay_.n_head_kv + head];
        if (arrived.fetch_add(1, std::memory_order_acq_rel) == split.n_split - 1) {
            for (int h = head; h < head + heads_per_item_; ++h) merge(split, h);
        }
    }

    void run_job(const PlanUnit& unit, const PlanRun& run, int head, int t, int n_tokens, int x, int g) {
        const int token = run.token0 + unit.t0 + t;
        const int q_head = head * lay_.group + x;
        tf_kernel_job job{};
        job.k = static_cast<const char*>(k_->data) + head * k_->nb[2];
        job.v = static_cast<const char*>(v_->data) + head * v_->nb[2];
        job.k_cell = k_->nb[1];
        job.k_head = k_->nb[2];
        job.v_cell = v_->nb[1];
        job.v_head = v_->nb[2];
        job.k_type = kernel_type(k_->type);
        job.v_type = kernel_type(v_->type);
        job.k_to_f32 = ggml_get_type_traits(k_->type)->to_float;
        job.v_to_f32 = ggml_get_type_traits(v_->type)->to_float;
        job.table = plan_.table(run);
        job.page_shift = plan_.words[kPlanPageShift];
        job.dk = lay_.dk;
        job.dv = lay_.dv;
        job.g = g;
        job.n_tokens = n_tokens;
        job.n_heads_kv = heads_per_item_;
        job.token_row = plan_.token_row() + token;
        job.first_cell = plan_.first_cell() + token;
        job.end_cell = plan_.end_cell() + token;
        job.q = static_cast<const char*>(q_->data) + q_head * q_->nb[2];
        job.q_token = q_->nb[1];
        job.q_head = q_->nb[2];
        job.dst = reinterpret_cast<float*>(static_cast<char*>(dst_->data) + q_head * dst_->nb[1]);
        job.dst_token = dst_->nb[2] / sizeof(float);
        job.dst_head = dst_->nb[1] / sizeof(float);
        if (unit.group >= 0) {
            job.part = partials_ + lay_.partial.offset(unit.partial_row, unit.n_tokens, head, t, x);
            job.part_head = lay_.partial.head_stride(unit.n_tokens);
        }
        job.cell0 = unit.cell0;
        job.cell1 = unit.cell1;
        job.scale = op_.scale;
        job.softcap = op_.softcap;
        job.slopes = slopes_ ? slopes_ + q_head : nullptr;
        job.sinks = sinks_ ? sinks_ + q_head : nullptr;
        lay_.kernel->run(&job, work_ + lay_.scratch + lay_.scratch_bytes * static_cast<std::size_t>(params_->ith));
    }

    // joins the partial results (max, sum, o[dv]) of a slice's cell ranges
    void merge(const PlanGroup& split, int h) const {
        const std::int32_t* rows = plan_.token_row() + plan_.run(split.run).token0 + split.t0;
        for (int t = 0; t < split.n_tokens; ++t) {
            for (int x = 0; x < lay_.group; ++x) {
                const int q_head = h * lay_.group + x;
                auto* out = reinterpret_cast<float*>(static_cast<char*>(dst_->data) + static_cast<std::size_t>(rows[t]) * dst_->nb[2] +
                                                     static_cast<std::size_t>(q_head) * dst_->nb[1]);
                const float* part = partials_ + lay_.partial.offset(split.partial_row, split.n_tokens, h, t, x);
                merge_partials(part, lay_.partial.split_stride(split.n_tokens), split.n_split, lay_.dv, sinks_ ? sinks_ + q_head : nullptr,
                               out);
            }
        }
    }

    const ggml_compute_params* params_;
    ggml_tensor* dst_;
    const ggml_tensor *q_, *k_, *v_;
    PlanView plan_;
    tfserve_paged_attn_params op_;
    Layout lay_;
    char* work_;
    std::atomic<std::int32_t>* arrivals_;
    float* partials_;
    float* slopes_;
    const float* sinks_;
    int group_rows_ = 1, heads_per_item_ = 1, items_per_unit_ = 1;
};

}  // namespace

std::size_t tfserve_paged_attn_work_size(const ggml_tensor* dst, int n_threads) { return Layout(dst).bytes(n_threads); }

void tfserve_paged_attn_forward(const ggml_compute_params* params, ggml_tensor* dst) { Worker(params, dst).run(); }
