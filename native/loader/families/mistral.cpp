// Mistral: Llama, with one window for all layers in the first version of the 7B model.
#include "loader/families/families.h"
#include "loader/families/parts.h"

namespace tfserve {

Family mistral_family() {
    return {
        .hf_architecture = "MistralForCausalLM",
        .llama_architecture = "llama",
        .defaults = {.max_position_embeddings = 131072,
                     .num_key_value_heads = 8,
                     .windows = WindowRule::all_layers,
                     .sliding_window = 4096},
        .hyperparameters = {kDecoderNumbers},
        .tensors = {kEmbeddings, kFinalNorm, kPreNorms, kInterleavedAttention, kGatedMlp<When::always>},
    };
}

}  // namespace tfserve
