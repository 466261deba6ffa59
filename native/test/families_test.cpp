#include <cmath>
#include <set>

#include "planned_checkpoint.h"
#include "testing.h"

namespace tfserve {

using namespace testing;

TEST(families_llama_table) {
    const Planned planned(config_json("LlamaForCausalLM"), decoder_shapes(false, false, false, false));
    CHECK_EQ(planned.plan.llama_architecture, "llama");
    CHECK_EQ(planned.plan.tensors.size(), 2u + 2 * 9);
    CHECK(planned.plan.warnings.empty());
    CHECK_EQ(planned.find("blk.1.attn_q.weight")->interleaved_heads, 6);
    CHECK_EQ(planned.find("blk.1.attn_k.weight")->interleaved_heads, 2);
    CHECK_EQ(planned.find("blk.1.attn_v.weight")->interleaved_heads, 0);
    CHECK_EQ(planned.find("blk.1.ffn_down.weight")->shape, (std::vector<std::int64_t>{48, 80}));
    CHECK(planned.find("output.weight") == nullptr);
    CHECK(std::get<std::uint32_t>(*planned.value("llama.attention.head_count_kv")) == 2);
    CHECK(std::get<std::uint32_t>(*planned.value("llama.vocab_size")) == 40);
    CHECK(std::get<float>(*planned.value("llama.rope.freq_base")) == 10000.0f);
    CHECK(planned.value("llama.rope.scaling.type") == nullptr);
    CHECK_EQ(planned.plan.num_parameters, 40u * 48 + 48 + 2 * (2 * 48 + 2 * 48 * 48 + 2 * 16 * 48 + 3 * 80 * 48));
}

TEST(families_llama_biases_and_head) {
    Json json = config_json("LlamaForCausalLM");
    json["attention_bias"] = json["mlp_bias"] = true;
    json["tie_word_embeddings"] = false;
    const Planned planned(json, decoder_shapes(true, true, false, true));
    CHECK_EQ(planned.plan.tensors.size(), 3u + 2 * 16);
    CHECK_EQ(planned.find("blk.0.attn_q.bias")->interleaved_heads, 6);
    CHECK_EQ(planned.find("blk.0.attn_k.bias")->interleaved_heads, 2);
    CHECK(planned.find("output.weight") != nullptr && planned.find("blk.1.ffn_up.bias") != nullptr);
    CHECK(contains(refusal(json, decoder_shapes(true, true, false, false)),
                   "lacks the tensor lm_head.weight (tie_word_embeddings is false)"));
    CHECK(contains(refusal(json, decoder_shapes(false, true, false, true)), "attention_bias is true"));
    CHECK(contains(refusal(json, decoder_shapes(true, false, false, true)), "is true"));
}

TEST(families_tied_checkpoint_with_a_head_of_its_own) {
    const Planned planned(config_json("LlamaForCausalLM"), decoder_shapes(false, false, false, true));
    CHECK(planned.find("output.weight") == nullptr);
    CHECK(planned.plan.warnings.empty());

    // one that differs from the embedding is the head, as in transformers
    TemporaryDirectory directory;
    std::string bytes = zero_safetensors(decoder_shapes(false, false, false, true));
    bytes[bytes.size() - 1] = 1;  // the last tensor by name is not the head: nothing changes
    directory.write("model.safetensors", bytes);
    const HfConfig config = parse(config_json("LlamaForCausalLM"));
    auto plan_of = [&] {
        const Checkpoint checkpoint = Checkpoint::open(directory.path());
        const ModelPlan plan = plan_model(select_family(config), config, checkpoint);
        return std::any_of(plan.tensors.begin(), plan.tensors.end(), [](const auto& each) { return each.name == "output.weight"; });
    };
    CHECK(!plan_of());
    const Checkpoint stored = Checkpoint::open(directory.path());
    const auto head = stored.find("lm_head.weight")->data.data() - stored.files().front()->bytes().data();
    bytes[static_cast<std::size_t>(head) + 5] = 1;
    directory.write("model.safetensors", bytes);
    CHECK(plan_of());
}

TEST(families_unknown_tensors_are_a_warning) {
    Shapes shapes = decoder_shapes(false, false, false, false);
    shapes["model.layers.0.self_attn.rotary_emb.inv_freq"] = {4};
    CHECK(Planned(config_json("LlamaForCausalLM"), shapes).plan.warnings.empty());
    shapes["model.layers.7.adapter.weight"] = {4};
    shapes["model.layers.0.self_attn.q_proj.bias"] = {48};  // attention_bias is false
    const Planned planned(config_json("LlamaForCausalLM"), shapes);
    REQUIRE(planned.plan.warnings.size() == 1);
    CHECK(contains(planned.plan.warnings[0], "2 tensors") && contains(planned.plan.warnings[0], "q_proj.bias"));
}

TEST(families_qwen2_tables) {
    const Shapes shapes = decoder_shapes(true, false, false, false);
    const Planned usual(config_json("Qwen2ForCausalLM"), shapes);
    CHECK_EQ(usual.plan.llama_architecture, "qwen2");
    CHECK_EQ(usual.find("blk.0.attn_q.bias")->interleaved_heads, 0);
    CHECK(contains(refusal(config_json("Qwen2ForCausalLM"), decoder_shapes(false, false, false, false)), "q_proj.bias"));

    Json stretched = config_json("Qwen2ForCausalLM");
    stretched["rope_scaling"] = {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 64}};
    const Planned yarn(stretched, shapes);
    CHECK_EQ(yarn.plan.llama_architecture, "llama");
    CHECK_EQ(yarn.find("blk.0.attn_q.weight")->interleaved_heads, 6);
    CHECK_EQ(yarn.find("blk.0.attn_k.bias")->interleaved_heads, 2);
    CHECK_EQ(yarn.find("rope_freqs.weight")->values.size(), 4u);

    Json wide = config_json("Qwen2ForCausalLM");
    wide["head_dim"] = 16;
    CHECK_EQ(std::string(select_family(parse(wide)).llama_architecture), "llama");
}

TEST(families_qwen3_table) {
    const Planned planned(config_json("Qwen3ForCausalLM"), decoder_shapes(false, false, true, false));
    CHECK_EQ(planned.plan.llama_architecture, "qwen3");
    CHECK_EQ(planned.find("blk.0.attn_q_norm.weight")->shape, (std::vector<std::int64_t>{8}));
    CHECK_EQ(planned.find("blk.0.attn_q.weight")->interleaved_heads, 0);
    Json json = config_json("Qwen3ForCausalLM");
    json.erase("head_dim");
    CHECK_EQ(parse(json).head_dim, 128);
}

TEST(families_refuse_what_they_cannot_run) {
    const Shapes shapes = decoder_shapes(false, false, false, false);
    Json json = config_json("GPT2LMHeadModel");
    const std::string message = [&] {
        try {
            parse(json);
            return std::string();
        } catch (const LoadError& error) {
            CHECK(error.kind() == LoadError::Kind::unsupported);
            return std::string(error.what());
        }
    }();
    CHECK(contains(message, "LlamaForCausalLM, MistralForCausalLM, ") && contains(message, "GGUF"));

    json = config_json("LlamaForCausalLM");
    json["hidden_act"] = "gelu";
    CHECK(contains(refusal(json, shapes), "hidden_act \"gelu\""));
    json = config_json("LlamaForCausalLM");
    json["quantization_config"] = {{"quant_method", "gptq"}};
    CHECK(contains(refusal(json, shapes), "gptq"));
}

TEST(families_windows_of_some_layers) {
    Json json = config_json("Qwen2ForCausalLM");
    json["use_sliding_window"] = true;
    json["sliding_window"] = 16;
    json["max_window_layers"] = 1;
    const Planned planned(json, decoder_shapes(true, false, false, false));
    CHECK_EQ(planned.plan.context_length, 256);
    CHECK(planned.plan.warnings.empty());
    CHECK(std::get<std::uint32_t>(*planned.value("qwen2.attention.sliding_window")) == 16);
    CHECK_EQ(std::get<std::vector<bool>>(*planned.value("qwen2.attention.sliding_window_pattern")), (std::vector<bool>{false, true}));
    json["use_sliding_window"] = false;
    CHECK(Planned(json, decoder_shapes(true, false, false, false)).value("qwen2.attention.sliding_window") == nullptr);
}

TEST(families_missing_tensors_wrong_shapes_and_types) {
    const Shapes shapes = decoder_shapes(true, true, true, true);
    Json json = config_json("Qwen3ForCausalLM");
    json["tie_word_embeddings"] = false;
    json["attention_bias"] = true;
    REQUIRE(refusal(json, shapes).empty());
    std::set<std::string> needed;
    for (const auto& [name, shape] : shapes) {
        if (contains(name, "mlp.") && contains(name, "bias")) continue;  // not Qwen3's
        Shapes without = shapes;
        without.erase(name);
        CHECK(contains(refusal(json, without), "lacks the tensor " + name));
        Shapes other = shapes;
        other[name].back() += 2;
        CHECK(contains(refusal(json, other), "The tensor " + name + " has the shape"));
        other[name].push_back(1);
        CHECK(!refusal(json, other).empty());
    }
    CHECK(contains(refusal(json, shapes, "I8", 1), "stored as I8"));
    CHECK_EQ(refusal(json, shapes, "F64", 8), "");
    json["vocab_size"] = 41;
    CHECK(contains(refusal(json, shapes), "[40, 48], but config.json asks for [41, 48]"));
}

TEST(rope_factors_of_llama3) {
    RopeConfig rope{.type = RopeType::llama3, .theta = 10000, .factor = 8, .original_max_position_embeddings = 256};
    const std::vector<float> factors = rope_frequency_factors(rope, 64);
    REQUIRE(factors.size() == 32);
    CHECK_EQ(factors.front(), 1.0f);
    CHECK_EQ(factors.back(), 8.0f);
    for (std::size_t i = 1; i < factors.size(); ++i) CHECK(factors[i] >= factors[i - 1]);
}

TEST(rope_factors_of_yarn) {
    RopeConfig rope{.type = RopeType::yarn, .theta = 10000, .factor = 4, .original_max_position_embeddings = 4096};
    const std::vector<float> factors = rope_frequency_factors(rope, 128);
    REQUIRE(factors.size() == 64);
    // the ramp goes from pair 20 to pair 46, as the formula with these numbers gives
    CHECK_EQ(factors[20], 1.0f);
    CHECK(factors[21] > 1.0f && factors[45] < 4.0f);
    CHECK_EQ(factors[46], 4.0f);
    rope.truncate = false;
    CHECK(rope_frequency_factors(rope, 128)[21] != factors[21]);
    CHECK(rope_frequency_factors({.type = RopeType::linear, .factor = 4}, 64).empty());
    CHECK(rope_frequency_factors({}, 64).empty());
}

TEST(interleaved_rows_are_a_permutation_within_heads) {
    const std::int64_t rows_per_head = 6;
    std::vector<std::int64_t> sources;
    for (std::int64_t row = 0; row < 12; ++row) sources.push_back(interleaved_source_row(row, rows_per_head));
    CHECK_EQ(sources, (std::vector<std::int64_t>{0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11}));
}

}  // namespace tfserve
