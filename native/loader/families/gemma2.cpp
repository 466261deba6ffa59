// Gemma 2: windows in every second layer, soft caps on attention and logits, four norms a layer.
#include "loader/families/families.h"
#include "loader/families/parts.h"

namespace tfserve {

namespace {

/// llama.cpp caps in any case; a cap as far away as this one changes nothing in float32.
constexpr double kNoCap = 1e5;

constexpr HyperRule kNumbers[] = {
    {"attention.scale", &HfConfig::attention_scale},
    {"attn_logit_softcapping",
     [](const HfConfig& config) { return config.attn_logit_softcapping > 0 ? config.attn_logit_softcapping : kNoCap; }},
    {"final_logit_softcapping",
     [](const HfConfig& config) { return config.final_logit_softcapping > 0 ? config.final_logit_softcapping : kNoCap; }},
};

std::string obstacle(const HfConfig& config) {
    if (config.attention_bias) return "attention_bias";
    return config.tie_word_embeddings ? "" : "an output matrix of its own";
}

}  // namespace

Family gemma2_family() {
    return {
        .hf_architecture = "Gemma2ForCausalLM",
        .llama_architecture = "gemma2",
        .defaults = {.max_position_embeddings = 8192,
                     .num_key_value_heads = 4,
                     .head_dim = 256,
                     .tie_word_embeddings = true,
                     .activation_key = "hidden_activation",
                     .activation = "gelu_pytorch_tanh",
                     .query_pre_attn_scalar = 256,
                     .attn_logit_softcapping = 50,
                     .final_logit_softcapping = 30,
                     .windows = WindowRule::patterned,
                     .sliding_window = 4096,
                     .window_pattern = 2},
        .hyperparameters = {kDecoderNumbers, kNumbers},
        .tensors = {kEmbeddings, kGemmaNorms, kPlainAttention, kGatedMlp<When::always>},
        .activation = Activation::gelu_tanh,
        .rope_scaling = RopeScaling::linear,
        .obstacle = obstacle,
    };
}

}  // namespace tfserve
