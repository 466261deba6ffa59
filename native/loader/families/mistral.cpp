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

Family mistral3_family() {
    Family family = mistral_family();
    family.hf_architecture = "Mistral3ForConditionalGeneration";
    family.defaults.text_config = true;
    family.defaults.tie_word_embeddings = true;
    family.model_prefixes = {"language_model.model.", "model.language_model."};
    family.ignored_prefixes = {"vision_tower.", "model.vision_tower.", "multi_modal_projector.", "model.multi_modal_projector."};
    return family;
}

}  // namespace tfserve
