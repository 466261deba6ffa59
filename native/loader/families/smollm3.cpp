// SmolLM3: Llama with some layers that do not rotate.
#include "loader/families/families.h"
#include "loader/families/parts.h"

namespace tfserve {

namespace {

constexpr HyperRule kNumbers[] = {{"attention.rope_pattern", &HfConfig::rope_layers}};

std::string obstacle(const HfConfig& config) { return config.mlp_bias ? "mlp_bias" : ""; }

}  // namespace

Family smollm3_family() {
    return {
        .hf_architecture = "SmolLM3ForCausalLM",
        .llama_architecture = "smollm3",
        .defaults = {.max_position_embeddings = 32768,
                     .num_key_value_heads = 4,
                     .rope_theta = 2e6,
                     .tie_word_embeddings = true,
                     .windows = WindowRule::switched_no_rope,
                     .no_rope_layer_interval = 4},
        .hyperparameters = {kDecoderNumbers, kNumbers},
        .tensors = {kEmbeddings, kFinalNorm, kPreNorms, kInterleavedAttention,
                    kQkvBiases<Op::interleave_query, Op::interleave_kv, When::attention_bias>, kOutputBias<When::attention_bias>,
                    kGatedMlp<When::always>},
        .obstacle = obstacle,
    };
}

}  // namespace tfserve
