#include "loader/gguf_loader.h"

#include <chrono>
#include <utility>

#include "loader/gguf_check.h"
#include "loader/gguf_quantizer.h"
#include "loader/gguf_vocab.h"
#include "loader/llama_log.h"

namespace tfserve {

namespace {

struct Watch {
    const ProgressFn& progress;
    const std::atomic<bool>* cancel;
    std::uint64_t bytes_total;

    static bool step(float part, void* self) {
        const Watch& watch = *static_cast<Watch*>(self);
        if (watch.cancel != nullptr && watch.cancel->load(std::memory_order_relaxed)) return false;
        if (watch.progress) {
            LoadProgress progress;
            progress.bytes_total = watch.bytes_total;
            progress.bytes_done = static_cast<std::uint64_t>(static_cast<double>(part) * static_cast<double>(watch.bytes_total));
            watch.progress(progress);
        }
        return true;
    }
};

GgufWeightType weight_type(std::uint32_t number) {
    if (number >= GGML_TYPE_COUNT) return {};
    const auto type = static_cast<ggml_type>(number);
    const std::int64_t block = ggml_blck_size(type);
    if (block <= 0) return {};  // one that is no longer there
    return {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(ggml_type_size(type)), ggml_type_name(type)};
}

std::int32_t head_size(const llama_model* model) {
    const std::string arch = model_metadata(model, "general.architecture");
    const std::string key = model_metadata(model, arch + ".attention.key_length"),
                      value = model_metadata(model, arch + ".attention.value_length");
    if (key != value) return 0;
    if (!key.empty()) return std::atoi(key.c_str());
    return llama_model_n_head(model) > 0 ? llama_model_n_embd(model) / llama_model_n_head(model) : 0;
}

/// Why llama.cpp did not take a file.
LoadError refusal(const std::string& name, const GgufSummary& summary, const LlamaLogCapture& log) {
    if (log.has_error("unknown model architecture")) {
        return {LoadError::Kind::unsupported, name + ": the architecture " + in_quotes(summary.architecture) + " is not supported."};
    }
    if (log.has_error("unknown pre-tokenizer") || log.has_error("unknown tokenizer")) {
        return {LoadError::Kind::unsupported, name + ": its tokenizer is not supported."};
    }
    if (log.has_error("unable to allocate") || log.has_error("bad_alloc")) {
        return {LoadError::Kind::out_of_memory, "There is not enough memory to load " + name + "."};
    }
    return {LoadError::Kind::invalid,
            name + " is damaged or incomplete: its metadata and its weights do not fit together; the log says more."};
}

LoadedModel::ModelPtr load_mapped(const LoadOptions& options, const GgufSummary& summary, const ProgressFn& progress,
                                  const std::atomic<bool>* cancel) {
    std::error_code ignored;
    const auto file_bytes = std::filesystem::file_size(options.path, ignored);
    const LlamaLogCapture log;
    Watch watch{progress, cancel, ignored ? 0 : static_cast<std::uint64_t>(file_bytes)};
    llama_model_params parameters = llama_model_default_params();
    parameters.load_mode = LLAMA_LOAD_MODE_MMAP;
    parameters.n_gpu_layers = options.gpu_layers;
    parameters.progress_callback = &Watch::step;
    parameters.progress_callback_user_data = &watch;
    LoadedModel::ModelPtr model(llama_model_load_from_file(options.path.c_str(), parameters));
    if (model) return model;
    if (cancel != nullptr && cancel->load()) throw LoadError(LoadError::Kind::cancelled, "Loading was cancelled.");
    throw refusal(options.path.filename().string(), summary, log);
}

}  // namespace

LoadedModel load_gguf(const LoadOptions& options, const ProgressFn& progress, const std::atomic<bool>* cancel) {
    using Clock = std::chrono::steady_clock;
    auto ms = [](Clock::duration time) { return std::chrono::duration<double, std::milli>(time).count(); };
    const auto start = Clock::now();
    const GgufSummary summary = check_gguf(options.path, &weight_type);
    const auto opened = Clock::now();
    ModelInfo info;
    LoadedModel::ModelPtr model;
    std::vector<std::shared_ptr<const MappedFile>> files;
    // quantising twice would only add the errors
    if (options.quantization != nullptr && summary.quantized) {
        info.warnings.push_back(options.path.filename().string() + " is quantised already (" + summary.main_type +
                                "): it is served as it is. To quantise, name a file in bfloat16, float16 or float32.");
    }
    if (options.quantization != nullptr && !summary.quantized) {
        info.quantization = options.quantization->name;
        const Refusal refuse = [&](const LlamaLogCapture& log) { return refusal(options.path.filename().string(), summary, log); };
        QuantizedGguf quantized = load_quantized_gguf(options, summary, refuse, progress, cancel);
        model = std::move(quantized.model);
        files = std::move(quantized.files);
        info.dtype = quantized.types.main_type;
        info.num_parameters = quantized.num_parameters;
        info.weight_bytes = quantized.types.bytes;
        info.mapped_bytes = quantized.stats.mapped_bytes;
        info.quantized_ms = quantized.stats.quantized_ms;
        if (!quantized.types.note.empty()) info.notes.push_back(quantized.types.note);
    } else {
        model = load_mapped(options, summary, progress, cancel);
        info.dtype = summary.main_type;
        info.num_parameters = llama_model_n_params(model.get());
        info.weight_bytes = info.mapped_bytes = llama_model_size(model.get());
    }
    info.files_ms = ms(opened - start);
    info.weights_ms = ms(Clock::now() - opened);

    const llama_vocab* vocab = llama_model_get_vocab(model.get());
    info.format = ModelInfo::Format::gguf;
    info.architecture = info.llama_architecture = summary.architecture;
    info.context_length = llama_model_n_ctx_train(model.get());
    info.vocab_size = llama_vocab_n_tokens(vocab);
    info.hidden_size = llama_model_n_embd(model.get());
    info.num_layers = llama_model_n_layer(model.get());
    info.num_heads = llama_model_n_head(model.get());
    info.num_kv_heads = llama_model_n_head_kv(model.get());
    info.head_dim = head_size(model.get());
    const GgufSpecialTokens special = gguf_special_tokens(vocab);
    info.bos_token_id = special.bos;
    info.eos_token_ids = special.end_of_generation;
    if (options.dtype != WeightType::as_stored) {
        info.warnings.push_back("A GGUF file keeps the types of its weights (" + summary.main_type +
                                " here); the dtype option is ignored.");
    }
    return LoadedModel(std::move(model), std::move(info), std::move(files));
}

}  // namespace tfserve
