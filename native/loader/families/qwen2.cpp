// Qwen2 and Qwen2.5: Llama with biases on q, k and v.
#include "loader/families/families.h"
#include "loader/families/parts.h"

namespace tfserve {

namespace {

constexpr HfDefaults kDefaults = {
    .max_position_embeddings = 32768, .num_key_value_heads = 32, .windows = WindowRule::switched, .sliding_window = 4096};

}  // namespace

Family qwen2_family() {
    return {
        .hf_architecture = "Qwen2ForCausalLM",
        .llama_architecture = "qwen2",
        .defaults = kDefaults,
        .hyperparameters = {kDecoderNumbers},
        .tensors = {kEmbeddings, kFinalNorm, kPreNorms, kPlainAttention, kQkvBiases<Op::as_stored, Op::as_stored, When::always>,
                    kGatedMlp<When::always>},
        .square_attention = true,
        .rope_scaling = RopeScaling::linear,
    };
}

Family qwen2_as_llama_family() {
    return {
        .hf_architecture = "Qwen2ForCausalLM",
        .llama_architecture = "llama",
        .defaults = kDefaults,
        .hyperparameters = {kDecoderNumbers},
        .tensors = {kEmbeddings, kFinalNorm, kPreNorms, kInterleavedAttention,
                    kQkvBiases<Op::interleave_query, Op::interleave_kv, When::always>, kGatedMlp<When::always>},
    };
}

}  // namespace tfserve
