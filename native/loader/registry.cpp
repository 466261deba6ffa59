#include "loader/registry.h"

#include <algorithm>
#include <vector>

#include "loader/families/families.h"
#include "loader/load_error.h"

namespace tfserve {

namespace {

bool activation_fits(Activation activation, const std::string& name) {
    switch (activation) {
        case Activation::silu: return name == "silu" || name == "swish";
        case Activation::gelu_tanh: return name == "gelu_pytorch_tanh" || name == "gelu_new";
    }
    return false;
}

/// Empty when the family can run the configuration.
std::string obstacle(const Family& family, const HfConfig& config) {
    const RopeType rope = config.rope.type;
    const bool factors = rope == RopeType::llama3 || rope == RopeType::yarn || rope == RopeType::longrope || rope == RopeType::proportional;
    if (factors && family.rope_scaling == RopeScaling::linear) return "this kind of rope scaling";
    if (factors && family.rope_scaling == RopeScaling::yarn_by_name && rope != RopeType::yarn) return "this kind of rope scaling";
    if (config.rotary_dim != config.head_dim && !family.partial_rotary) return "partial_rotary_factor other than 1";
    if (family.square_attention && config.head_dim * config.num_attention_heads != config.hidden_size) {
        return "head_dim x num_attention_heads other than hidden_size";
    }
    return family.obstacle != nullptr ? family.obstacle(config) : "";
}

}  // namespace

std::span<const Family> all_families() {
    static const std::vector<Family> families = {
        llama_family(),       mistral_family(),
        mistral3_family(),    mixtral_family(),
        qwen2_family(),       qwen2_as_llama_family(),
        qwen2_moe_family(),   qwen3_family(),
        qwen3_moe_family(),   gemma2_family(),
        gemma3_family(),      gemma3_multimodal_family(),
        gemma4_family(),      gemma4_multimodal_family(),
        phi3_family(),        granite_family(),
        olmo2_family(),       smollm3_family(),
        deepseek_v2_family(), deepseek_v3_family(),
        gpt_oss_family(),     gpt_oss_mxfp4_family(),
    };
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
    auto fits = [&](const Family& family) {
        return config.architecture == family.hf_architecture && config.quantization == family.quantization;
    };
    if (std::none_of(all_families().begin(), all_families().end(), fits)) {
        throw refuse("checkpoints quantised by " + in_quotes(config.quantization) +
                     " are not supported; use one in bfloat16 or float16, or a GGUF file");
    }
    std::string problem;
    for (const Family& family : all_families()) {
        if (!fits(family)) continue;
        if (!activation_fits(family.activation, config.hidden_act)) {
            throw refuse("hidden_act " + in_quotes(config.hidden_act) + " is not supported for " + config.architecture + ", only " +
                         (family.activation == Activation::silu ? "silu" : "gelu_pytorch_tanh") + " is");
        }
        problem = obstacle(family, config);
        if (problem.empty()) return family;
    }
    throw refuse(problem + " is not supported for " + config.architecture);
}

}  // namespace tfserve
