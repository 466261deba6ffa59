#include "loader/checkpoint_loader.h"

#include <exception>
#include <map>
#include <unordered_map>

#include "ggml.h"
#include "gguf.h"
#include "loader/hf_config.h"
#include "loader/json_file.h"
#include "loader/llama_log.h"
#include "loader/registry.h"
#include "loader/tensor_plan.h"
#include "loader/weight_writer.h"

namespace tfserve {

namespace {

struct FreeGguf {
    void operator()(gguf_context* context) const { gguf_free(context); }
};
struct FreeGgml {
    void operator()(ggml_context* context) const { ggml_free(context); }
};

HfConfig read_config(const std::filesystem::path& directory) {
    const MappedFile file(directory / "config.json");
    constexpr std::size_t kMaxBytes = 16u << 20;
    if (file.bytes().size() > kMaxBytes) throw LoadError(LoadError::Kind::invalid, "config.json is larger than 16 MiB.");
    const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
    return parse_hf_config(text, family_defaults(hf_architecture(text)));
}

/// The type of a tensor in memory.
ggml_type target_type(const PlannedTensor& planned, WeightType wanted) {
    if (planned.sources.empty() || planned.shape.size() == 1 || planned.float32)
        return GGML_TYPE_F32;  // llama.cpp's graphs add and multiply vectors in f32
    switch (wanted) {
        case WeightType::bfloat16: return GGML_TYPE_BF16;
        case WeightType::float16: return GGML_TYPE_F16;
        case WeightType::float32: return GGML_TYPE_F32;
        case WeightType::as_stored: break;
    }
    return planned.scales != nullptr ? GGML_TYPE_MXFP4 : ggml_type_of(planned.sources.front()->dtype);
}

const char* type_text(ggml_type type) {
    if (type == GGML_TYPE_MXFP4) return "mxfp4";
    return type == GGML_TYPE_BF16 ? "bfloat16" : type == GGML_TYPE_F16 ? "float16" : "float32";
}

/// Carries the state through llama.cpp's callback, one call a tensor.
class Transfer {
   public:
    Transfer(const ModelPlan& plan, const LoadOptions& options, const ProgressFn& progress, const std::atomic<bool>* cancel)
        : options_(options), progress_(progress), cancel_(cancel) {
        for (const PlannedTensor& tensor : plan.tensors) {
            by_name_.emplace(tensor.name, &tensor);
            total_.bytes_total += bytes_of(tensor);
        }
        total_.tensors_total = plan.tensors.size();
    }

    static void set_data(ggml_tensor* target, void* self) { static_cast<Transfer*>(self)->set(target); }

    std::uint64_t bytes_of(const PlannedTensor& tensor) const {
        const std::int64_t rows = tensor.slices() * tensor.rows();
        return static_cast<std::uint64_t>(rows) * ggml_row_size(target_type(tensor, options_.dtype), tensor.width());
    }

    const LoadProgress& total() const { return total_; }
    const WriteStats& stats() const { return stats_; }
    void rethrow() const {
        if (failure_) std::rethrow_exception(failure_);
    }

   private:
    void set(ggml_tensor* target) try {
        if (cancel_ != nullptr && cancel_->load(std::memory_order_relaxed)) {
            throw LoadError(LoadError::Kind::cancelled, "Loading was cancelled.");
        }
        const auto planned = by_name_.find(target->name);
        if (planned == by_name_.end()) {
            throw LoadError(LoadError::Kind::unsupported, std::string("This architecture needs the tensor ") + target->name +
                                                              ", which has no counterpart in the checkpoint.");
        }
        write_tensor(*planned->second, target, options_.zero_copy, stats_);
        // a tied matrix may come twice, once a device
        total_.tensors_done = std::min(total_.tensors_done + 1, total_.tensors_total);
        total_.bytes_done = std::min(total_.bytes_done + ggml_nbytes(target), total_.bytes_total);
        if (progress_) progress_(total_);
    } catch (...) {
        // llama.cpp turns every exception into a null model; this one tells why
        failure_ = std::current_exception();
        throw;
    }

    const LoadOptions& options_;
    const ProgressFn& progress_;
    const std::atomic<bool>* cancel_;
    std::unordered_map<std::string, const PlannedTensor*> by_name_;
    LoadProgress total_;
    WriteStats stats_;
    std::exception_ptr failure_;
};

std::unique_ptr<gguf_context, FreeGguf> describe(const ModelPlan& plan, WeightType dtype) {
    std::unique_ptr<gguf_context, FreeGguf> gguf(gguf_init_empty());
    gguf_set_val_str(gguf.get(), "general.architecture", plan.llama_architecture.c_str());
    for (const auto& [key, value] : plan.metadata) {
        if (const auto* number = std::get_if<std::uint32_t>(&value)) gguf_set_val_u32(gguf.get(), key.c_str(), *number);
        if (const auto* number = std::get_if<float>(&value)) gguf_set_val_f32(gguf.get(), key.c_str(), *number);
        if (const auto* flag = std::get_if<bool>(&value)) gguf_set_val_bool(gguf.get(), key.c_str(), *flag);
        if (const auto* flags = std::get_if<std::vector<bool>>(&value)) {
            const std::vector<std::int8_t> bytes(flags->begin(), flags->end());
            gguf_set_arr_data(gguf.get(), key.c_str(), GGUF_TYPE_BOOL, bytes.data(), bytes.size());
        }
        if (const auto* numbers = std::get_if<std::vector<std::uint32_t>>(&value)) {
            gguf_set_arr_data(gguf.get(), key.c_str(), GGUF_TYPE_UINT32, numbers->data(), numbers->size());
        }
        if (const auto* text = std::get_if<std::string>(&value)) gguf_set_val_str(gguf.get(), key.c_str(), text->c_str());
    }
    // tokens go in and out as numbers: text is the server's business
    gguf_set_val_str(gguf.get(), "tokenizer.ggml.model", "no_vocab");

    const ggml_init_params parameters = {ggml_tensor_overhead() * (plan.tensors.size() + 1), nullptr, true};
    const std::unique_ptr<ggml_context, FreeGgml> shapes(ggml_init(parameters));
    if (!gguf || !shapes) throw LoadError(LoadError::Kind::out_of_memory, "There is not enough memory to load the model.");
    for (const PlannedTensor& tensor : plan.tensors) {
        const std::vector<std::int64_t> inner_first(tensor.shape.rbegin(), tensor.shape.rend());
        ggml_tensor* shape =
            ggml_new_tensor(shapes.get(), target_type(tensor, dtype), static_cast<int>(inner_first.size()), inner_first.data());
        ggml_set_name(shape, tensor.name.c_str());
        gguf_add_tensor(gguf.get(), shape);
    }
    return gguf;
}

std::string main_type(const ModelPlan& plan, const Transfer& transfer, WeightType dtype) {
    std::map<ggml_type, std::uint64_t> bytes;
    for (const PlannedTensor& tensor : plan.tensors) bytes[target_type(tensor, dtype)] += transfer.bytes_of(tensor);
    const auto most = std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    return type_text(most->first);
}

}  // namespace

LoadedModel load_checkpoint(const LoadOptions& options, const ProgressFn& progress, const std::atomic<bool>* cancel) {
    const HfConfig config = read_config(options.path);
    const Family& family = select_family(config);
    const Checkpoint checkpoint = Checkpoint::open(options.path);
    ModelPlan plan = plan_model(family, config, checkpoint);
    const auto gguf = describe(plan, options.dtype);

    Transfer transfer(plan, options, progress, cancel);
    llama_model_params parameters = llama_model_default_params();
    parameters.n_gpu_layers = options.gpu_layers;
    LoadedModel::ModelPtr model;
    {
        const LlamaLogCapture log;
        model.reset(llama_model_init_from_user(gguf.get(), &Transfer::set_data, &transfer, parameters));
        transfer.rethrow();
        if (!model) {
            const bool memory = log.has_error("unable to allocate") || log.has_error("bad_alloc");
            throw LoadError(memory ? LoadError::Kind::out_of_memory : LoadError::Kind::invalid,
                            memory ? "There is not enough memory for the model's weights (" +
                                         std::to_string(transfer.total().bytes_total >> 20) + " MiB)."
                                   : "The model could not be set up from its config.json; the log says more.");
        }
    }

    ModelInfo info;
    info.format = ModelInfo::Format::safetensors;
    info.architecture = config.architecture;
    info.llama_architecture = plan.llama_architecture;
    info.dtype = main_type(plan, transfer, options.dtype);
    info.num_parameters = plan.num_parameters;
    info.weight_bytes = transfer.total().bytes_total;
    info.mapped_bytes = transfer.stats().mapped_bytes;
    info.context_length = plan.context_length;
    info.vocab_size = config.vocab_size;
    info.hidden_size = config.hidden_size;
    info.num_layers = config.num_hidden_layers;
    info.num_heads = config.num_attention_heads;
    info.num_kv_heads = config.num_key_value_heads;
    info.head_dim = config.kv_lora_rank > 0 ? 0 : config.head_dim;
    if (config.bos_token_id && *config.bos_token_id >= 0) info.bos_token_id = config.bos_token_id;
    for (TokenId id : config.eos_token_ids) {
        if (id >= 0 && id < config.vocab_size) info.eos_token_ids.push_back(id);
    }
    info.warnings = std::move(plan.warnings);
    if (transfer.stats().overflows > 0) {
        info.warnings.push_back(
            std::to_string(transfer.stats().overflows) +
            " weights are too large for float16 and became infinite, as they do in torch; bfloat16 or float32 would keep them.");
    }
    std::vector<std::shared_ptr<const MappedFile>> files;
    if (info.mapped_bytes > 0) {
        files = checkpoint.files();
        for (const auto& file : files) file->prefetch();
    }
    return LoadedModel(std::move(model), std::move(info), std::move(files));
}

}  // namespace tfserve
