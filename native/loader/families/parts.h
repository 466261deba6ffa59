// Pieces of tables that several families share.
#pragma once

#include "loader/families/family.h"

namespace tfserve {

/// The numbers that all dense decoders have.
inline constexpr HyperRule kDecoderNumbers[] = {
    {"block_count", &HfConfig::num_hidden_layers},
    {"context_length", &HfConfig::max_position_embeddings},
    {"embedding_length", &HfConfig::hidden_size},
    {"feed_forward_length", &HfConfig::intermediate_size},
    {"vocab_size", &HfConfig::vocab_size},
    {"attention.head_count", &HfConfig::num_attention_heads},
    {"attention.head_count_kv", &HfConfig::num_key_value_heads},
    {"attention.key_length", &HfConfig::head_dim},
    {"attention.value_length", &HfConfig::head_dim},
    {"rope.dimension_count", &HfConfig::rotary_dim},
    {"attention.layer_norm_rms_epsilon", &HfConfig::rms_norm_eps},
};

/// The numbers of layers with routed experts.
inline constexpr HyperRule kExpertNumbers[] = {
    {"expert_count", &HfConfig::num_experts},
    {"expert_used_count", &HfConfig::num_experts_per_tok},
    {"expert_feed_forward_length", &HfConfig::expert_intermediate_size},
};

inline constexpr TensorRule kEmbeddings[] = {
    {"model.embed_tokens.weight", "token_embd.weight", {Dim::vocab, Dim::hidden}},
    {"lm_head.weight", "output.weight", {Dim::vocab, Dim::hidden}, Op::as_stored, When::untied_head},
};
inline constexpr TensorRule kFinalNorm[] = {{"model.norm.weight", "output_norm.weight", {Dim::hidden}}};

/// The embedding as output matrix, for graphs that want one in any case.
inline constexpr TensorRule kTiedOutput[] = {
    {"model.embed_tokens.weight", "output.weight", {Dim::vocab, Dim::hidden}, Op::as_stored, When::tied_head},
};

/// Norms before attention and before the feed-forward part.
inline constexpr TensorRule kPreNorms[] = {
    {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", {Dim::hidden}},
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight", {Dim::hidden}},
};

/// Norms before and after both parts, all of them times 1 + weight.
inline constexpr TensorRule kGemmaNorms[] = {
    {"model.norm.weight", "output_norm.weight", {Dim::hidden}, Op::add_one},
    {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", {Dim::hidden}, Op::add_one},
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight", {Dim::hidden}, Op::add_one},
    {"model.layers.{}.pre_feedforward_layernorm.weight", "blk.{}.ffn_norm.weight", {Dim::hidden}, Op::add_one},
    {"model.layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight", {Dim::hidden}, Op::add_one},
};

/// Attention with or without interleaved heads.
template <Op query, Op kv>
inline constexpr TensorRule kAttention[] = {
    {"model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", {Dim::query, Dim::hidden}, query},
    {"model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", {Dim::kv, Dim::hidden}, kv},
    {"model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight", {Dim::kv, Dim::hidden}},
    {"model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", {Dim::hidden, Dim::query}},
};

/// The biases of attention: of q, k and v under one condition, of the output under another.
template <Op query, Op kv, When qkv>
inline constexpr TensorRule kQkvBiases[] = {
    {"model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", {Dim::query}, query, qkv},
    {"model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", {Dim::kv}, kv, qkv},
    {"model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias", {Dim::kv}, Op::as_stored, qkv},
};
template <When when>
inline constexpr TensorRule kOutputBias[] = {
    {"model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias", {Dim::hidden}, Op::as_stored, when},
};

inline constexpr TensorRule kHeadNorms[] = {
    {"model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", {Dim::head}},
    {"model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", {Dim::head}},
};

template <When when>
inline constexpr TensorRule kGatedMlp[] = {
    {"model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight", {Dim::ffn, Dim::hidden}, Op::as_stored, when},
    {"model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight", {Dim::ffn, Dim::hidden}, Op::as_stored, when},
    {"model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", {Dim::hidden, Dim::ffn}, Op::as_stored, when},
};
inline constexpr TensorRule kMlpBiases[] = {
    {"model.layers.{}.mlp.gate_proj.bias", "blk.{}.ffn_gate.bias", {Dim::ffn}, Op::as_stored, When::mlp_bias},
    {"model.layers.{}.mlp.up_proj.bias", "blk.{}.ffn_up.bias", {Dim::ffn}, Op::as_stored, When::mlp_bias},
    {"model.layers.{}.mlp.down_proj.bias", "blk.{}.ffn_down.bias", {Dim::hidden}, Op::as_stored, When::mlp_bias},
};

/// A router and the experts it chooses from.
template <When when>
inline constexpr TensorRule kExperts[] = {
    {"model.layers.{}.mlp.gate.weight", "blk.{}.ffn_gate_inp.weight", {Dim::experts, Dim::hidden}, Op::as_stored, when},
    {"model.layers.{}.mlp.experts.{e}.gate_proj.weight",
     "blk.{}.ffn_gate_exps.weight",
     {Dim::expert_ffn, Dim::hidden},
     Op::as_stored,
     when},
    {"model.layers.{}.mlp.experts.{e}.up_proj.weight", "blk.{}.ffn_up_exps.weight", {Dim::expert_ffn, Dim::hidden}, Op::as_stored, when},
    {"model.layers.{}.mlp.experts.{e}.down_proj.weight",
     "blk.{}.ffn_down_exps.weight",
     {Dim::hidden, Dim::expert_ffn},
     Op::as_stored,
     when},
};

inline constexpr auto& kPlainAttention = kAttention<Op::as_stored, Op::as_stored>;
inline constexpr auto& kInterleavedAttention = kAttention<Op::interleave_query, Op::interleave_kv>;

}  // namespace tfserve
