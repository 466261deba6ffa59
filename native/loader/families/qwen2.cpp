// Qwen2 and Qwen2.5: Llama with biases on q, k and v.
#include "loader/families/families.h"

namespace tfserve {

namespace {

// the same tensors for both of llama.cpp's graphs; only the order within a rotated head differs
template <Layout query, Layout kv>
constexpr TensorRule kTensors[] = {
    {"model.embed_tokens.weight", "token_embd.weight", {Dim::vocab, Dim::hidden}},
    {"model.norm.weight", "output_norm.weight", {Dim::hidden}},
    {"lm_head.weight", "output.weight", {Dim::vocab, Dim::hidden}, Layout::as_stored, When::untied_head},

    {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", {Dim::hidden}},
    {"model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", {Dim::query, Dim::hidden}, query},
    {"model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", {Dim::query}, query},
    {"model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", {Dim::kv, Dim::hidden}, kv},
    {"model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", {Dim::kv}, kv},
    {"model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight", {Dim::kv, Dim::hidden}},
    {"model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias", {Dim::kv}},
    {"model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", {Dim::hidden, Dim::query}},

    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight", {Dim::hidden}},
    {"model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight", {Dim::ffn, Dim::hidden}},
    {"model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight", {Dim::ffn, Dim::hidden}},
    {"model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", {Dim::hidden, Dim::ffn}},
};

constexpr HfDefaults kDefaults = {.max_position_embeddings = 32768, .num_key_value_heads = 32};

}  // namespace

Family qwen2_family() {
    return {
        .hf_architecture = "Qwen2ForCausalLM",
        .llama_architecture = "qwen2",
        .defaults = kDefaults,
        .hyperparameters = dense_decoder_hyperparameters(),
        .tensors = kTensors<Layout::as_stored, Layout::as_stored>,
        .square_attention = true,
        .rope_factors = false,
    };
}

Family qwen2_as_llama_family() {
    return {
        .hf_architecture = "Qwen2ForCausalLM",
        .llama_architecture = "llama",
        .defaults = kDefaults,
        .hyperparameters = dense_decoder_hyperparameters(),
        .tensors = kTensors<Layout::interleave_query, Layout::interleave_kv>,
    };
}

}  // namespace tfserve
