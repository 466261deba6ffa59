#include "runtime/llama_runner.h"

#include <algorithm>
#include <array>
#include <bit>
#include <exception>
#include <stdexcept>
#include <utility>

#include "ggml-cpu.h"
#include "llama.h"
#include "runtime/log.h"
#include "runtime/machine.h"
#include "runtime/paged/paged_step.h"

namespace tfserve {
namespace {

// Rounds of spinning before a waiting thread sleeps: a few milliseconds, longer than the pause between two steps of a busy
// engine, so that threads are awake for the next step; an idle engine's threads sleep.
constexpr std::uint32_t kPoll = 1;

/// Memory for the logits of prompts that are scored: libllama's output buffer and its graph have so much each, committed on use.
constexpr std::size_t kPromptLogitsBytes = std::size_t{32} << 20;

std::int32_t max_prompt_logits(const llama_model& model) {
    const auto row = sizeof(float) * static_cast<std::size_t>(std::max(1, llama_vocab_n_tokens(llama_model_get_vocab(&model))));
    return static_cast<std::int32_t>(std::max<std::size_t>(1, kPromptLogitsBytes / row));
}

constexpr std::array<std::pair<KvType, const char*>, 4> kTypeNames{{
    {KvType::float32, "float32"},
    {KvType::float16, "float16"},
    {KvType::bfloat16, "bfloat16"},
    {KvType::q8_0, "q8_0"},
}};

ggml_type ggml_type_of(KvType type) {
    switch (type) {
        case KvType::float32: return GGML_TYPE_F32;
        case KvType::float16: return GGML_TYPE_F16;
        case KvType::bfloat16: return GGML_TYPE_BF16;
        case KvType::q8_0: return GGML_TYPE_Q8_0;
    }
    throw std::invalid_argument("unknown KV cache type");
}

void check_range(const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
    if (value >= least && value <= most) return;
    throw std::invalid_argument("Expected " + std::to_string(least) + ".." + std::to_string(most) + " for " + name + " but received " +
                                std::to_string(value));
}

LlamaRunnerOptions checked(LlamaRunnerOptions options, const llama_model& model) {
    check_range("block_size", options.block_size, 1, 1024);
    if (!std::has_single_bit(static_cast<std::uint32_t>(options.block_size))) {
        throw std::invalid_argument("Expected a power of two for block_size but received " + std::to_string(options.block_size));
    }
    if (options.num_blocks.empty()) throw std::invalid_argument("Expected a number of pages for each KV group");
    for (const std::int32_t blocks : options.num_blocks) check_range("num_blocks", blocks, 1, (INT32_MAX - 256) / options.block_size);
    check_range("max_num_seqs", options.max_num_seqs, 1, static_cast<std::int64_t>(llama_max_parallel_sequences()));
    check_range("max_batch_tokens", options.max_batch_tokens, 1, 1 << 20);
    check_range("max_model_len", options.max_model_len, 0, 1 << 28);
    check_range("n_threads", options.n_threads, 0, GGML_MAX_N_THREADS);
    if (options.max_model_len == 0) options.max_model_len = std::max(1, llama_model_n_ctx_train(&model));
    if (options.n_threads == 0) options.n_threads = std::min(usable_cores(), GGML_MAX_N_THREADS);
    return options;
}

}  // namespace

const char* kv_type_name(KvType type) {
    for (const auto& [value, name] : kTypeNames) {
        if (value == type) return name;
    }
    return "?";
}

std::optional<KvType> kv_type_from_name(std::string_view wanted) {
    for (const auto& [value, name] : kTypeNames) {
        if (wanted == name) return value;
    }
    return std::nullopt;
}

std::vector<KvGroupShape> kv_groups(const llama_model& model, const LlamaRunnerOptions& options) {
    std::vector<KvGroupShape> groups;
    for (const paged::GroupShape& shape : paged::group_shapes(model, ggml_type_of(options.type_k), ggml_type_of(options.type_v))) {
        const std::uint64_t bytes = std::uint64_t{shape.bytes_per_cell} * static_cast<std::uint64_t>(options.block_size);
        if (options.paged || groups.empty()) {
            groups.push_back({bytes, options.paged ? shape.window : 0});
        } else {
            groups[0].block_bytes += bytes;
        }
    }
    if (groups.empty()) groups.push_back({});
    return groups;
}

void LlamaRunner::FreeContext::operator()(llama_context* ctx) const { llama_free(ctx); }

void LlamaRunner::FreeThreads::operator()(ggml_threadpool* pool) const { ggml_threadpool_free(pool); }

LlamaRunner::LlamaRunner(std::shared_ptr<llama_model> model, const LlamaRunnerOptions& wanted) : model_(std::move(model)) {
    capture_llama_log();
    const LlamaRunnerOptions options = checked(wanted, *model_);
    ggml_threadpool_params threads = ggml_threadpool_params_default(options.n_threads);
    threads.poll = kPoll;
    threads_.reset(ggml_threadpool_new(&threads));
    if (!threads_) throw RunnerError("cannot start " + std::to_string(options.n_threads) + " threads");

    create_context(options, options.paged);
    if (options.paged && !executor_) {
        log(LogLevel::warn, "this model's attention memory is not paged yet: prefix cache and shared prompts are off for it");
        create_context(options, false);
    }
    llama_attach_threadpool(ctx_.get(), threads_.get(), threads_.get());

    set_capabilities(options);
}

LlamaRunner::~LlamaRunner() = default;

void LlamaRunner::set_capabilities(const LlamaRunnerOptions& options) {
    const std::vector<KvGroupShape> shapes = kv_groups(*model_, options);
    const auto bytes = [&](std::size_t group, std::int32_t blocks) {
        return shapes[group].block_bytes * static_cast<std::uint64_t>(blocks);
    };
    capabilities_.paged = executor_ != nullptr;
    capabilities_.pages_are_all = executor_ && !executor_->has_slot_state();
    capabilities_.block_size = options.block_size;
    if (executor_) {
        for (std::size_t g = 0; g < shapes.size(); ++g) {
            capabilities_.groups.push_back({options.num_blocks[g], shapes[g].window});
            info_.kv_bytes += bytes(g, options.num_blocks[g]);
        }
    } else {
        const std::int32_t blocks = std::ranges::max(options.num_blocks);
        capabilities_.groups = {{blocks, 0}};
        for (std::size_t g = 0; g < shapes.size(); ++g) info_.kv_bytes += bytes(g, blocks);
    }
    capabilities_.max_num_seqs = options.max_num_seqs;
    capabilities_.max_batch_tokens = static_cast<std::int32_t>(llama_n_ubatch(ctx_.get()));
    capabilities_.max_model_len = options.max_model_len;
    capabilities_.max_prompt_logits = max_prompt_logits(*model_);
    capabilities_.vocab_size = llama_vocab_n_tokens(llama_model_get_vocab(model_.get()));

    info_.paged = capabilities_.paged;
    info_.kernel = capabilities_.paged ? paged::kernel_name() : "";
    info_.n_threads = options.n_threads;
    info_.type_k = options.type_k;
    info_.type_v = options.type_v;
}

void LlamaRunner::create_context(const LlamaRunnerOptions& options, bool paged) {
    executor_.reset();
    ctx_.reset();
    llama_context_params params = llama_context_default_params();
    // With the paged cache n_ctx is the length of one sequence (rope scaling looks at it) and the pool has a size of its own;
    // upstream's cache has n_ctx cells.
    const std::int32_t cells = std::ranges::max(options.num_blocks) * options.block_size;
    params.n_ctx = static_cast<std::uint32_t>(paged ? options.max_model_len : cells);
    params.n_ctx = (params.n_ctx + 255) / 256 * 256;
    // one graph a step; libllama never takes more tokens at once than n_ctx
    params.n_batch = std::min(static_cast<std::uint32_t>(options.max_batch_tokens), params.n_ctx);
    params.n_ubatch = params.n_batch;
    params.n_seq_max = static_cast<std::uint32_t>(options.max_num_seqs);
    // more in a step would end the process
    params.n_outputs_max = std::min(params.n_seq_max + static_cast<std::uint32_t>(max_prompt_logits(*model_)), params.n_batch);
    params.n_threads = params.n_threads_batch = options.n_threads;
    params.type_k = ggml_type_of(options.type_k);
    params.type_v = ggml_type_of(options.type_v);
    params.kv_unified = true;
    params.no_perf = true;
    if (paged) {
        params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
        params.offload_kqv = false;  // the kernels are the CPU's
    } else {
        // upstream's fused attention rounds a float32 cache to float16
        const bool exact = options.type_k == KvType::float32 && options.type_v == KvType::float32;
        params.flash_attn_type = exact ? LLAMA_FLASH_ATTN_TYPE_DISABLED : LLAMA_FLASH_ATTN_TYPE_AUTO;
    }
    paged::CacheParams cache;
    std::optional<paged::CreationScope> scope;
    if (paged) {
        const std::vector<KvGroupShape> groups = kv_groups(*model_, options);
        if (options.num_blocks.size() != groups.size()) {
            throw std::invalid_argument("Expected " + std::to_string(groups.size()) +
                                        " numbers of pages, one for each KV group, but received " +
                                        std::to_string(options.num_blocks.size()));
        }
        cache.block_size = options.block_size;
        for (std::size_t g = 0; g < groups.size(); ++g) {
            (groups[g].window > 0 ? cache.num_window_blocks : cache.num_blocks) = options.num_blocks[g];
        }
        cache.max_batch_tokens = static_cast<std::int32_t>(params.n_batch);
        cache.n_threads = options.n_threads;
        scope.emplace(cache);
    }
    try {
        ctx_.reset(llama_init_from_model(model_.get(), params));
    } catch (const std::exception& e) {
        throw RunnerError(std::string("cannot make a context for the model: ") + e.what());
    }
    if (!ctx_)
        throw RunnerError(
            "cannot make a context for the model: too little memory, or its heads do not fit the KV cache's type (see the log)");
    if (!llama_get_memory(ctx_.get())) throw RunnerError("the model does not generate text");
    executor_ = paged::step_executor(ctx_.get());
    if (executor_ && executor_->num_groups() != options.num_blocks.size()) {
        throw RunnerError("the model's attention memory is not of the expected kind");
    }
}

void LlamaRunner::check(const StepPlan& plan) const {
    if (plan.n_tokens() > capabilities_.max_batch_tokens) throw RunnerError("the step has more tokens than the runner takes");
    if (!executor_ && !plan.copies.empty()) throw RunnerError("this runner has no pages to copy");
    std::int64_t n_tokens = 0;
    std::int64_t n_logits = 0;
    for (const PlanRow& row : plan.rows) {
        if (row.slot < 0 || row.slot >= capabilities_.max_num_seqs || row.n_tokens < 1 || row.n_logits < 0 || row.n_logits > row.n_tokens ||
            row.token_offset < 0 || row.token_offset > plan.n_tokens() - row.n_tokens) {
            throw RunnerError("a row of the step is out of range");
        }
        if (executor_ && (row.tables.size() != capabilities_.groups.size() || std::ranges::count(row.tables, nullptr) > 0)) {
            throw RunnerError("a row of the step has no block table");
        }
        n_tokens += row.n_tokens;
        n_logits += row.n_logits;
    }
    if (n_tokens != plan.n_tokens()) throw RunnerError("the rows of the step do not cover its tokens");
    if (n_logits > capabilities_.max_num_seqs + capabilities_.max_prompt_logits)
        throw RunnerError("the step wants more logits than the runner gives");
}

void LlamaRunner::fill_batch(const StepPlan& plan) {
    const auto n = static_cast<std::size_t>(plan.n_tokens());
    batch_.token.clear();
    batch_.pos.clear();
    batch_.slot.clear();
    batch_.logits.clear();
    batch_.n_seq_id.assign(n, 1);
    for (const PlanRow& row : plan.rows) {
        const auto first = static_cast<std::int32_t>(batch_.token.size());
        for (std::int32_t i = 0; i < row.n_tokens; ++i) {
            batch_.token.push_back(plan.tokens[static_cast<std::size_t>(row.token_offset + i)]);
            batch_.pos.push_back(row.position + i);
            batch_.slot.push_back(row.slot);
            batch_.logits.push_back(i >= row.n_tokens - row.n_logits);
        }
        row_logits_.push_back({first + row.n_tokens - row.n_logits, row.n_logits});
    }
    batch_.seq_id.resize(n);
    for (std::size_t i = 0; i < n; ++i) batch_.seq_id[i] = &batch_.slot[i];
}

void LlamaRunner::begin_paged(const StepPlan& plan) {
    std::vector<paged::StepSequence> sequences;
    sequences.reserve(plan.rows.size());
    for (const PlanRow& row : plan.rows) {
        paged::StepSequence& sequence = sequences.emplace_back();
        sequence.slot = row.slot;
        sequence.position = row.position;
        sequence.n_tokens = row.n_tokens;
        for (std::size_t group = 0; group < row.tables.size(); ++group) sequence.tables[group] = *row.tables[group];
    }
    std::vector<paged::PageCopy> copies;
    copies.reserve(plan.copies.size());
    for (const BlockCopy& copy : plan.copies) copies.push_back({copy.group, copy.src, copy.dst, copy.n_cells});
    executor_->begin_step(sequences, copies);
}

void LlamaRunner::drop(SlotId slot, std::int32_t from) {
    llama_memory_t memory = llama_get_memory(ctx_.get());
    // a recurrent state cannot lose its tail: then the whole sequence goes
    if (!llama_memory_seq_rm(memory, slot, from, -1)) llama_memory_seq_rm(memory, slot, -1, -1);
}

void LlamaRunner::decode(const StepPlan& plan) {
    fill_batch(plan);
    llama_batch batch{};
    batch.n_tokens = plan.n_tokens();
    batch.token = batch_.token.data();
    batch.pos = batch_.pos.data();
    batch.n_seq_id = batch_.n_seq_id.data();
    batch.seq_id = batch_.seq_id.data();
    batch.logits = batch_.logits.data();
    const int code = llama_decode(ctx_.get(), batch);
    llama_synchronize(ctx_.get());
    if (code != 0) {
        throw RunnerError(code == 1 ? "no room in the KV cache for this step"
                                    : "the model failed to compute a step (" + std::to_string(code) + ")");
    }
}

void LlamaRunner::execute(const StepPlan& plan) {
    row_logits_.clear();
    check(plan);
    try {
        for (const SlotId slot : plan.released_slots) drop(slot, -1);  // with pages: what the slot keeps besides them
        if (executor_) begin_paged(plan);
        if (!plan.empty()) decode(plan);
    } catch (const std::exception& e) {
        row_logits_.clear();
        if (executor_) executor_->end_step();
        for (const PlanRow& row : plan.rows) drop(row.slot, row.position);
        throw RunnerError(e.what());
    }
    if (executor_) executor_->end_step();
}

std::span<float> LlamaRunner::logits(std::size_t row, std::size_t index) {
    if (row >= row_logits_.size() || index >= static_cast<std::size_t>(row_logits_[row].count)) {
        throw std::out_of_range("these logits were not asked for");
    }
    float* values = llama_get_logits_ith(ctx_.get(), row_logits_[row].first + static_cast<std::int32_t>(index));
    if (!values) throw RunnerError("the model gave no logits");
    return {values, static_cast<std::size_t>(capabilities_.vocab_size)};
}

std::int32_t LlamaRunner::graphs_reused() const { return llama_perf_context(ctx_.get()).n_reused; }

}  // namespace tfserve
