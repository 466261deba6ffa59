// Llama 2, 3.x and what shares their code in transformers.
#include "loader/families/families.h"

namespace tfserve {

namespace {

constexpr TensorRule kTensors[] = {
    {"model.embed_tokens.weight", "token_embd.weight", {Dim::vocab, Dim::hidden}},
    {"model.norm.weight", "output_norm.weight", {Dim::hidden}},
    {"lm_head.weight", "output.weight", {Dim::vocab, Dim::hidden}, Layout::as_stored, When::untied_head},

    {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", {Dim::hidden}},
    {"model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", {Dim::query, Dim::hidden}, Layout::interleave_query},
    {"model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", {Dim::kv, Dim::hidden}, Layout::interleave_kv},
    {"model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight", {Dim::kv, Dim::hidden}},
    {"model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", {Dim::hidden, Dim::query}},
    {"model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", {Dim::query}, Layout::interleave_query, When::attention_bias},
    {"model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", {Dim::kv}, Layout::interleave_kv, When::attention_bias},
    {"model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias", {Dim::kv}, Layout::as_stored, When::attention_bias},
    {"model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias", {Dim::hidden}, Layout::as_stored, When::attention_bias},

    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight", {Dim::hidden}},
    {"model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight", {Dim::ffn, Dim::hidden}},
    {"model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight", {Dim::ffn, Dim::hidden}},
    {"model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", {Dim::hidden, Dim::ffn}},
    {"model.layers.{}.mlp.gate_proj.bias", "blk.{}.ffn_gate.bias", {Dim::ffn}, Layout::as_stored, When::mlp_bias},
    {"model.layers.{}.mlp.up_proj.bias", "blk.{}.ffn_up.bias", {Dim::ffn}, Layout::as_stored, When::mlp_bias},
    {"model.layers.{}.mlp.down_proj.bias", "blk.{}.ffn_down.bias", {Dim::hidden}, Layout::as_stored, When::mlp_bias},
};

}  // namespace

Family llama_family() {
    return {
        .hf_architecture = "LlamaForCausalLM",
        .llama_architecture = "llama",
        .defaults = {.max_position_embeddings = 2048},
        .hyperparameters = dense_decoder_hyperparameters(),
        .tensors = kTensors,
    };
}

}  // namespace tfserve
