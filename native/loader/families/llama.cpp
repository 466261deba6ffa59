// Llama 2, 3.x and what shares their code in transformers.
#include "loader/families/families.h"
#include "loader/families/parts.h"

namespace tfserve {

Family llama_family() {
    return {
        .hf_architecture = "LlamaForCausalLM",
        .llama_architecture = "llama",
        .defaults = {.max_position_embeddings = 2048},
        .hyperparameters = {kDecoderNumbers},
        .tensors = {kEmbeddings, kFinalNorm, kPreNorms, kInterleavedAttention,
                    kQkvBiases<Op::interleave_query, Op::interleave_kv, When::attention_bias>, kOutputBias<When::attention_bias>,
                    kGatedMlp<When::always>, kMlpBiases},
    };
}

}  // namespace tfserve
