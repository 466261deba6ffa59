// Gemma 4, text: layers without a window have wider heads, the last layers use keys and values of earlier ones, and every layer gets an
// embedding of the token.
#include "loader/families/families.h"
#include "loader/families/parts.h"

namespace tfserve {

namespace {

std::vector<std::uint32_t> of_layers(const HfConfig& config, std::int32_t (HfConfig::*number)(std::int32_t) const) {
    std::vector<std::uint32_t> list;
    for (std::int32_t layer = 0; layer < config.num_hidden_layers; ++layer) {
        list.push_back(static_cast<std::uint32_t>((config.*number)(layer)));
    }
    return list;
}

constexpr HyperRule kNumbers[] = {
    {"attention.head_count_kv", [](const HfConfig& config) { return of_layers(config, &HfConfig::kv_heads_of); }},
    {"feed_forward_length", [](const HfConfig& config) { return of_layers(config, &HfConfig::intermediate_size_of); }},
    {"attention.key_length", &HfConfig::global_head_dim},
    {"attention.value_length", &HfConfig::global_head_dim},
    {"attention.key_length_swa", &HfConfig::head_dim},
    {"attention.value_length_swa", &HfConfig::head_dim},
    {"rope.dimension_count", &HfConfig::global_head_dim},
    {"rope.dimension_count_swa", &HfConfig::head_dim},
    {"rope.freq_base_swa", &HfConfig::rope_local_theta},
    {"attention.shared_kv_layers", &HfConfig::num_kv_shared_layers},
    {"embedding_length_per_layer_input", &HfConfig::hidden_size_per_layer_input},
    {"final_logit_softcapping", &HfConfig::final_logit_softcapping},
};

constexpr TensorRule kLayers[] = {
    {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", {Dim::hidden}},
    {"model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", {Dim::query, Dim::hidden}},
    {"model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", {Dim::kv, Dim::hidden}, Op::as_stored, When::own_kv},
    {"model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight", {Dim::kv, Dim::hidden}, Op::as_stored, When::own_v},
    {"model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", {Dim::hidden, Dim::query}},
    {"model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", {Dim::head}},
    {"model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", {Dim::head}, Op::as_stored, When::own_kv},
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight", {Dim::hidden}},
    {"model.layers.{}.pre_feedforward_layernorm.weight", "blk.{}.ffn_norm.weight", {Dim::hidden}},
    {"model.layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight", {Dim::hidden}},
    {"model.layers.{}.layer_scalar", "blk.{}.layer_output_scale.weight", {Dim::one}},
};

constexpr TensorRule kPerLayerInputs[] = {
    {"model.embed_tokens_per_layer.weight",
     "per_layer_token_embd.weight",
     {Dim::vocab, Dim::all_layers},
     Op::as_stored,
     When::per_layer_input},
    {"model.per_layer_model_projection.weight",
     "per_layer_model_proj.weight",
     {Dim::all_layers, Dim::hidden},
     Op::as_stored,
     When::per_layer_input},
    {"model.per_layer_projection_norm.weight", "per_layer_proj_norm.weight", {Dim::per_layer}, Op::as_stored, When::per_layer_input},
    {"model.layers.{}.per_layer_input_gate.weight",
     "blk.{}.inp_gate.weight",
     {Dim::per_layer, Dim::hidden},
     Op::as_stored,
     When::per_layer_input},
    {"model.layers.{}.per_layer_projection.weight",
     "blk.{}.proj.weight",
     {Dim::hidden, Dim::per_layer},
     Op::as_stored,
     When::per_layer_input},
    {"model.layers.{}.post_per_layer_input_norm.weight", "blk.{}.post_norm.weight", {Dim::hidden}, Op::as_stored, When::per_layer_input},
};

std::string obstacle(const HfConfig& config) {
    if (config.attention_bias) return "attention_bias";
    return config.rope.type != RopeType::proportional ? "a rope type other than proportional in full layers" : "";
}

}  // namespace

Family gemma4_family() {
    return {
        .hf_architecture = "Gemma4ForCausalLM",
        .llama_architecture = "gemma4",
        .defaults = {.max_position_embeddings = 131072,
                     .num_attention_heads = 8,
                     .num_key_value_heads = 4,
                     .head_dim = 256,
                     .vocab_size = 262144,
                     .rope_theta = 1e6,
                     .rope_local_theta = 1e4,
                     .rope_type = "proportional",
                     .partial_rotary_factor = 0.25,
                     .tie_word_embeddings = true,
                     .activation_key = "hidden_activation",
                     .activation = "gelu_pytorch_tanh",
                     .windows = WindowRule::patterned,
                     .sliding_window = 512,
                     .window_pattern = 6,
                     .last_layer_full = true,
                     .per_layer_inputs = true},
        .hyperparameters = {kDecoderNumbers, kNumbers},
        .tensors = {kEmbeddings, kFinalNorm, kLayers, kGatedMlp<When::always>, kPerLayerInputs},
        .activation = Activation::gelu_tanh,
        .obstacle = obstacle,
    };
}

Family gemma4_multimodal_family() {
    Family family = gemma4_family();
    family.hf_architecture = "Gemma4ForConditionalGeneration";
    family.defaults.text_config = true;
    family.model_prefixes = {"model.language_model."};
    family.ignored_prefixes = {"model.vision_tower.", "model.audio_tower.", "model.embed_vision.", "model.embed_audio."};
    return family;
}

}  // namespace tfserve
