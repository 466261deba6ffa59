// DeepSeek V2 and V3: multi-head latent attention, routed and shared experts after some dense layers.
#include "loader/families/families.h"
#include "loader/families/parts.h"

namespace tfserve {

namespace {

// the cache holds the compressed keys and values as if they were of one head; key_length_mla is what a head has in truth
constexpr HyperRule kLatentAttention[] = {
    {"attention.head_count_kv", [](const HfConfig&) { return 1; }},
    {"attention.key_length", [](const HfConfig& config) { return config.kv_lora_rank + config.qk_rope_head_dim; }},
    {"attention.value_length", &HfConfig::kv_lora_rank},
    {"attention.key_length_mla", [](const HfConfig& config) { return config.qk_nope_head_dim + config.qk_rope_head_dim; }},
    {"attention.value_length_mla", &HfConfig::v_head_dim},
    {"attention.q_lora_rank", &HfConfig::q_lora_rank},
    {"attention.kv_lora_rank", &HfConfig::kv_lora_rank},
    {"rope.dimension_count", &HfConfig::qk_rope_head_dim},
};

constexpr HyperRule kSharedExperts[] = {
    {"leading_dense_block_count", &HfConfig::num_dense_layers},
    {"expert_shared_count", &HfConfig::num_shared_experts},
    {"expert_weights_scale", &HfConfig::routed_scaling_factor},
};

constexpr HyperRule kV2Router[] = {{"expert_gating_func", [](const HfConfig&) { return 1; }}};  // softmax

constexpr HyperRule kV3Router[] = {
    {"expert_gating_func", [](const HfConfig&) { return 2; }},  // sigmoid
    {"expert_weights_norm", &HfConfig::norm_topk_prob},
    {"expert_group_count", &HfConfig::num_expert_groups},
    {"expert_group_used_count", &HfConfig::num_groups_used},
};

constexpr TensorRule kTensors[] = {
    {"model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", {Dim::mla_query, Dim::hidden}, Op::as_stored, When::no_q_lora},
    {"model.layers.{}.self_attn.q_a_proj.weight", "blk.{}.attn_q_a.weight", {Dim::q_lora, Dim::hidden}, Op::as_stored, When::q_lora},
    {"model.layers.{}.self_attn.q_a_layernorm.weight", "blk.{}.attn_q_a_norm.weight", {Dim::q_lora}, Op::as_stored, When::q_lora},
    {"model.layers.{}.self_attn.q_b_proj.weight", "blk.{}.attn_q_b.weight", {Dim::mla_query, Dim::q_lora}, Op::as_stored, When::q_lora},
    {"model.layers.{}.self_attn.kv_a_proj_with_mqa.weight", "blk.{}.attn_kv_a_mqa.weight", {Dim::kv_lora_rope, Dim::hidden}},
    {"model.layers.{}.self_attn.kv_a_layernorm.weight", "blk.{}.attn_kv_a_norm.weight", {Dim::kv_lora}},
    {"model.layers.{}.self_attn.kv_b_proj.weight", "blk.{}.attn_k_b.weight", {Dim::mla_kv, Dim::kv_lora}, Op::mla_key},
    {"model.layers.{}.self_attn.kv_b_proj.weight", "blk.{}.attn_v_b.weight", {Dim::mla_kv, Dim::kv_lora}, Op::mla_value},
    {"model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", {Dim::hidden, Dim::mla_value}},

    {"model.layers.{}.mlp.shared_experts.gate_proj.weight",
     "blk.{}.ffn_gate_shexp.weight",
     {Dim::shared_ffn, Dim::hidden},
     Op::as_stored,
     When::expert_layer},
    {"model.layers.{}.mlp.shared_experts.up_proj.weight",
     "blk.{}.ffn_up_shexp.weight",
     {Dim::shared_ffn, Dim::hidden},
     Op::as_stored,
     When::expert_layer},
    {"model.layers.{}.mlp.shared_experts.down_proj.weight",
     "blk.{}.ffn_down_shexp.weight",
     {Dim::hidden, Dim::shared_ffn},
     Op::as_stored,
     When::expert_layer},
};

constexpr TensorRule kCorrectionBias[] = {
    {"model.layers.{}.mlp.gate.e_score_correction_bias", "blk.{}.exp_probs_b.bias", {Dim::experts}, Op::as_stored, When::expert_layer},
};

std::string obstacle(const HfConfig& config) {
    if (config.attention_bias) return "attention_bias";
    if (config.mlp_bias) return "mlp_bias";
    if (config.num_shared_experts < 1) return "a model without shared experts";
    if (config.group_limited && config.architecture == "DeepseekV2ForCausalLM") return "topk_method \"group_limited_greedy\"";
    if (!config.rope_interleave) return "rope_interleave false";
    const RopeConfig& rope = config.rope;
    if (rope.type != RopeType::yarn) return "";
    // llama.cpp knows yarn here only as the published models have it
    const bool as_published = rope.mscale == rope.mscale_all_dim && rope.mscale > 0 && rope.attention_factor == 1 && rope.truncate &&
                              rope.beta_fast == 32 && rope.beta_slow == 1;
    return as_published ? "" : "yarn with other parameters than those of the published models";
}

Family deepseek_family(const char* architecture, std::span<const HyperRule> router) {
    return {
        .hf_architecture = architecture,
        .llama_architecture = "deepseek2",
        .defaults = {.max_position_embeddings = 4096,
                     .latent_attention = true,
                     .experts = {.keys = {"n_routed_experts"},
                                 .count = 64,
                                 .used = 6,
                                 .width_key = "moe_intermediate_size",
                                 .width = 1407,
                                 .shared_count_key = "n_shared_experts",
                                 .shared_count = 2}},
        .hyperparameters = {kDecoderNumbers, kLatentAttention, kExpertNumbers, kSharedExperts, router},
        .tensors = {kEmbeddings, kFinalNorm, kPreNorms, kTensors, kGatedMlp<When::dense_layer>, kExperts<When::expert_layer>},
        .rope_scaling = RopeScaling::yarn_by_name,
        .obstacle = obstacle,
    };
}

}  // namespace

Family deepseek_v2_family() {
    Family family = deepseek_family("DeepseekV2ForCausalLM", kV2Router);
    family.defaults.max_position_embeddings = 2048;
    family.defaults.routed_scaling_factor = 1;
    return family;
}

Family deepseek_v3_family() {
    Family family = deepseek_family("DeepseekV3ForCausalLM", kV3Router);
    family.tensors.push_back(kCorrectionBias);
    family.defaults.routed_scaling_factor = 2.5;
    family.defaults.norm_topk_prob = true;
    family.defaults.num_dense_layers = 3;
    family.defaults.num_expert_groups = 8;
    family.defaults.num_groups_used = 4;
    family.defaults.experts.count = 256;
    family.defaults.experts.used = 8;
    family.defaults.experts.width = 2048;
    family.defaults.experts.shared_count = 1;
    return family;
}

}  // namespace tfserve
