#include "paged_cache.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <string>

#include "ggml-backend.h"
#include "ggml-cpp.h"
#include "llama-batch.h"
#include "llama-context.h"
#include "llama-hparams.h"
#include "llama-impl.h"
#include "llama-model.h"
#include "paged_kernel.h"

namespace tfserve::paged {
namespace {

thread_local const CacheParams* t_creation = nullptr;

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument("paged cache: " + what); }

}  // namespace

CreationScope::CreationScope(const CacheParams& params) {
    if (t_creation) throw std::logic_error("paged cache: a context is already being made on this thread");
    if (params.block_size < 1 || !std::has_single_bit(static_cast<std::uint32_t>(params.block_size))) {
        refuse("the block size must be a power of two");
    }
    for (const std::int32_t blocks : {params.num_blocks, params.num_window_blocks}) {
        if (blocks < 0 || blocks > INT32_MAX / params.block_size) refuse("the number of blocks is out of range");
    }
    if (params.n_threads < 1 || params.max_batch_tokens < 1) refuse("bad thread count or batch size");
    t_creation = &params;
}

CreationScope::~CreationScope() { t_creation = nullptr; }

const CacheParams* creation_params() { return t_creation; }

std::int32_t pool_blocks(const CacheParams& params, llama_swa_type swa_type) {
    return swa_type == LLAMA_SWA_TYPE_NONE ? params.num_blocks : params.num_window_blocks;
}

PagedCache::PagedCache(const CacheParams& params, const llama_model& model, const llama_hparams& hparams, ggml_type type_k,
                       ggml_type type_v, bool offload, uint32_t n_seq_max, uint32_t n_swa, llama_swa_type swa_type,
                       const layer_filter_cb& filter, const layer_reuse_cb& reuse, const layer_share_cb& share)
    : llama_kv_cache(model, hparams, type_k, type_v, /*v_trans=*/false, offload, /*unified=*/true,
                     static_cast<uint32_t>(pool_blocks(params, swa_type)) * static_cast<uint32_t>(params.block_size), n_seq_max,
                     /*n_pad=*/1, n_swa, swa_type, /*mem_other=*/nullptr, filter, reuse, share),
      params_(params),
      num_blocks_(pool_blocks(params, swa_type)),
      shift_(std::countr_zero(static_cast<std::uint32_t>(params.block_size))),
      n_cells_(static_cast<uint32_t>(num_blocks_) * static_cast<uint32_t>(params.block_size)),
      slots_(LLAMA_MAX_SEQ),
      plan_index_(LLAMA_MAX_SEQ, -1) {
    shape_.n_threads = params.n_threads;
    if (!has_layers()) return;
    if (num_blocks_ == 0) refuse("a kind of layers that the model has got no pages");
    shape_.n_head = 0;
    for (const auto& layer : layers) {
        const int n_head = static_cast<int>(hparams.n_head(layer.il));
        if (n_head <= shape_.n_head) continue;
        shape_.n_head = n_head;
        shape_.n_head_kv = static_cast<int>(hparams.n_head_kv(layer.il));
    }
    if (shape_.n_head == 0) refuse("the model has no attention layer");
}

std::int32_t PagedCache::first_visible(std::int32_t position) const {
    const auto window = static_cast<std::int32_t>(n_swa);
    switch (swa_type) {
        case LLAMA_SWA_TYPE_STANDARD: return std::max(0, position - window + 1);
        case LLAMA_SWA_TYPE_CHUNKED: return position / window * window;
        default: return 0;
    }
}

void PagedCache::check(const StepSequence& s, std::span<const std::int32_t> table) const {
    if (s.position < 0 || s.n_tokens < 1 || s.n_tokens > INT32_MAX - params_.block_size - s.position) refuse("bad position");
    if (!has_layers()) return;
    const std::size_t first = first_page(s.position), end = end_page(s.position, s.n_tokens);
    if (table.size() < end) refuse("the block table does not cover the tokens");
    for (const std::int32_t page : table.subspan(first, end - first)) {
        if (page < 0 || page >= num_blocks_) refuse("page " + std::to_string(page) + " is out of range");
    }
}

void PagedCache::check(const PageCopy& c) const {
    if (c.src < 0 || c.src >= num_blocks_ || c.dst < 0 || c.dst >= num_blocks_ || c.src == c.dst || c.n_cells < 0 ||
        c.n_cells > params_.block_size) {
        refuse("bad copy");
    }
}

void PagedCache::take(const StepSequence& s, std::span<const std::int32_t> table) {
    slots_[static_cast<std::size_t>(s.slot)] = {s.position, s.n_tokens, table};
    in_step_.push_back(s.slot);
}

void PagedCache::end_step() {
    for (const std::int32_t slot : in_step_) slots_[static_cast<std::size_t>(slot)] = {};
    in_step_.clear();
}

void PagedCache::copy_cells(const PageCopy& copy) {
    if (copy.n_cells == 0) return;
    const auto copy_rows = [&](ggml_tensor* t) {
        if (!t) return;
        const std::size_t row = t->nb[1];
        const std::size_t src = (static_cast<std::size_t>(copy.src) << shift_) * row,
                          dst = (static_cast<std::size_t>(copy.dst) << shift_) * row;
        if (ggml_backend_buffer_is_host(t->buffer)) {
            std::memcpy(static_cast<char*>(t->data) + dst, static_cast<const char*>(t->data) + src,
                        static_cast<std::size_t>(copy.n_cells) * row);
            return;
        }
        ggml_context_ptr ctx{ggml_init({2 * ggml_tensor_overhead(), nullptr, true})};
        ggml_tensor* from = ggml_view_2d(ctx.get(), t, t->ne[0], copy.n_cells, row, src);
        ggml_tensor* to = ggml_view_2d(ctx.get(), t, t->ne[0], copy.n_cells, row, dst);
        ggml_backend_view_init(from);
        ggml_backend_view_init(to);
        ggml_backend_tensor_copy(from, to);
    };
    for (const auto& layer : layers) {
        copy_rows(layer.k);
        copy_rows(layer.v);
    }
}

llama_kv_cache::slot_info_vec_t PagedCache::prepare(const std::vector<llama_ubatch>& ubatches) {
    slot_info_vec_t result;
    result.reserve(ubatches.size());
    const std::int32_t mask = params_.block_size - 1;
    for (const llama_ubatch& ubatch : ubatches) {
        slot_info info;
        info.s0 = info.s1 = 0;
        info.resize(1);
        info.strm[0] = 0;
        auto& cells = info.idxs[0];
        cells.reserve(ubatch.n_tokens);
        for (uint32_t i = 0; i < ubatch.n_tokens; ++i) {
            const Slot& s = slots_[static_cast<std::size_t>(ubatch.seq_id[i][0])];
            const llama_pos pos = ubatch.pos[i];
            if (ubatch.n_seq_id[i] != 1 || pos < s.position || pos >= s.position + s.n_tokens) {
                LLAMA_LOG_ERROR("%s: token at position %d is not part of the step\n", __func__, pos);
                return {};
            }
            cells.push_back(
                !has_layers() ? 0 : static_cast<uint32_t>(s.table[static_cast<std::size_t>(pos >> shift_)] << shift_ | (pos & mask)));
        }
        result.push_back(std::move(info));
    }
    return result;
}

void PagedCache::apply_ubatch(const slot_info&, const llama_ubatch& ubatch) {
    std::size_t pages = 0;
    for (uint32_t s = 0; s < ubatch.n_seqs_unq; ++s) {
        const Slot& slot = slots_[static_cast<std::size_t>(ubatch.seq_id_unq[s])];
        pages += end_page(slot.position, slot.n_tokens) - first_page(slot.position);
    }
    plan_size_ = plan_words(ubatch.n_tokens, ubatch.n_seqs_unq, pages, shape_.n_threads);
}

llama_memory_context_ptr PagedCache::init_full() {
    // sequences may share pages, so their tables together can be longer than the pool; such a step makes a larger graph
    plan_size_ = plan_words(static_cast<std::size_t>(params_.max_batch_tokens), n_seq_max,
                            static_cast<std::size_t>(num_blocks_) + n_seq_max, shape_.n_threads);
    return llama_kv_cache::init_full();
}

void PagedCache::set_input_kq_mask(ggml_tensor* dst, const llama_ubatch* ubatch, bool causal_attn) const {
    GGML_ASSERT(dst->type == GGML_TYPE_I32);
    if (!has_layers()) return;  // no node reads it
    plan_sequences_.resize(ubatch->n_seqs_unq);
    for (uint32_t s = 0; s < ubatch->n_seqs_unq; ++s) {
        const auto id = static_cast<std::size_t>(ubatch->seq_id_unq[s]);
        const Slot& slot = slots_[id];
        const std::size_t first = first_page(slot.position);
        plan_index_[id] = static_cast<std::int32_t>(s);
        PlanSequence& out = plan_sequences_[s];
        out.table = slot.table.subspan(first, end_page(slot.position, slot.n_tokens) - first);
        out.token_row.clear();
        out.first_cell.clear();
        out.end_cell.clear();
    }
    for (uint32_t i = 0; i < ubatch->n_tokens; ++i) {
        const auto id = static_cast<std::size_t>(ubatch->seq_id[i][0]);
        const Slot& slot = slots_[id];
        PlanSequence& out = plan_sequences_[static_cast<std::size_t>(plan_index_[id])];
        // the plan counts cells from the first page that it names
        const auto skipped = static_cast<std::int32_t>(first_page(slot.position) << shift_);
        const std::int32_t end = causal_attn ? ubatch->pos[i] + 1 : slot.position + slot.n_tokens;
        out.token_row.push_back(static_cast<std::int32_t>(i));
        out.first_cell.push_back(first_visible(ubatch->pos[i]) - skipped);
        out.end_cell.push_back(end - skipped);
    }
    const auto n = static_cast<std::size_t>(dst->ne[0]);
    if (ggml_backend_buffer_is_host(dst->buffer)) {
        fill_plan({static_cast<std::int32_t*>(dst->data), n}, shift_, plan_sequences_, shape_);
        return;
    }
    plan_host_.resize(n);
    const std::size_t used = fill_plan(plan_host_, shift_, plan_sequences_, shape_);
    ggml_backend_tensor_set(dst, plan_host_.data(), 0, used * sizeof(std::int32_t));
}

void PagedCache::clear(bool data) {
    end_step();
    if (!data) return;
    for (auto& [ctx, buffer] : ctxs_bufs) ggml_backend_buffer_clear(buffer.get(), 0);
}

// A step's tokens continue their sequence: upstream checks new positions against these.
llama_pos PagedCache::seq_pos_max(llama_seq_id seq_id) const {
    const auto slot = static_cast<std::size_t>(seq_id);
    return slot < slots_.size() && slots_[slot].n_tokens > 0 ? slots_[slot].position - 1 : -1;
}

llama_pos PagedCache::seq_pos_min(llama_seq_id seq_id) const { return seq_pos_max(seq_id) < 0 ? -1 : 0; }

void PagedCache::seq_cp(llama_seq_id, llama_seq_id, llama_pos, llama_pos) {
    throw std::logic_error("paged cache: sequences share pages through their block tables");
}

void PagedCache::seq_add(llama_seq_id, llama_pos, llama_pos, llama_pos) {
    throw std::logic_error("paged cache: positions cannot be moved");
}

void PagedCache::seq_div(llama_seq_id, llama_pos, llama_pos, int) { throw std::logic_error("paged cache: positions cannot be moved"); }

void PagedCache::state_write(llama_io_write_i&, llama_seq_id, llama_state_seq_flags) const {
    throw std::logic_error("paged cache: it has no state of its own to save");
}

void PagedCache::state_read(llama_io_read_i&, llama_seq_id, llama_state_seq_flags) {
    throw std::logic_error("paged cache: it has no state of its own to load");
}

const char* kernel_name() { return tf_kernel_best()->name; }

}  // namespace tfserve::paged
