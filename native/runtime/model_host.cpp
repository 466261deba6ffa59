#include "runtime/model_host.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <stdexcept>
#include <utility>

#include "engine/stand_in_runner.h"
#include "llama.h"
#include "loader/gguf_vocab.h"
#include "loader/llama_abort.h"
#include "loader/mapped_file.h"
#include "loader/model_loader.h"
#include "runtime/llama_runner.h"
#include "runtime/log.h"
#include "runtime/machine.h"

namespace tfserve {

namespace {

// A chunk token costs nearly what a decode token costs on a CPU, so a step's length is its token count: long enough
// for the matrix products of a prompt to run at full speed, short enough that a step stays below a second.
constexpr std::int32_t kDefaultBatchTokens = 512;
// While others decode, a prompt is computed in smaller pieces: each of them delays every running stream.
constexpr std::int32_t kPrefillChunkShare = 4;
constexpr std::int32_t kSmallestPrefillChunk = 64;
constexpr std::int32_t kDefaultNumSeqs = 64;
constexpr std::int32_t kMaxNumSeqs = 256;  // of libllama
constexpr std::int32_t kMaxBlockSize = 1024;
constexpr std::size_t kMaxTokenizerBytes = 256u << 20;

double ms_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

WeightType weight_type(const std::string& name) {
    if (name == "auto") return WeightType::as_stored;
    if (name == "bfloat16") return WeightType::bfloat16;
    if (name == "float16") return WeightType::float16;
    if (name == "float32") return WeightType::float32;
    throw std::invalid_argument("Expected auto, bfloat16, float16 or float32 for dtype.");
}

const QuantizationScheme* quantization(const std::string& name) {
    if (name.empty()) return nullptr;
    if (const QuantizationScheme* scheme = find_quantization(name)) return scheme;
    throw std::invalid_argument("Expected " + quantization_names() + " for the quantization.");
}

// float16 holds keys and values more exactly than bfloat16; float32 weights ask for exact attention
KvType kv_type(const std::string& name, const std::string& dtype) {
    if (name == "auto") return dtype == "float32" ? KvType::float32 : KvType::float16;
    if (const auto type = kv_type_from_name(name)) return *type;
    throw std::invalid_argument("Expected auto, float32, float16, bfloat16 or q8_0 for the KV cache's type.");
}

struct BatchSizes {
    std::int32_t tokens, seqs;
};

BatchSizes batch_sizes(const ModelHostOptions& options) {
    if (options.block_size < 1 || options.block_size > kMaxBlockSize || (options.block_size & (options.block_size - 1)) != 0) {
        throw std::invalid_argument("Expected a power of two from 1 to 1024 for the block size.");
    }
    const std::int32_t tokens = options.max_batch_tokens > 0 ? options.max_batch_tokens : kDefaultBatchTokens;
    const std::int32_t seqs = std::clamp(options.max_num_seqs > 0 ? options.max_num_seqs : kDefaultNumSeqs, 1, kMaxNumSeqs);
    return {tokens, std::min(seqs, tokens)};
}

EngineConfig engine_config(const ModelHostOptions& options, std::int32_t batch_tokens) {
    EngineConfig config;
    config.max_waiting = options.max_waiting;
    config.max_waiting_tokens = options.max_waiting_tokens;
    config.prefix_cache = options.prefix_caching;
    config.continuous_batching = options.continuous_batching;
    config.max_prefill_chunk = std::min(batch_tokens, std::max(batch_tokens / kPrefillChunkShare, kSmallestPrefillChunk));
    return config;
}

std::string megabytes(std::uint64_t bytes) { return std::to_string((bytes + (1U << 20) - 1) >> 20) + " MiB"; }

// As many pages as the memory holds, see kv_sizes. Where not even one sequence of full length fits, the length gives way, with
// a warning.
KvSizes pool_sizes(const ModelHostOptions& options, std::int32_t context_length, const BatchSizes& batch,
                   const std::vector<KvGroupShape>& groups, std::vector<std::string>& warnings) {
    if (options.max_model_len > context_length) {
        warnings.push_back("max-model-len " + std::to_string(options.max_model_len) + " is more than the " +
                           std::to_string(context_length) + " positions that the model was made for.");
    }
    const std::int32_t wanted = options.max_model_len > 0 ? options.max_model_len : context_length;
    if (wanted < 2) throw std::runtime_error("The context must hold two tokens at least: one of a prompt and one of an answer.");
    const KvSizes sizes = kv_sizes({options.kv_cache_memory, options.block_size, batch.tokens, batch.seqs, wanted, groups});
    if (sizes.num_blocks.empty()) {
        throw std::runtime_error("The KV cache's memory (" + megabytes(options.kv_cache_memory) + ") does not hold two pages of " +
                                 std::to_string(options.block_size) +
                                 " tokens: give more with --kv-cache-memory, or a smaller --block-size.");
    }
    if (sizes.max_model_len < wanted) {
        warnings.push_back("The KV cache (" + megabytes(options.kv_cache_memory) + ") holds " + std::to_string(sizes.max_model_len) +
                           " tokens, fewer than the model's " + std::to_string(wanted) +
                           ": longer requests are refused. --kv-cache-memory gives it more.");
    }
    return sizes;
}

/// Computes one token, so that the first request does not pay for what is done once: weights come from the disk into memory, threads
/// start, buffers are touched. Throws RunnerError.
void warm_up(ModelRunner& runner) {
    const RunnerCapabilities& can = runner.capabilities();
    const std::vector<std::vector<BlockId>> tables(can.groups.size(), std::vector<BlockId>{0});
    StepPlan plan;
    plan.tokens = {0};
    PlanRow row{};
    row.n_tokens = row.n_logits = 1;
    for (const auto& table : tables) row.tables.push_back(&table);
    plan.rows.push_back(std::move(row));
    runner.execute(plan);
    // a runner with a memory of its own for each slot forgets it
    StepPlan release;
    release.released_slots = {0};
    runner.execute(release);
}

}  // namespace

struct ModelHost::Impl {
    std::shared_ptr<LoadedModel> weights;  // null for the stand-in; outlives the engine
    ModelHostInfo info;
    std::shared_ptr<const TokenTable> tokens;
    std::unique_ptr<ConstraintCompiler> constraints;
    std::unique_ptr<Engine> engine;
};

namespace {

std::shared_ptr<const TokenTable> checkpoint_tokens(const std::filesystem::path& dir, std::int32_t vocab_size) {
    const MappedFile file(dir / "tokenizer.json");
    const auto bytes = file.bytes();
    if (bytes.size() > kMaxTokenizerBytes) throw std::runtime_error("tokenizer.json is larger than 256 MiB.");
    return TokenTable::from_tokenizer_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, vocab_size);
}

// A vocabulary of printable words, so that the stand-in's streams look like text. With a checkpoint's path it is that
// checkpoint's own: templates and tokenizer then cost what they cost in earnest.
std::shared_ptr<const TokenTable> stand_in_tokens(const ModelHostOptions& options) {
    const std::filesystem::path file = std::filesystem::path(options.path) / "tokenizer.json";
    if (std::filesystem::exists(file)) return checkpoint_tokens(options.path, options.stand_in->vocab_size);
    std::vector<std::string> pieces;
    for (std::int32_t id = 0; id < options.stand_in->vocab_size; ++id) pieces.push_back(" word" + std::to_string(id));
    return TokenTable::from_pieces(pieces, std::vector<bool>(pieces.size(), false), false);
}

}  // namespace

ModelHost::ModelHost(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ModelHost::~ModelHost() = default;

static std::unique_ptr<ModelRunner> load_stand_in(const ModelHostOptions& options, ModelHostInfo& info) {
    constexpr std::int32_t kContext = 32768;
    const BatchSizes batch = batch_sizes(options);
    StandInOptions stand_in;
    stand_in.capabilities.paged = options.paged_kv;
    stand_in.capabilities.block_size = options.block_size;
    stand_in.capabilities.max_num_seqs = batch.seqs;
    stand_in.capabilities.max_batch_tokens = batch.tokens;
    stand_in.capabilities.max_model_len = options.max_model_len > 0 ? options.max_model_len : kContext;
    stand_in.capabilities.vocab_size = options.stand_in->vocab_size;
    stand_in.capabilities.max_prompt_logits = 64;
    stand_in.capabilities.groups = {{(stand_in.capabilities.max_model_len / options.block_size + 1) * batch.seqs, 0}};
    stand_in.base_delay = std::chrono::microseconds(options.stand_in->step_micros);
    stand_in.per_token_delay = std::chrono::microseconds(options.stand_in->token_micros);
    info.architecture = "stand-in";
    info.dtype = "none";
    info.kv_cache_dtype = "none";
    info.context_length = kContext;
    info.attention_kernel = "none";
    return std::make_unique<StandInRunner>(stand_in);
}

std::unique_ptr<ModelHost> ModelHost::load(const ModelHostOptions& options, const Progress& progress, Engine::Wake wake) {
    capture_llama_log();
    const AbortGuard guard;
    auto impl = std::make_unique<Impl>();
    ModelHostInfo& info = impl->info;
    std::unique_ptr<ModelRunner> runner;
    if (options.stand_in) {
        impl->tokens = stand_in_tokens(options);
        runner = load_stand_in(options, info);
    } else {
        LoadOptions load;
        load.path = options.path;
        load.dtype = weight_type(options.dtype);
        load.quantization = quantization(options.quantization);
        load.threads = options.threads > 0 ? options.threads : usable_cores();
        impl->weights = std::make_shared<LoadedModel>(load_model(load, [&](const LoadProgress& step) {
            // of a GGUF file that is mapped llama.cpp tells bytes only
            const bool tensors = step.tensors_total > 0;
            progress(tensors ? step.tensors_done : step.bytes_done, tensors ? step.tensors_total : step.bytes_total);
        }));
        const ModelInfo& model = impl->weights->info();
        info.architecture = model.architecture;
        info.dtype = model.dtype;
        info.quantization = model.quantization;
        info.parameters = model.num_parameters;
        info.weight_bytes = model.weight_bytes;
        info.context_length = model.context_length;
        info.warnings = model.warnings;
        info.notes = model.notes;
        info.timings.files = model.files_ms;
        info.timings.weights = model.weights_ms;
        info.timings.quantize = model.quantized_ms;
        auto begun = std::chrono::steady_clock::now();
        if (model.format == ModelInfo::Format::gguf) {
            const llama_vocab* vocab = llama_model_get_vocab(impl->weights->get());
            const GgufSpecialTokens special = gguf_special_tokens(vocab);
            impl->tokens = gguf_token_table(impl->weights->get());
            const auto text = [&](const std::optional<TokenId>& id) { return id ? std::string(impl->tokens->bytes(*id)) : std::string(); };
            info.gguf = GgufText{gguf_chat_template(impl->weights->get()), text(special.bos), text(special.eos), special.end_of_generation};
        } else {
            impl->tokens = options.tokenizer_json.empty() ? checkpoint_tokens(options.path, model.vocab_size)
                                                          : TokenTable::from_tokenizer_json(options.tokenizer_json, model.vocab_size);
        }
        info.timings.vocabulary = ms_since(begun);

        begun = std::chrono::steady_clock::now();
        const BatchSizes batch = batch_sizes(options);
        LlamaRunnerOptions run;
        run.paged = options.paged_kv;
        run.block_size = options.block_size;
        run.max_num_seqs = batch.seqs;
        run.max_batch_tokens = batch.tokens;
        run.type_k = run.type_v = kv_type(options.kv_cache_dtype, model.dtype);
        run.n_threads = options.threads;
        const KvSizes pool = pool_sizes(options, model.context_length, batch, kv_groups(*impl->weights->get(), run), info.warnings);
        run.num_blocks = pool.num_blocks;
        run.max_model_len = pool.max_model_len;
        auto llama = std::make_unique<LlamaRunner>(std::shared_ptr<llama_model>(impl->weights, impl->weights->get()), run);
        info.kv_cache_dtype = kv_type_name(run.type_k);
        info.kv_bytes = llama->info().kv_bytes;
        info.threads = llama->info().n_threads;
        info.attention_kernel = llama->info().paged ? llama->info().kernel : "llama.cpp";
        runner = std::move(llama);
        info.timings.context = ms_since(begun);
        begun = std::chrono::steady_clock::now();
        warm_up(*runner);
        info.timings.first_token = ms_since(begun);
    }
    const RunnerCapabilities& capabilities = runner->capabilities();
    info.vocab_size = capabilities.vocab_size;
    for (TokenId id = 0; id < impl->tokens->size(); ++id) {
        info.longest_token = std::max(info.longest_token, static_cast<std::int32_t>(impl->tokens->bytes(id).size()));
    }
    info.max_model_len = capabilities.max_model_len;
    info.paged_kv = capabilities.paged;
    info.block_size = capabilities.block_size;
    info.kv_groups = capabilities.groups;
    for (const KvGroupSpec& group : capabilities.groups) info.kv_blocks += group.num_blocks;
    info.max_num_seqs = capabilities.max_num_seqs;
    info.max_batch_tokens = capabilities.max_batch_tokens;
    impl->constraints = std::make_unique<ConstraintCompiler>(impl->tokens, info.vocab_size);
    const EngineConfig config = engine_config(options, capabilities.max_batch_tokens);
    impl->engine = std::make_unique<Engine>(std::move(runner), impl->tokens, config, std::move(wake));
    return std::unique_ptr<ModelHost>(new ModelHost(std::move(impl)));
}

const ModelHostInfo& ModelHost::info() const { return impl_->info; }

void ModelHost::stop_engine() { impl_->engine.reset(); }

Engine& ModelHost::engine() { return *impl_->engine; }

const TokenTable& ModelHost::tokens() const { return *impl_->tokens; }

ConstraintCompiler& ModelHost::constraints() { return *impl_->constraints; }

std::vector<TokenId> ModelHost::tokenize(const std::string& text, bool add_special_tokens) const {
    if (!impl_->weights || !impl_->info.gguf) throw std::runtime_error("Only a GGUF file brings a native tokenizer.");
    return gguf_tokenize(llama_model_get_vocab(impl_->weights->get()), text, add_special_tokens, true);
}

}  // namespace tfserve
