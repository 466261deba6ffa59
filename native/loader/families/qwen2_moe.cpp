// Qwen1.5-MoE and Qwen2-MoE: Qwen2 with routed experts and one shared expert behind a gate.
#include "loader/families/families.h"
#include "loader/families/parts.h"

namespace tfserve {

namespace {

constexpr HyperRule kNumbers[] = {
    {"expert_shared_feed_forward_length", &HfConfig::shared_intermediate_size},
    {"expert_weights_norm", &HfConfig::norm_topk_prob},
};

constexpr TensorRule kSharedExpert[] = {
    {"model.layers.{}.mlp.shared_expert_gate.weight", "blk.{}.ffn_gate_inp_shexp.weight", {Dim::one, Dim::hidden}, Op::squeeze},
    {"model.layers.{}.mlp.shared_expert.gate_proj.weight", "blk.{}.ffn_gate_shexp.weight", {Dim::shared_ffn, Dim::hidden}},
    {"model.layers.{}.mlp.shared_expert.up_proj.weight", "blk.{}.ffn_up_shexp.weight", {Dim::shared_ffn, Dim::hidden}},
    {"model.layers.{}.mlp.shared_expert.down_proj.weight", "blk.{}.ffn_down_shexp.weight", {Dim::hidden, Dim::shared_ffn}},
};

std::string obstacle(const HfConfig& config) {
    if (config.some_layers_dense) return "a model with layers that have no experts";
    return config.shared_intermediate_size < 1 ? "a model without a shared expert" : "";
}

}  // namespace

Family qwen2_moe_family() {
    return {
        .hf_architecture = "Qwen2MoeForCausalLM",
        .llama_architecture = "qwen2moe",
        .defaults = {.max_position_embeddings = 32768,
                     .num_key_value_heads = 16,
                     .windows = WindowRule::switched_even,
                     .sliding_window = 4096,
                     .experts = {.keys = {"num_experts"},
                                 .count = 60,
                                 .used = 4,
                                 .width_key = "moe_intermediate_size",
                                 .width = 1408,
                                 .shared_width_key = "shared_expert_intermediate_size",
                                 .shared_width = 5632}},
        .hyperparameters = {kDecoderNumbers, kExpertNumbers, kNumbers},
        .tensors = {kEmbeddings, kFinalNorm, kTiedOutput, kPreNorms, kPlainAttention,
                    kQkvBiases<Op::as_stored, Op::as_stored, When::qkv_bias>, kExperts<When::always>, kSharedExpert},
        .square_attention = true,
        .rope_scaling = RopeScaling::factors,
        .obstacle = obstacle,
    };
}

}  // namespace tfserve
