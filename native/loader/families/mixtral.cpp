// Mixtral: Mistral with routed experts in every layer.
#include "loader/families/families.h"
#include "loader/families/parts.h"

namespace tfserve {

namespace {

constexpr TensorRule kMixtralExperts[] = {
    {"model.layers.{}.block_sparse_moe.gate.weight", "blk.{}.ffn_gate_inp.weight", {Dim::experts, Dim::hidden}},
    {"model.layers.{}.block_sparse_moe.experts.{e}.w1.weight", "blk.{}.ffn_gate_exps.weight", {Dim::ffn, Dim::hidden}},
    {"model.layers.{}.block_sparse_moe.experts.{e}.w3.weight", "blk.{}.ffn_up_exps.weight", {Dim::ffn, Dim::hidden}},
    {"model.layers.{}.block_sparse_moe.experts.{e}.w2.weight", "blk.{}.ffn_down_exps.weight", {Dim::hidden, Dim::ffn}},
};

}  // namespace

Family mixtral_family() {
    return {
        .hf_architecture = "MixtralForCausalLM",
        .llama_architecture = "llama",
        .defaults = {.max_position_embeddings = 131072,
                     .num_key_value_heads = 8,
                     .rope_theta = 1e6,
                     .rms_norm_eps = 1e-5,
                     .windows = WindowRule::all_layers,
                     .experts = {.keys = {"num_local_experts", "num_experts"}, .count = 8, .used = 2}},
        .hyperparameters = {kDecoderNumbers, kExpertNumbers},
        .tensors = {kEmbeddings, kFinalNorm, kPreNorms, kInterleavedAttention, kMixtralExperts},
    };
}

}  // namespace tfserve
