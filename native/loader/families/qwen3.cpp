// Qwen3, dense: norms on the heads of q and k, a head size of its own.
#include "loader/families/families.h"

namespace tfserve {

namespace {

constexpr TensorRule kTensors[] = {
    {"model.embed_tokens.weight", "token_embd.weight", {Dim::vocab, Dim::hidden}},
    {"model.norm.weight", "output_norm.weight", {Dim::hidden}},
    {"lm_head.weight", "output.weight", {Dim::vocab, Dim::hidden}, Layout::as_stored, When::untied_head},

    {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", {Dim::hidden}},
    {"model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", {Dim::query, Dim::hidden}},
    {"model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", {Dim::kv, Dim::hidden}},
    {"model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight", {Dim::kv, Dim::hidden}},
    {"model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", {Dim::hidden, Dim::query}},
    {"model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", {Dim::query}, Layout::as_stored, When::attention_bias},
    {"model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", {Dim::kv}, Layout::as_stored, When::attention_bias},
    {"model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias", {Dim::kv}, Layout::as_stored, When::attention_bias},
    {"model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias", {Dim::hidden}, Layout::as_stored, When::attention_bias},
    {"model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", {Dim::head}},
    {"model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", {Dim::head}},

    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight", {Dim::hidden}},
    {"model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight", {Dim::ffn, Dim::hidden}},
    {"model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight", {Dim::ffn, Dim::hidden}},
    {"model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", {Dim::hidden, Dim::ffn}},
};

}  // namespace

Family qwen3_family() {
    return {
        .hf_architecture = "Qwen3ForCausalLM",
        .llama_architecture = "qwen3",
        .defaults = {.max_position_embeddings = 32768, .num_key_value_heads = 32, .head_dim = 128},
        .hyperparameters = dense_decoder_hyperparameters(),
        .tensors = kTensors,
    };
}

}  // namespace tfserve
