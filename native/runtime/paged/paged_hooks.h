// What libllama's own files call: the hooks of native/llama-patches/llama.cpp/0003-paged-attention.patch. C++17.
#pragma once

#include "llama-memory.h"
#include "llama.h"

struct ggml_context;
struct ggml_tensor;
struct llama_hparams;
struct llama_ubatch;
class llama_kv_cache;
class llama_kv_cache_context;

/// The memory that a cache's tensors of this buffer type shall lie in.
ggml_backend_buffer_type_t tfserve_kv_buffer_type(ggml_backend_buffer_type_t buft);

/// Cell records that a cache under construction needs: none for a paged one, whose bookkeeping is the engine's.
uint32_t tfserve_kv_cell_records(uint32_t kv_size);

/// Stands in for `new llama_kv_cache(...)` with the same arguments: a paged cache when the caller asked for one
/// (tfserve::paged::CreationScope) and the model's graph allows it.
llama_kv_cache* tfserve_new_kv_cache(const llama_model& model, const llama_hparams& hparams, ggml_type type_k, ggml_type type_v,
                                     bool v_trans, bool offload, bool unified, uint32_t kv_size, uint32_t n_seq_max, uint32_t n_pad,
                                     uint32_t n_swa, llama_swa_type swa_type, llama_memory_t mem_other,
                                     const llama_memory_i::layer_filter_cb& filter, const llama_memory_i::layer_reuse_cb& reuse,
                                     const llama_memory_i::layer_share_cb& share);

/// The graph input in the mask's place, or null when the cache is not paged.
ggml_tensor* tfserve_paged_plan_input(ggml_context* ctx, const llama_kv_cache_context* mctx, const llama_ubatch& ubatch);
/// A mask is F16 or F32, a plan is I32.
bool tfserve_is_paged_plan(const ggml_tensor* kq_mask);
/// Whether the plan of the ubatch applied last fits a tensor made for an earlier one.
bool tfserve_paged_plan_fits(const ggml_tensor* plan, const llama_kv_cache_context* mctx, const llama_ubatch& ubatch);

/// A GGML_OP_PAGED_ATTN node. q [dk, n_tokens, n_head], k [dk, n_cells, n_head_kv], v [dv, n_cells, n_head_kv], permuted as for
/// flash attention; sinks [n_head] or null. Result [dv, n_head, n_tokens], F32.
ggml_tensor* tfserve_paged_attn(ggml_context* ctx, ggml_tensor* q, ggml_tensor* k, ggml_tensor* v, ggml_tensor* plan, ggml_tensor* sinks,
                                float scale, float max_bias, float softcap);
