// Qwen3 with routed experts in every layer.
#include "loader/families/families.h"
#include "loader/families/parts.h"

namespace tfserve {

namespace {

constexpr HyperRule kNumbers[] = {{"expert_weights_norm", &HfConfig::norm_topk_prob}};

std::string obstacle(const HfConfig& config) { return config.some_layers_dense ? "a model with layers that have no experts" : ""; }

}  // namespace

Family qwen3_moe_family() {
    return {
        .hf_architecture = "Qwen3MoeForCausalLM",
        .llama_architecture = "qwen3moe",
        .defaults = {.max_position_embeddings = 32768,
                     .num_key_value_heads = 4,
                     .windows = WindowRule::switched_all,
                     .sliding_window = 4096,
                     .experts = {.keys = {"num_experts", "num_local_experts"},
                                 .count = 128,
                                 .used = 8,
                                 .width_key = "moe_intermediate_size",
                                 .width = 768}},
        .hyperparameters = {kDecoderNumbers, kExpertNumbers, kNumbers},
        .tensors = {kEmbeddings, kFinalNorm, kPreNorms, kPlainAttention, kHeadNorms,
                    kQkvBiases<Op::as_stored, Op::as_stored, When::attention_bias>, kOutputBias<When::attention_bias>,
                    kExperts<When::always>},
        .obstacle = obstacle,
    };
}

}  // namespace tfserve
