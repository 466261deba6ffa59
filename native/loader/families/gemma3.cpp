// Gemma 3, text: five of six layers have windows and rotate with a base of their own; norms on the heads of q and k.
#include "loader/families/families.h"
#include "loader/families/parts.h"

namespace tfserve {

namespace {

constexpr HyperRule kNumbers[] = {
    {"attention.scale", &HfConfig::attention_scale},
    {"rope.freq_base_swa", &HfConfig::rope_local_theta},
    {"final_logit_softcapping", &HfConfig::final_logit_softcapping},
};

constexpr TensorRule kGemmaHeadNorms[] = {
    {"model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", {Dim::head}, Op::add_one},
    {"model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", {Dim::head}, Op::add_one},
};

constexpr HfDefaults kDefaults = {.max_position_embeddings = 131072,
                                  .num_attention_heads = 8,
                                  .num_key_value_heads = 4,
                                  .head_dim = 256,
                                  .vocab_size = 262208,
                                  .rope_theta = 1e6,
                                  .rope_local_theta = 1e4,
                                  .tie_word_embeddings = true,
                                  .activation_key = "hidden_activation",
                                  .activation = "gelu_pytorch_tanh",
                                  .query_pre_attn_scalar = 256,
                                  .windows = WindowRule::patterned,
                                  .sliding_window = 4096,
                                  .window_pattern = 6};

std::string obstacle(const HfConfig& config) {
    if (config.attention_bias) return "attention_bias";
    return config.attn_logit_softcapping > 0 ? "a soft cap on attention" : "";
}

}  // namespace

Family gemma3_family() {
    return {
        .hf_architecture = "Gemma3ForCausalLM",
        .llama_architecture = "gemma3",
        .defaults = kDefaults,
        .hyperparameters = {kDecoderNumbers, kNumbers},
        .tensors = {kEmbeddings, kGemmaNorms, kPlainAttention, kGemmaHeadNorms, kGatedMlp<When::always>},
        .activation = Activation::gelu_tanh,
        .rope_scaling = RopeScaling::linear,
        .obstacle = obstacle,
    };
}

Family gemma3_multimodal_family() {
    Family family = gemma3_family();
    family.hf_architecture = "Gemma3ForConditionalGeneration";
    family.defaults.text_config = true;
    family.model_prefixes = {"language_model.model.", "model.language_model."};
    family.ignored_prefixes = {"vision_tower.", "model.vision_tower.", "multi_modal_projector.", "model.multi_modal_projector."};
    return family;
}

}  // namespace tfserve
