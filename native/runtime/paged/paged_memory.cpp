// Finds the paged caches in a context's memory, and gives each step to all of them.
#include <algorithm>
#include <stdexcept>
#include <string>

#include "ggml.h"
#include "llama-arch.h"
#include "llama-hparams.h"
#include "llama-kv-cache-iswa.h"
#include "llama-memory-hybrid-iswa.h"
#include "llama-memory-hybrid.h"
#include "llama-model.h"
#include "paged_cache.h"
#include "paged_step.h"

namespace tfserve::paged {
namespace {

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument("paged cache: " + what); }

class PagedMemory final : public StepExecutor {
   public:
    PagedMemory(std::vector<PagedCache*> caches, bool has_slot_state) : caches_(std::move(caches)), has_slot_state_(has_slot_state) {
        for (PagedCache* cache : caches_) {
            if (cache->has_layers()) groups_.push_back(cache);
        }
    }

    std::size_t num_groups() const override { return groups_.size(); }
    bool has_slot_state() const override { return has_slot_state_; }

    void begin_step(std::span<const StepSequence> sequences, std::span<const PageCopy> copies) override {
        end_step();
        for (const PageCopy& copy : copies) {
            if (copy.group < 0 || static_cast<std::size_t>(copy.group) >= groups_.size()) refuse("a copy names an unknown group");
            groups_[static_cast<std::size_t>(copy.group)]->check(copy);
        }
        std::vector<bool> seen(LLAMA_MAX_SEQ);
        for (const StepSequence& s : sequences) {
            if (s.slot < 0 || s.slot >= LLAMA_MAX_SEQ) refuse("slot " + std::to_string(s.slot) + " is out of range");
            if (seen[static_cast<std::size_t>(s.slot)]) refuse("slot " + std::to_string(s.slot) + " appears twice");
            seen[static_cast<std::size_t>(s.slot)] = true;
            for (PagedCache* cache : caches_) cache->check(s, table_of(s, cache));
        }
        for (const StepSequence& s : sequences) {
            for (PagedCache* cache : caches_) cache->take(s, table_of(s, cache));
        }
        for (const PageCopy& copy : copies) groups_[static_cast<std::size_t>(copy.group)]->copy_cells(copy);
    }

    void end_step() override {
        for (PagedCache* cache : caches_) cache->end_step();
    }

   private:
    std::span<const std::int32_t> table_of(const StepSequence& sequence, const PagedCache* cache) const {
        const auto group = std::ranges::find(groups_, cache);
        return group == groups_.end() ? std::span<const std::int32_t>()
                                      : sequence.tables[static_cast<std::size_t>(group - groups_.begin())];
    }

    std::vector<PagedCache*> caches_;  // all that upstream will ask
    std::vector<PagedCache*> groups_;  // those with layers
    bool has_slot_state_;
};

/// Whether a context's attention cache has a tensor for the layer; follows the filters of llama_model::create_memory.
bool keeps_cells(const llama_model& model, uint32_t il) {
    const llama_hparams& hparams = model.hparams;
    if (!hparams.has_kv(il)) return false;
    if (llm_arch_is_hybrid(model.arch)) {
        if (model.arch == LLM_ARCH_FALCON_H1) return true;
        if (hparams.is_recr(il)) return false;
        if (model.arch == LLM_ARCH_NEMOTRON_H || model.arch == LLM_ARCH_NEMOTRON_H_MOE) return hparams.n_ff(il) == 0;
        return true;
    }
    const bool drafts = hparams.n_layer_nextn > 0 && hparams.n_layer() > 0 && hparams.router_layer < 0;
    return !drafts || il < hparams.n_layer();
}

}  // namespace

std::unique_ptr<StepExecutor> step_executor(const llama_context* ctx) {
    llama_memory_t memory = llama_get_memory(ctx);
    bool has_slot_state = false;
    std::vector<llama_kv_cache*> caches;
    if (auto* plain = dynamic_cast<llama_kv_cache*>(memory)) {
        caches = {plain};
    } else if (auto* pair = dynamic_cast<llama_kv_cache_iswa*>(memory)) {
        caches = {pair->get_base(), pair->get_swa()};
    } else if (auto* hybrid = dynamic_cast<llama_memory_hybrid*>(memory)) {
        has_slot_state = true;
        caches = {hybrid->get_mem_attn()};
    } else if (auto* hybrid_pair = dynamic_cast<llama_memory_hybrid_iswa*>(memory)) {
        has_slot_state = true;
        caches = {hybrid_pair->get_mem_attn()->get_base(), hybrid_pair->get_mem_attn()->get_swa()};
    }
    std::vector<PagedCache*> paged;
    for (llama_kv_cache* cache : caches) {
        auto* found = dynamic_cast<PagedCache*>(cache);
        if (!found) return nullptr;
        paged.push_back(found);
    }
    if (std::ranges::none_of(paged, &PagedCache::has_layers)) return nullptr;
    return std::make_unique<PagedMemory>(std::move(paged), has_slot_state);
}

std::vector<GroupShape> group_shapes(const llama_model& model, ggml_type type_k, ggml_type type_v) {
    const llama_hparams& hparams = model.hparams;
    GroupShape full, windowed;
    windowed.window = static_cast<std::int32_t>(std::min<uint32_t>(hparams.n_swa, INT32_MAX));
    for (uint32_t il = 0; il < hparams.n_layer_all; ++il) {
        if (!keeps_cells(model, il)) continue;
        const bool window = hparams.swa_type != LLAMA_SWA_TYPE_NONE && hparams.is_swa(il);
        std::size_t& bytes = (window ? windowed : full).bytes_per_cell;
        bytes += ggml_row_size(type_k, hparams.n_embd_k_gqa(il));
        if (!hparams.is_mla()) bytes += ggml_row_size(type_v, hparams.n_embd_v_gqa(il));
    }
    std::vector<GroupShape> groups;
    if (full.bytes_per_cell > 0) groups.push_back(full);
    if (windowed.bytes_per_cell > 0) groups.push_back(windowed);
    return groups;
}

}  // namespace tfserve::paged
