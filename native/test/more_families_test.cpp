// The tables of the families beyond Llama and Qwen.
#include <set>

#include "planned_checkpoint.h"
#include "testing.h"

namespace tfserve {

using namespace testing;

namespace {

Shapes plain_shapes() { return decoder_shapes(false, false, false, false); }

/// The same change to a tensor of both layers: `from` becomes `to` with another shape; an empty name leaves it out.
Shapes& replace(Shapes& shapes, const std::string& from, const std::string& to, const std::vector<std::int64_t>& shape) {
    for (const char* layer : {"model.layers.0.", "model.layers.1."}) {
        if (!from.empty()) shapes.erase(layer + from);
        if (!to.empty()) shapes[layer + to] = shape;
    }
    return shapes;
}

/// Puts router and experts in the place of the feed-forward part.
Shapes& with_experts(Shapes& shapes, int count, std::int64_t width) {
    for (const char* name : {"gate_proj", "up_proj", "down_proj"}) {
        replace(shapes, std::string("mlp.") + name + ".weight", "", {});
        const bool down = std::string(name) == "down_proj";
        for (int expert = 0; expert < count; ++expert) {
            replace(shapes, "", "mlp.experts." + std::to_string(expert) + "." + name + ".weight",
                    down ? std::vector<std::int64_t>{48, width} : std::vector<std::int64_t>{width, 48});
        }
    }
    return replace(shapes, "", "mlp.gate.weight", {count, 48});
}

template <typename T>
T number(const Planned& planned, const std::string& key) {
    const MetadataValue* value = planned.value(key);
    return value != nullptr && std::holds_alternative<T>(*value) ? std::get<T>(*value) : T{};
}

}  // namespace

TEST(families_mistral_table) {
    Json json = config_json("MistralForCausalLM");
    const Planned planned(json, plain_shapes());
    CHECK_EQ(planned.plan.llama_architecture, "llama");
    CHECK_EQ(planned.find("blk.1.attn_q.weight")->interleaved_heads, 6);
    CHECK(planned.value("llama.attention.sliding_window") == nullptr);  // the assumed window is longer than the context
    json["sliding_window"] = 100;
    const Planned windowed(json, plain_shapes());
    CHECK_EQ(windowed.plan.context_length, 256);
    CHECK(number<std::uint32_t>(windowed, "llama.attention.sliding_window") == 100);
    CHECK_EQ(number<std::vector<bool>>(windowed, "llama.attention.sliding_window_pattern"), (std::vector<bool>{true, true}));
    json["sliding_window"] = nullptr;
    CHECK(Planned(json, plain_shapes()).value("llama.attention.sliding_window") == nullptr);
}

TEST(families_mixtral_table) {
    Json json = config_json("MixtralForCausalLM");
    json["num_local_experts"] = 3;
    json["num_experts_per_tok"] = 2;
    Shapes shapes = plain_shapes();
    for (const char* name : {"gate_proj", "up_proj", "down_proj"}) replace(shapes, std::string("mlp.") + name + ".weight", "", {});
    replace(shapes, "", "block_sparse_moe.gate.weight", {3, 48});
    for (const std::string expert : {"0", "1", "2"}) {
        replace(shapes, "", "block_sparse_moe.experts." + expert + ".w1.weight", {80, 48});
        replace(shapes, "", "block_sparse_moe.experts." + expert + ".w3.weight", {80, 48});
        replace(shapes, "", "block_sparse_moe.experts." + expert + ".w2.weight", {48, 80});
    }
    const Planned planned(json, shapes);
    CHECK(planned.plan.warnings.empty());
    const PlannedTensor* down = planned.find("blk.1.ffn_down_exps.weight");
    REQUIRE(down != nullptr);
    CHECK_EQ(down->sources.size(), 3u);
    CHECK_EQ(down->shape, (std::vector<std::int64_t>{3, 48, 80}));
    CHECK(!down->whole && !down->float32);
    CHECK(planned.find("blk.0.ffn_gate_inp.weight")->float32);
    CHECK(number<std::uint32_t>(planned, "llama.expert_used_count") == 2);
    shapes.erase("model.layers.1.block_sparse_moe.experts.2.w3.weight");
    CHECK(contains(refusal(json, shapes), "lacks the tensor model.layers.1.block_sparse_moe.experts.2.w3.weight"));
    json["num_experts_per_tok"] = 4;
    CHECK(contains(refusal(json, shapes), "num_experts_per_tok"));
}

TEST(families_qwen_moe_tables) {
    Json json = config_json("Qwen2MoeForCausalLM");
    json["num_experts"] = 4;
    json["num_experts_per_tok"] = 2;
    json["moe_intermediate_size"] = 24;
    json["shared_expert_intermediate_size"] = 32;
    Shapes shapes = decoder_shapes(true, false, false, false);
    with_experts(shapes, 4, 24);
    replace(shapes, "", "mlp.shared_expert_gate.weight", {1, 48});
    replace(shapes, "", "mlp.shared_expert.gate_proj.weight", {32, 48});
    replace(shapes, "", "mlp.shared_expert.up_proj.weight", {32, 48});
    replace(shapes, "", "mlp.shared_expert.down_proj.weight", {48, 32});
    const Planned two(json, shapes);
    CHECK_EQ(two.plan.llama_architecture, "qwen2moe");
    CHECK(two.plan.warnings.empty());
    CHECK_EQ(two.find("blk.0.ffn_gate_inp_shexp.weight")->shape, (std::vector<std::int64_t>{48}));
    CHECK_EQ(two.find("blk.0.ffn_up_exps.weight")->shape, (std::vector<std::int64_t>{4, 24, 48}));
    CHECK(two.find("output.weight") != nullptr);  // tied, and llama.cpp wants one
    CHECK(two.value("qwen2moe.expert_weights_norm") != nullptr && !number<bool>(two, "qwen2moe.expert_weights_norm"));
    json["mlp_only_layers"] = {0};
    CHECK(contains(refusal(json, shapes), "layers that have no experts"));

    Json three = config_json("Qwen3MoeForCausalLM");
    three["num_experts"] = 4;
    three["num_experts_per_tok"] = 2;
    three["moe_intermediate_size"] = 24;
    three["norm_topk_prob"] = true;
    Shapes shapes3 = decoder_shapes(false, false, true, false);
    const Planned planned(three, with_experts(shapes3, 4, 24));
    CHECK_EQ(planned.plan.llama_architecture, "qwen3moe");
    CHECK(planned.plan.warnings.empty() && number<bool>(planned, "qwen3moe.expert_weights_norm"));
}

TEST(families_gemma_tables) {
    Json json = config_json("Gemma2ForCausalLM");
    json["hidden_activation"] = "gelu_pytorch_tanh";
    json["query_pre_attn_scalar"] = 16;
    json["sliding_window"] = 32;
    Shapes shapes = plain_shapes();
    replace(shapes, "", "pre_feedforward_layernorm.weight", {48});
    replace(shapes, "", "post_feedforward_layernorm.weight", {48});
    const Planned two(json, shapes);
    CHECK_EQ(two.plan.llama_architecture, "gemma2");
    CHECK(two.plan.warnings.empty());
    for (const char* name : {"output_norm.weight", "blk.0.attn_norm.weight", "blk.1.ffn_norm.weight", "blk.1.post_ffw_norm.weight"}) {
        CHECK(two.find(name) != nullptr && two.find(name)->add == 1 && !two.find(name)->whole);
    }
    CHECK(two.find("blk.0.attn_q.weight")->whole && two.find("blk.0.attn_q.weight")->add == 0);
    CHECK(number<float>(two, "gemma2.attention.scale") == 0.25f);
    CHECK(number<float>(two, "gemma2.attn_logit_softcapping") == 50.0f);
    CHECK(number<std::uint32_t>(two, "gemma2.attention.sliding_window") == 32);
    CHECK_EQ(number<std::vector<bool>>(two, "gemma2.attention.sliding_window_pattern"), (std::vector<bool>{true, false}));
    json["hidden_activation"] = "silu";
    CHECK(contains(refusal(json, shapes), "only gelu_pytorch_tanh is"));

    Json three = config_json("Gemma3ForCausalLM");
    three["sliding_window"] = 32;
    three["rope_local_base_freq"] = 500.0;
    three["layer_types"] = {"full_attention", "sliding_attention"};
    replace(shapes, "", "self_attn.q_norm.weight", {8});
    replace(shapes, "", "self_attn.k_norm.weight", {8});
    const Planned text(three, shapes);
    CHECK(text.plan.warnings.empty() && text.find("blk.0.attn_q_norm.weight")->add == 1);
    CHECK(number<float>(text, "gemma3.rope.freq_base") == 1e6f && number<float>(text, "gemma3.rope.freq_base_swa") == 500.0f);
    CHECK_EQ(number<std::vector<bool>>(text, "gemma3.attention.sliding_window_pattern"), (std::vector<bool>{false, true}));

    // with pictures: the text part has a configuration and names of its own
    Json whole = {{"architectures", {"Gemma3ForConditionalGeneration"}}, {"text_config", three}, {"eos_token_id", {1, 106}}};
    for (const std::string prefix : {"language_model.model.", "model.language_model."}) {
        Shapes renamed;
        for (const auto& [name, shape] : shapes) renamed[prefix + name.substr(6)] = shape;
        renamed["vision_tower.patch.weight"] = {4, 4};
        const Planned planned(whole, renamed);
        CHECK(planned.plan.warnings.empty() && planned.find("blk.1.ffn_down.weight") != nullptr);
    }
}

TEST(families_mistral3_has_a_text_part) {
    Json text = config_json("MistralForCausalLM");
    text["tie_word_embeddings"] = false;
    const Json whole = {{"architectures", {"Mistral3ForConditionalGeneration"}}, {"text_config", text}};
    Shapes shapes;
    for (const auto& [name, shape] : decoder_shapes(false, false, false, true)) shapes["language_model." + name] = shape;
    shapes["vision_tower.ln_pre.weight"] = shapes["multi_modal_projector.norm.weight"] = {4};
    const Planned planned(whole, shapes);
    CHECK(planned.plan.warnings.empty() && planned.find("output.weight") != nullptr && planned.plan.llama_architecture == "llama");
}

TEST(families_phi3_table_and_longrope) {
    Json json = config_json("Phi3ForCausalLM");
    json["tie_word_embeddings"] = false;
    Shapes shapes = decoder_shapes(false, false, false, true);
    for (const char* name : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"}) {
        replace(shapes, std::string(name) + ".weight", "", {});
    }
    replace(shapes, "", "self_attn.qkv_proj.weight", {80, 48});
    replace(shapes, "", "mlp.gate_up_proj.weight", {160, 48});
    const Planned plain(json, shapes);
    CHECK(plain.plan.warnings.empty() && plain.find("blk.0.attn_qkv.weight")->whole);
    json["partial_rotary_factor"] = 0.5;
    CHECK(number<std::uint32_t>(Planned(json, shapes), "phi3.rope.dimension_count") == 4);
    json["original_max_position_embeddings"] = 64;
    json["rope_scaling"] = {{"type", "longrope"}, {"short_factor", {1.0, 1.5}}, {"long_factor", {4.0, 8.0}}};
    const Planned stretched(json, shapes);
    CHECK_EQ(stretched.plan.context_length, 64);
    CHECK_EQ(stretched.find("rope_factors_long.weight")->values, (std::vector<float>{1.0f, 1.5f}));
    CHECK(number<float>(stretched, "phi3.rope.scaling.attn_factor") == std::sqrt(1 + std::log(4.0f) / std::log(64.0f)));
    json["rope_scaling"]["short_factor"] = {1.0};
    CHECK(contains(refusal(json, shapes), "short_factor has 1 entries instead of 2"));
}

TEST(families_granite_table) {
    Json json = config_json("GraniteForCausalLM");
    json["residual_multiplier"] = 0.5;
    const Planned planned(json, plain_shapes());
    CHECK(number<float>(planned, "granite.residual_scale") == 0.5f && number<float>(planned, "granite.attention.scale") == 1.0f);
    CHECK_EQ(planned.find("blk.0.attn_k.weight")->interleaved_heads, 2);
}

TEST(families_olmo2_table) {
    Json json = config_json("Olmo2ForCausalLM");
    Shapes shapes = decoder_shapes(false, false, false, false);
    replace(shapes, "input_layernorm.weight", "post_feedforward_layernorm.weight", {48});
    replace(shapes, "", "self_attn.q_norm.weight", {48});
    replace(shapes, "", "self_attn.k_norm.weight", {16});
    const Planned planned(json, shapes);
    CHECK(planned.plan.warnings.empty() && planned.find("blk.1.post_ffw_norm.weight") != nullptr);
    json["attention_bias"] = true;
    CHECK(contains(refusal(json, shapes), "attention_bias is not supported for Olmo2ForCausalLM"));
}

TEST(families_smollm3_table) {
    Json json = config_json("SmolLM3ForCausalLM");
    json["no_rope_layers"] = {0, 1};
    const Planned planned(json, plain_shapes());
    CHECK_EQ(number<std::vector<bool>>(planned, "smollm3.attention.rope_pattern"), (std::vector<bool>{false, true}));
    json["no_rope_layers"] = {0, 1, 1};
    CHECK(contains(refusal(json, plain_shapes()), "no_rope_layers"));
}

TEST(families_deepseek_tables) {
    Json json = config_json("DeepseekV3ForCausalLM");
    json.erase("head_dim");
    json.update({{"num_key_value_heads", 6},
                 {"n_routed_experts", 4},
                 {"n_shared_experts", 2},
                 {"num_experts_per_tok", 2},
                 {"moe_intermediate_size", 24},
                 {"first_k_dense_replace", 1},
                 {"q_lora_rank", nullptr},
                 {"kv_lora_rank", 20},
                 {"qk_nope_head_dim", 6},
                 {"qk_rope_head_dim", 4},
                 {"v_head_dim", 5},
                 {"n_group", 2},
                 {"topk_group", 1}});
    Shapes shapes = plain_shapes();
    for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"}) replace(shapes, std::string("self_attn.") + name + ".weight", "", {});
    replace(shapes, "", "self_attn.q_proj.weight", {60, 48});
    replace(shapes, "", "self_attn.kv_a_proj_with_mqa.weight", {24, 48});
    replace(shapes, "", "self_attn.kv_a_layernorm.weight", {20});
    replace(shapes, "", "self_attn.kv_b_proj.weight", {66, 20});
    replace(shapes, "", "self_attn.o_proj.weight", {48, 30});
    Shapes experts = shapes;
    with_experts(experts, 4, 24);
    for (const auto& [name, shape] : experts) {
        if (contains(name, "layers.1.mlp")) shapes[name] = shape;
    }
    for (const char* name : {"gate_proj", "up_proj", "down_proj"}) shapes.erase(std::string("model.layers.1.mlp.") + name + ".weight");
    shapes["model.layers.1.mlp.gate.e_score_correction_bias"] = {4};
    shapes["model.layers.1.mlp.shared_experts.gate_proj.weight"] = shapes["model.layers.1.mlp.shared_experts.up_proj.weight"] = {48, 48};
    shapes["model.layers.1.mlp.shared_experts.down_proj.weight"] = {48, 48};
    const Planned planned(json, shapes);
    CHECK(planned.plan.warnings.empty());
    CHECK_EQ(planned.find("blk.0.attn_k_b.weight")->shape, (std::vector<std::int64_t>{6, 20, 6}));
    CHECK_EQ(planned.find("blk.0.attn_v_b.weight")->shape, (std::vector<std::int64_t>{6, 5, 20}));
    CHECK(planned.find("blk.0.ffn_gate.weight") != nullptr && planned.find("blk.0.ffn_gate_exps.weight") == nullptr);
    CHECK(planned.find("blk.1.ffn_gate.weight") == nullptr && planned.find("blk.1.ffn_gate_exps.weight") != nullptr);
    std::uint32_t kv_heads = 0, groups = 0;
    for (const auto& [key, value] : planned.plan.metadata) {  // the later of two counts
        if (key == "deepseek2.attention.head_count_kv") kv_heads = std::get<std::uint32_t>(value);
        if (key == "deepseek2.expert_group_count") groups = std::get<std::uint32_t>(value);
    }
    CHECK(kv_heads == 1 && groups == 2);

    auto refused = [&](const char* key, const Json& value, const char* why) {
        Json other = json;
        other[key] = value;
        CHECK(contains(refusal(other, shapes), why));
    };
    refused("n_group", 3, "n_group");
    refused("n_shared_experts", nullptr, "without shared experts");
    refused("rope_interleave", false, "rope_interleave");
    refused("attention_bias", true, "attention_bias");
    refused("rope_scaling", {{"type", "yarn"}, {"factor", 4}, {"mscale", 1.0}, {"mscale_all_dim", 0.5}}, "yarn");
    refused("kv_lora_rank", 1 << 21, "kv_lora_rank");
}

TEST(families_gpt_oss_table) {
    Json json = config_json("GptOssForCausalLM");
    json["num_local_experts"] = 3;
    json["num_experts_per_tok"] = 2;
    json["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 32.0}, {"truncate", false}, {"original_max_position_embeddings", 16}};
    Shapes shapes = decoder_shapes(true, false, false, false);
    for (const char* name : {"gate_proj", "up_proj", "down_proj"}) replace(shapes, std::string("mlp.") + name + ".weight", "", {});
    replace(shapes, "", "self_attn.o_proj.bias", {48});
    replace(shapes, "", "self_attn.sinks", {6});
    replace(shapes, "", "mlp.router.weight", {3, 48});
    replace(shapes, "", "mlp.router.bias", {3});
    replace(shapes, "", "mlp.experts.gate_up_proj", {3, 48, 160});
    replace(shapes, "", "mlp.experts.gate_up_proj_bias", {3, 160});
    replace(shapes, "", "mlp.experts.down_proj", {3, 80, 48});
    replace(shapes, "", "mlp.experts.down_proj_bias", {3, 48});
    const Planned planned(json, shapes);
    CHECK(planned.plan.warnings.empty());
    CHECK_EQ(planned.find("blk.0.ffn_up_exps.weight")->shape, (std::vector<std::int64_t>{3, 80, 48}));
    CHECK_EQ(planned.find("blk.0.ffn_up_exps.bias")->shape, (std::vector<std::int64_t>{3, 80}));
    CHECK(planned.find("blk.0.ffn_up_exps.bias")->float32);
    CHECK_EQ(planned.find("blk.0.ffn_down_exps.weight")->shape, (std::vector<std::int64_t>{3, 48, 80}));
    CHECK_EQ(planned.find("rope_freqs.weight")->values.size(), 4u);
    json["swiglu_limit"] = 5.0;
    CHECK(contains(refusal(json, shapes), "swiglu"));
}

TEST(families_gemma4_table) {
    Json json = config_json("Gemma4ForCausalLM");
    json.update({{"global_head_dim", 16},
                 {"num_hidden_layers", 4},
                 {"layer_types", {"sliding_attention", "full_attention", "sliding_attention", "sliding_attention"}},
                 {"num_kv_shared_layers", 2},
                 {"use_double_wide_mlp", true},
                 {"hidden_size_per_layer_input", 4},
                 {"sliding_window", 32},
                 {"rope_parameters",
                  {{"full_attention", {{"rope_type", "proportional"}, {"partial_rotary_factor", 0.25}, {"rope_theta", 1e6}}},
                   {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 500.0}}}}}});
    Shapes shapes = {{"model.embed_tokens.weight", {40, 48}},
                     {"model.norm.weight", {48}},
                     {"model.embed_tokens_per_layer.weight", {40, 16}},
                     {"model.per_layer_model_projection.weight", {16, 48}},
                     {"model.per_layer_projection_norm.weight", {4}}};
    for (int layer = 0; layer < 4; ++layer) {
        const std::string at = "model.layers." + std::to_string(layer) + ".";
        const bool full = layer % 2 == 1, shares = layer >= 2;  // the last layer is always full
        const std::int64_t head = full ? 16 : 8, ffn = shares ? 160 : 80;
        for (const char* name : {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm",
                                 "post_per_layer_input_norm"}) {
            shapes[at + name + ".weight"] = {48};
        }
        shapes[at + "layer_scalar"] = {1};
        shapes[at + "self_attn.q_proj.weight"] = {6 * head, 48};
        shapes[at + "self_attn.o_proj.weight"] = {48, 6 * head};
        shapes[at + "self_attn.q_norm.weight"] = {head};
        if (!shares) shapes[at + "self_attn.k_proj.weight"] = shapes[at + "self_attn.v_proj.weight"] = {2 * head, 48};
        if (!shares) shapes[at + "self_attn.k_norm.weight"] = {head};
        shapes[at + "mlp.gate_proj.weight"] = shapes[at + "mlp.up_proj.weight"] = {ffn, 48};
        shapes[at + "mlp.down_proj.weight"] = {48, ffn};
        shapes[at + "per_layer_input_gate.weight"] = {4, 48};
        shapes[at + "per_layer_projection.weight"] = {48, 4};
    }
    const Planned planned(json, shapes);
    CHECK(planned.plan.warnings.empty());
    CHECK_EQ(number<std::vector<bool>>(planned, "gemma4.attention.sliding_window_pattern"), (std::vector<bool>{true, false, true, false}));
    CHECK_EQ(planned.find("rope_freqs.weight")->values, (std::vector<float>{1, 1, 1e30f, 1e30f, 1e30f, 1e30f, 1e30f, 1e30f}));
    CHECK(planned.find("blk.2.attn_k.weight") == nullptr && planned.find("blk.1.attn_k.weight") != nullptr);
    CHECK(number<float>(planned, "gemma4.rope.freq_base_swa") == 500.0f);
    json["num_kv_shared_layers"] = 3;
    CHECK(contains(refusal(json, shapes), "nothing to share"));
    json["enable_moe_block"] = true;
    CHECK(contains(refusal(json, shapes), "experts"));
}

TEST(families_gpt_oss_as_published) {
    Json json = config_json("GptOssForCausalLM");
    json.update({{"num_local_experts", 3}, {"num_experts_per_tok", 2}, {"hidden_size", 64}, {"intermediate_size", 96}});
    json["quantization_config"] = {{"quant_method", "mxfp4"}};
    HfConfig config = parse(json);
    const Family& family = select_family(config);
    CHECK_EQ(std::string(family.quantization), "mxfp4");
    std::set<std::string> doubled;
    for (const auto& table : family.tensors) {
        for (const TensorRule& rule : table) {
            if (rule.mxfp4) doubled.insert(rule.gguf_name);
        }
    }
    CHECK_EQ(doubled.size(), 3u);
    json["quantization_config"] = {{"quant_method", "fp8"}};
    config = parse(json);
    std::string why;
    try {
        select_family(config);
    } catch (const LoadError& error) {
        why = error.what();
    }
    CHECK(contains(why, "\"fp8\" are not supported"));
}

TEST(families_all_have_names_and_refuse_missing_tensors) {
    std::set<std::string> names;
    for (const Family& family : all_families()) {
        names.insert(family.hf_architecture);
        CHECK(contains(supported_architectures(), family.hf_architecture));
        CHECK(!family.tensors.empty() && !family.hyperparameters.empty());
    }
    CHECK_EQ(names.size(), 20u);
}

}  // namespace tfserve
