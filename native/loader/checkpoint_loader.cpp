#include "loader/checkpoint_loader.h"

#include <chrono>
#include <new>
#include <utility>

#include "loader/hf_config.h"
#include "loader/json_file.h"
#include "loader/registry.h"
#include "loader/target_types.h"
#include "loader/tensor_plan.h"
#include "loader/weight_transfer.h"

namespace tfserve {

namespace {

HfConfig read_config(const std::filesystem::path& directory) {
    const MappedFile file(directory / "config.json");
    constexpr std::size_t kMaxBytes = 16u << 20;
    if (file.bytes().size() > kMaxBytes) throw LoadError(LoadError::Kind::invalid, "config.json is larger than 16 MiB.");
    const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
    return parse_hf_config(text, family_defaults(hf_architecture(text)));
}

GgufPtr describe(const ModelPlan& plan, const std::vector<ggml_type>& types) {
    GgufPtr gguf(gguf_init_empty());
    if (!gguf) throw std::bad_alloc();
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

    describe_tensors(gguf.get(), plan.tensors, types);
    return gguf;
}

}  // namespace

LoadedModel load_checkpoint(const LoadOptions& options, const ProgressFn& progress, const std::atomic<bool>* cancel) {
    using Clock = std::chrono::steady_clock;
    auto ms = [](Clock::duration time) { return std::chrono::duration<double, std::milli>(time).count(); };
    const auto start = Clock::now();
    const HfConfig config = read_config(options.path);
    const Family& family = select_family(config);
    const Checkpoint checkpoint = Checkpoint::open(options.path);
    ModelPlan plan = plan_model(family, config, checkpoint);
    const TargetTypes types = target_types(plan.tensors, options, config.num_hidden_layers);
    const GgufPtr gguf = describe(plan, types.types);
    const auto opened = Clock::now();
    WriteStats stats;
    const Refusal refusal = [](const LlamaLogCapture&) {
        return LoadError(LoadError::Kind::invalid, "The model could not be set up from its config.json; the log says more.");
    };
    LoadedModel::ModelPtr model =
        transfer_weights({gguf.get(), plan.tensors, types, checkpoint.files(), refusal}, options, progress, cancel, stats);

    ModelInfo info;
    info.format = ModelInfo::Format::safetensors;
    info.architecture = config.architecture;
    info.llama_architecture = plan.llama_architecture;
    info.dtype = types.main_type;
    if (options.quantization != nullptr) info.quantization = options.quantization->name;
    info.num_parameters = plan.num_parameters;
    info.weight_bytes = types.bytes;
    info.mapped_bytes = stats.mapped_bytes;
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
    if (std::string warning = overflow_warning(stats); !warning.empty()) info.warnings.push_back(std::move(warning));
    if (!types.note.empty()) info.notes.push_back(types.note);
    info.files_ms = ms(opened - start);
    info.weights_ms = ms(Clock::now() - opened);
    info.quantized_ms = stats.quantized_ms;
    std::vector<std::shared_ptr<const MappedFile>> files;
    if (info.mapped_bytes > 0) {
        files = checkpoint.files();
        for (const auto& file : files) file->prefetch();
    }
    return LoadedModel(std::move(model), std::move(info), std::move(files));
}

}  // namespace tfserve
