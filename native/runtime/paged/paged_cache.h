// The paged KV cache of one group: upstream's tensors, with cells found through the step's block tables.
#pragma once

#include <cstdint>
#include <vector>

#include "llama-kv-cache.h"
#include "paged_plan.h"
#include "paged_step.h"

namespace tfserve::paged {

/// Token (slot, position) lies in cell table[position >> shift] << shift | (position & mask); its index in the sequence is
/// its position. Upstream's cell bookkeeping stays empty. A cache without layers (upstream makes a pair also for models
/// whose layers are all of one kind) takes any step and keeps nothing.
class PagedCache final : public llama_kv_cache {
   public:
    /// n_swa and swa_type as of the layers that `filter` lets in; LLAMA_SWA_TYPE_NONE takes the pool of params.num_blocks,
    /// any other that of params.num_window_blocks.
    PagedCache(const CacheParams& params, const llama_model& model, const llama_hparams& hparams, ggml_type type_k, ggml_type type_v,
               bool offload, uint32_t n_seq_max, uint32_t n_swa, llama_swa_type swa_type, const layer_filter_cb& filter,
               const layer_reuse_cb& reuse, const layer_share_cb& share);

    // the executor's side
    bool has_layers() const { return !layers.empty(); }
    /// Throw std::invalid_argument when something is out of range.
    void check(const StepSequence& sequence, std::span<const std::int32_t> table) const;
    void check(const PageCopy& copy) const;
    void take(const StepSequence& sequence, std::span<const std::int32_t> table);
    void copy_cells(const PageCopy& copy);
    void end_step();

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
    struct Slot {
        std::int32_t position = 0;
        std::int32_t n_tokens = 0;  ///< 0: not in the step
        std::span<const std::int32_t> table;
    };

    /// First position that a query sees.
    std::int32_t first_visible(std::int32_t position) const;
    /// Pages [first, end) of its table that a sequence of the step reads and writes.
    std::size_t first_page(std::int32_t position) const { return static_cast<std::size_t>(first_visible(position) >> shift_); }
    std::size_t end_page(std::int32_t position, std::int32_t n_tokens) const {
        return static_cast<std::size_t>((position + n_tokens + params_.block_size - 1) >> shift_);
    }

    CacheParams params_;
    std::int32_t num_blocks_ = 0;
    int shift_ = 0;
    uint32_t n_cells_ = 0;
    PlanShape shape_;
    std::size_t plan_size_ = 0;
    std::vector<Slot> slots_;  ///< of this step, by slot
    std::vector<std::int32_t> in_step_;
    mutable std::vector<PlanSequence> plan_sequences_;
    mutable std::vector<std::int32_t> plan_index_, plan_host_;
};

/// What the CreationScope of this thread asks for, or null.
const CacheParams* creation_params();

/// Pages of the pool that a cache of this kind takes.
std::int32_t pool_blocks(const CacheParams& params, llama_swa_type swa_type);

}  // namespace tfserve::paged
