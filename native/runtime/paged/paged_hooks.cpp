#include "paged_hooks.h"

#include <bit>
#include <cstring>
#include <memory>

#include "ggml.h"
#include "kv_buffer.h"
#include "llama-hparams.h"
#include "llama-impl.h"
#include "llama-kv-cache.h"
#include "llama-model.h"
#include "paged_cache.h"
#include "paged_op.h"

using namespace tfserve::paged;

namespace {

const PagedCache* paged_cache_of(const llama_kv_cache_context* mctx) { return dynamic_cast<const PagedCache*>(mctx->get_kv()); }

// Graphs are kept from step to step while the plan fits: powers of two let it grow without rebuilding each time.
std::int64_t plan_capacity(std::size_t words) { return static_cast<std::int64_t>(std::bit_ceil(std::max<std::size_t>(words, 1024))); }

/// What the plan cannot say keeps the model on upstream's cache.
const char* why_not_paged(const llama_model& model, bool v_trans, bool unified, uint32_t n_swa, llama_swa_type swa_type,
                          llama_memory_t mem_other) {
    const llama_hparams& hparams = model.hparams;
    if (v_trans) return "its attention cannot be fused";
    if (!unified) return "the sequences have separate buffers";
    if (swa_type != LLAMA_SWA_TYPE_NONE && (n_swa < 1 || n_swa > INT32_MAX)) return "its window is out of range";
    if (swa_type == LLAMA_SWA_TYPE_SYMMETRIC) return "its window looks ahead";
    if (model.arch == LLM_ARCH_DEEPSEEK4 || model.arch == LLM_ARCH_DFLASH) return "its graph reads the mask itself";
    if (mem_other) return "it reads another model's cache";
    if (hparams.n_rel_attn_bkts != 0) return "it has a relative position bias";
    if (hparams.ple_n_heads != 0) return "its embeddings read the tokens kept in cells";
    return nullptr;
}

// Whether this thread is inside the constructor of a paged cache: its base class asks for its records there.
thread_local bool t_making_paged_cache = false;

struct MakingPagedCache {
    MakingPagedCache() { t_making_paged_cache = true; }
    ~MakingPagedCache() { t_making_paged_cache = false; }
    MakingPagedCache(const MakingPagedCache&) = delete;
    MakingPagedCache& operator=(const MakingPagedCache&) = delete;
};

}  // namespace

ggml_backend_buffer_type_t tfserve_kv_buffer_type(ggml_backend_buffer_type_t buft) { return lazy_kv_buffer_type(buft); }

uint32_t tfserve_kv_cell_records(uint32_t kv_size) { return t_making_paged_cache ? 0 : kv_size; }

llama_kv_cache* tfserve_new_kv_cache(const llama_model& model, const llama_hparams& hparams, ggml_type type_k, ggml_type type_v,
                                     bool v_trans, bool offload, bool unified, uint32_t kv_size, uint32_t n_seq_max, uint32_t n_pad,
                                     uint32_t n_swa, llama_swa_type swa_type, llama_memory_t mem_other,
                                     const llama_memory_i::layer_filter_cb& filter, const llama_memory_i::layer_reuse_cb& reuse,
                                     const llama_memory_i::layer_share_cb& share) {
    if (const CacheParams* params = creation_params()) {
        const char* reason = why_not_paged(model, v_trans, unified, n_swa, swa_type, mem_other);
        if (!reason) {
            const MakingPagedCache scope;
            return std::make_unique<PagedCache>(*params, model, hparams, type_k, type_v, offload, n_seq_max, n_swa, swa_type, filter, reuse,
                                                share)
                .release();
        }
        LLAMA_LOG_INFO("%s: no paged cache: %s\n", __func__, reason);
    }
    return std::make_unique<llama_kv_cache>(model, hparams, type_k, type_v, v_trans, offload, unified, kv_size, n_seq_max, n_pad, n_swa,
                                            swa_type, mem_other, filter, reuse, share)
        .release();
}

ggml_tensor* tfserve_paged_plan_input(ggml_context* ctx, const llama_kv_cache_context* mctx, const llama_ubatch&) {
    const PagedCache* cache = paged_cache_of(mctx);
    if (!cache) return nullptr;
    ggml_tensor* plan = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, plan_capacity(cache->plan_size()));
    ggml_set_input(plan);
    ggml_set_name(plan, "attn_inp_paged_plan");
    // the nodes that read the plan take their bounds from here
    plan->op_params[0] = static_cast<std::int32_t>(max_partial_rows(cache->shape()));
    plan->op_params[1] = static_cast<std::int32_t>(max_groups(cache->shape().n_threads));
    return plan;
}

bool tfserve_is_paged_plan(const ggml_tensor* kq_mask) { return kq_mask && kq_mask->type == GGML_TYPE_I32; }

bool tfserve_paged_plan_fits(const ggml_tensor* plan, const llama_kv_cache_context* mctx, const llama_ubatch&) {
    const PagedCache* cache = paged_cache_of(mctx);
    return cache && plan->ne[0] >= static_cast<std::int64_t>(cache->plan_size());
}

ggml_tensor* tfserve_paged_attn(ggml_context* ctx, ggml_tensor* q, ggml_tensor* k, ggml_tensor* v, ggml_tensor* plan, ggml_tensor* sinks,
                                float scale, float max_bias, float softcap) {
    GGML_ASSERT(q->type == GGML_TYPE_F32 && q->nb[0] == sizeof(float));
    GGML_ASSERT(q->ne[3] == 1 && k->ne[3] == 1 && v->ne[3] == 1);
    GGML_ASSERT(q->ne[0] == k->ne[0] && k->ne[1] == v->ne[1] && k->ne[2] == v->ne[2] && q->ne[2] % k->ne[2] == 0);
    GGML_ASSERT(!sinks || (sinks->type == GGML_TYPE_F32 && sinks->ne[0] == q->ne[2]));
    ggml_tensor* result = ggml_new_tensor_3d(ctx, GGML_TYPE_F32, v->ne[0], q->ne[2], q->ne[1]);
    result->op = GGML_OP_PAGED_ATTN;
    result->src[0] = q;
    result->src[1] = k;
    result->src[2] = v;
    result->src[3] = plan;
    result->src[4] = sinks;
    const tfserve_paged_attn_params params{scale, max_bias, softcap, plan->op_params[0], plan->op_params[1]};
    static_assert(sizeof(params) <= GGML_MAX_OP_PARAMS);
    std::memcpy(result->op_params, &params, sizeof(params));
    return result;
}
