// Phi-3 and Phi-4: Llama with q, k, v in one matrix, gate and up in one, and in some models rotation of a part of the head.
#include "loader/families/families.h"
#include "loader/families/parts.h"

namespace tfserve {

namespace {

constexpr TensorRule kFused[] = {
    {"model.layers.{}.self_attn.qkv_proj.weight", "blk.{}.attn_qkv.weight", {Dim::qkv, Dim::hidden}},
    {"model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", {Dim::hidden, Dim::query}},
    {"model.layers.{}.mlp.gate_up_proj.weight", "blk.{}.ffn_up.weight", {Dim::two_ffn, Dim::hidden}},
    {"model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", {Dim::hidden, Dim::ffn}},
};

}  // namespace

Family phi3_family() {
    return {
        .hf_architecture = "Phi3ForCausalLM",
        .llama_architecture = "phi3",
        .defaults = {.max_position_embeddings = 4096,
                     .original_max_position_embeddings = 4096,
                     .rms_norm_eps = 1e-5,
                     .windows = WindowRule::all_layers},
        .hyperparameters = {kDecoderNumbers},
        .tensors = {kEmbeddings, kFinalNorm, kPreNorms, kFused},
        .square_attention = true,
        .rope_scaling = RopeScaling::long_short,
        .partial_rotary = true,
    };
}

}  // namespace tfserve
