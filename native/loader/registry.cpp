#include "loader/registry.h"

#include <vector>

#include "loader/families/families.h"
#include "loader/load_error.h"

namespace tfserve {

namespace {

constexpr HyperRule kDenseDecoder[] = {
    {"block_count", &HfConfig::num_hidden_layers},
    {"context_length", &HfConfig::max_position_embeddings},
    {"embedding_length", &HfConfig::hidden_size},
    {"feed_forward_length", &HfConfig::intermediate_size},
    {"vocab_size", &HfConfig::vocab_size},
    {"attention.head_count", &HfConfig::num_attention_heads},
    {"attention.head_count_kv", &HfConfig::num_key_value_heads},
    {"attention.key_length", &HfConfig::head_dim},
    {"attention.value_length", &HfConfig::head_dim},
    {"rope.dimension_count", &HfConfig::head_dim},
    {"attention.layer_norm_rms_epsilon", &HfConfig::rms_norm_eps},
};

/// Empty when the family can run the configuration.
std::string obstacle(const Family& family, const HfConfig& config) {
    const bool factors = config.rope.type == RopeType::llama3 || config.rope.type == RopeType::yarn;
    if (factors && !family.rope_factors) return "this kind of rope scaling";
    if (family.square_attention && config.head_dim * config.num_attention_heads != config.hidden_size) {
        return "head_dim x num_attention_heads other than hidden_size";
    }
    return "";
}

}  // namespace

std::span<const HyperRule> dense_decoder_hyperparameters() { return kDenseDecoder; }

std::span<const Family> all_families() {
    static const std::vector<Family> families = {llama_family(), qwen2_family(), qwen2_as_llama_family(), qwen3_family()};
    return families;
}

std::string supported_architectures() {
    std::vector<std::string> names;
    for (const Family& family : all_families()) {
        if (names.empty() || names.back() != family.hf_architecture) names.emplace_back(family.hf_architecture);
    }
    std::string text;
    for (std::size_t i = 0; i < names.size(); ++i) text += (i == 0 ? "" : i + 1 == names.size() ? " and " : ", ") + names[i];
    return text;
}

const HfDefaults& family_defaults(const std::string& hf_architecture) {
    for (const Family& family : all_families()) {
        if (hf_architecture == family.hf_architecture) return family.defaults;
    }
    throw LoadError(LoadError::Kind::unsupported, "Checkpoints of the architecture " + in_quotes(hf_architecture) +
                                                      " cannot be loaded directly; " + supported_architectures() +
                                                      " can. A GGUF file of the model may work.");
}

const Family& select_family(const HfConfig& config) {
    family_defaults(config.architecture);
    auto refuse = [](const std::string& what) { return LoadError(LoadError::Kind::unsupported, "config.json: " + what + "."); };
    if (!config.quantization.empty()) {
        throw refuse("checkpoints quantised by " + in_quotes(config.quantization) +
                     " are not supported; use one in bfloat16 or float16, or a GGUF file");
    }
    if (config.hidden_act != "silu" && config.hidden_act != "swish") {
        throw refuse("hidden_act " + in_quotes(config.hidden_act) + " is not supported for " + config.architecture + ", only silu is");
    }
    if (config.sliding_window) throw refuse("sliding-window attention is not supported for " + config.architecture);
    std::string problem;
    for (const Family& family : all_families()) {
        if (config.architecture != family.hf_architecture) continue;
        problem = obstacle(family, config);
        if (problem.empty()) return family;
    }
    throw refuse(problem + " is not supported for " + config.architecture);
}

}  // namespace tfserve
