// The paged KV cache: upstream's tensors, with cells found through the step's block tables.
#pragma once

#include <cstdint>
#include <vector>

#include "llama-kv-cache.h"
#include "paged_plan.h"
#include "paged_step.h"

namespace tfserve::paged {

/// Token (slot, position) lies in cell table[position >> shift] << shift | (position & mask); its index in the sequence is
/// its position. Upstream's cell bookkeeping stays empty.
class PagedCache final : public llama_kv_cache, public StepExecutor {
   public:
    PagedCache(const CacheParams& params, const llama_model& model, const llama_hparams& hparams, ggml_type type_k, ggml_type type_v,
               bool offload, uint32_t n_seq_max, const layer_filter_cb& filter, const layer_reuse_cb& reuse, const layer_share_cb& share);

    // StepExecutor
    void begin_step(std::span<const StepSequence> sequences, std::span<const PageCopy> copies) override;
    void end_step() override;

    // llama_kv_cache
    uint32_t get_size() const override { return n_cells_; }
    uint32_t get_n_kv(const slot_info&) const override { return n_cells_; }
    slot_info_vec_t prepare(const std::vector<llama_ubatch>& ubatches) override;
    void apply_ubatch(const slot_info& sinfo, const llama_ubatch& ubatch) override;
    void set_input_kq_mask(ggml_tensor* dst, const llama_ubatch* ubatch, bool causal_attn) const override;
    llama_memory_context_ptr init_full() override;

    // llama_memory_i: sequences belong to the engine, so there is nothing to edit here
    bool get_can_shift() const override { return false; }
    void clear(bool data) override;
    bool seq_rm(llama_seq_id, llama_pos, llama_pos) override { return true; }
    void seq_cp(llama_seq_id, llama_seq_id, llama_pos, llama_pos) override;
    void seq_keep(llama_seq_id) override {}
    void seq_add(llama_seq_id, llama_pos, llama_pos, llama_pos) override;
    void seq_div(llama_seq_id, llama_pos, llama_pos, int) override;
    llama_pos seq_pos_min(llama_seq_id seq_id) const override;
    llama_pos seq_pos_max(llama_seq_id seq_id) const override;
    void state_write(llama_io_write_i& io, llama_seq_id seq_id, llama_state_seq_flags flags) const override;
    void state_read(llama_io_read_i& io, llama_seq_id seq_id, llama_state_seq_flags flags) override;

    // the graph's side
    /// int32 words that the plan of the ubatch applied last needs (after init_full: of the largest step).
    std::size_t plan_size() const { return plan_size_; }
    const PlanShape& shape() const { return shape_; }

   private:
    std::uint32_t cells_of(const StepSequence& sequence) const;
    void check(const StepSequence& sequence) const;
    void copy_cells(const PageCopy& copy);

    CacheParams params_;
    int shift_ = 0;
    uint32_t n_cells_ = 0;
    PlanShape shape_;
    std::size_t plan_size_ = 0;
    std::vector<StepSequence> slots_;  ///< of this step, by slot; n_tokens == 0: not in it
    std::vector<std::int32_t> in_step_;
    mutable std::vector<PlanSequence> plan_sequences_;
    mutable std::vector<std::int32_t> plan_index_, plan_host_;
};

/// What the CreationScope of this thread asks for, or null.
const CacheParams* creation_params();

}  // namespace tfserve::paged
