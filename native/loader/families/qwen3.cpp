// Qwen3, dense: norms on the heads of q and k, a head size of its own.
#include "loader/families/families.h"
#include "loader/families/parts.h"

namespace tfserve {

Family qwen3_family() {
    return {
        .hf_architecture = "Qwen3ForCausalLM",
        .llama_architecture = "qwen3",
        .defaults = {.max_position_embeddings = 32768,
                     .num_key_value_heads = 32,
                     .head_dim = 128,
                     .windows = WindowRule::switched,
                     .sliding_window = 4096},
        .hyperparameters = {kDecoderNumbers},
        .tensors = {kEmbeddings, kFinalNorm, kPreNorms, kPlainAttention, kHeadNorms,
                    kQkvBiases<Op::as_stored, Op::as_stored, When::attention_bias>, kOutputBias<When::attention_bias>,
                    kGatedMlp<When::always>},
    };
}

}  // namespace tfserve
