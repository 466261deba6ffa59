// gpt-oss: a sink a head in attention, windows in every second layer, experts with biases and a clamped activation.
#include "loader/families/families.h"
#include "loader/families/parts.h"

namespace tfserve {

namespace {

constexpr TensorRule kTensors[] = {
    {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", {Dim::hidden}},
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight", {Dim::hidden}},
    {"model.layers.{}.self_attn.sinks", "blk.{}.attn_sinks.weight", {Dim::heads}},

    {"model.layers.{}.mlp.router.weight", "blk.{}.ffn_gate_inp.weight", {Dim::experts, Dim::hidden}},
    {"model.layers.{}.mlp.router.bias", "blk.{}.ffn_gate_inp.bias", {Dim::experts}},
    {"model.layers.{}.mlp.experts.gate_up_proj_bias", "blk.{}.ffn_gate_exps.bias", {Dim::experts, Dim::two_expert_ffn}, Op::even_columns},
    {"model.layers.{}.mlp.experts.gate_up_proj_bias", "blk.{}.ffn_up_exps.bias", {Dim::experts, Dim::two_expert_ffn}, Op::odd_columns},
    {"model.layers.{}.mlp.experts.down_proj_bias", "blk.{}.ffn_down_exps.bias", {Dim::experts, Dim::hidden}},
};

// gate and up take turns in the columns of one matrix, and all matrices stand the other way round
constexpr TensorRule kPlainExperts[] = {
    {"model.layers.{}.mlp.experts.gate_up_proj",
     "blk.{}.ffn_gate_exps.weight",
     {Dim::experts, Dim::hidden, Dim::two_expert_ffn},
     Op::even_transposed},
    {"model.layers.{}.mlp.experts.gate_up_proj",
     "blk.{}.ffn_up_exps.weight",
     {Dim::experts, Dim::hidden, Dim::two_expert_ffn},
     Op::odd_transposed},
    {"model.layers.{}.mlp.experts.down_proj", "blk.{}.ffn_down_exps.weight", {Dim::experts, Dim::expert_ffn, Dim::hidden}, Op::transpose},
};

// the same the right way round
constexpr TensorRule kMxfp4Experts[] = {
    {.hf_name = "model.layers.{}.mlp.experts.gate_up_proj",
     .gguf_name = "blk.{}.ffn_gate_exps.weight",
     .shape = {Dim::experts, Dim::two_expert_ffn, Dim::hidden},
     .op = Op::even_rows,
     .mxfp4 = true},
    {.hf_name = "model.layers.{}.mlp.experts.gate_up_proj",
     .gguf_name = "blk.{}.ffn_up_exps.weight",
     .shape = {Dim::experts, Dim::two_expert_ffn, Dim::hidden},
     .op = Op::odd_rows,
     .mxfp4 = true},
    {.hf_name = "model.layers.{}.mlp.experts.down_proj",
     .gguf_name = "blk.{}.ffn_down_exps.weight",
     .shape = {Dim::experts, Dim::hidden, Dim::expert_ffn},
     .mxfp4 = true},
};

std::string obstacle(const HfConfig& config) {
    // constants of llama.cpp's graph
    return config.swiglu_alpha != 1.702 || config.swiglu_limit != 7 ? "swiglu_alpha or swiglu_limit other than 1.702 and 7" : "";
}

}  // namespace

Family gpt_oss_family() {
    return {
        .hf_architecture = "GptOssForCausalLM",
        .llama_architecture = "gpt-oss",
        .defaults = {.max_position_embeddings = 131072,
                     .num_key_value_heads = 8,
                     .head_dim = 64,
                     .rope_theta = 150000,
                     .rms_norm_eps = 1e-5,
                     .attention_bias = true,
                     .windows = WindowRule::patterned,
                     .sliding_window = 128,
                     .window_pattern = 2,
                     .experts = {.keys = {"num_local_experts", "num_experts"}, .count = 128, .used = 4}},
        .hyperparameters = {kDecoderNumbers, kExpertNumbers},
        .tensors = {kEmbeddings, kFinalNorm, kTiedOutput, kPlainAttention, kQkvBiases<Op::as_stored, Op::as_stored, When::attention_bias>,
                    kOutputBias<When::attention_bias>, kTensors, kPlainExperts},
        .obstacle = obstacle,
    };
}

Family gpt_oss_mxfp4_family() {
    Family family = gpt_oss_family();
    family.quantization = "mxfp4";
    family.tensors.back() = kMxfp4Experts;
    return family;
}

}  // namespace tfserve
