// OLMo 2: norms after both parts of a layer instead of before, and norms over all heads of q and of k at once.
#include "loader/families/families.h"
#include "loader/families/parts.h"

namespace tfserve {

namespace {

constexpr TensorRule kNorms[] = {
    {"model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", {Dim::query}},
    {"model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", {Dim::kv}},
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight", {Dim::hidden}},
    {"model.layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight", {Dim::hidden}},
};

std::string obstacle(const HfConfig& config) { return config.attention_bias ? "attention_bias" : ""; }

}  // namespace

Family olmo2_family() {
    return {
        .hf_architecture = "Olmo2ForCausalLM",
        .llama_architecture = "olmo2",
        .defaults = {.max_position_embeddings = 2048, .rms_norm_eps = 1e-5},
        .hyperparameters = {kDecoderNumbers},
        .tensors = {kEmbeddings, kFinalNorm, kTiedOutput, kPlainAttention, kNorms, kGatedMlp<When::always>},
        .square_attention = true,
        .rope_scaling = RopeScaling::linear,
        .obstacle = obstacle,
    };
}

}  // namespace tfserve
