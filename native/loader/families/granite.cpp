// Granite 3, dense: Llama with multipliers on embeddings, attention, residuals and logits.
#include "loader/families/families.h"
#include "loader/families/parts.h"

namespace tfserve {

namespace {

constexpr HyperRule kMultipliers[] = {
    {"attention.scale", &HfConfig::attention_multiplier},
    {"embedding_scale", &HfConfig::embedding_multiplier},
    {"residual_scale", &HfConfig::residual_multiplier},
    {"logit_scale", &HfConfig::logits_scaling},
};

}  // namespace

Family granite_family() {
    return {
        .hf_architecture = "GraniteForCausalLM",
        .llama_architecture = "granite",
        .defaults = {.max_position_embeddings = 2048},
        .hyperparameters = {kDecoderNumbers, kMultipliers},
        .tensors = {kEmbeddings, kFinalNorm, kPreNorms, kInterleavedAttention,
                    kQkvBiases<Op::interleave_query, Op::interleave_kv, When::attention_bias>, kOutputBias<When::attention_bias>,
                    kGatedMlp<When::always>, kMlpBiases},
    };
}

}  // namespace tfserve
