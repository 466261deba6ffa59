#include "loader/hf_config.h"

#include <cmath>
#include <random>

#include "loader/load_error.h"
#include "nlohmann/json.hpp"
#include "testing.h"

namespace tfserve {

namespace {

using Json = nlohmann::json;

Json base() {
    return Json::parse(R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":64,"intermediate_size":128,
        "num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"vocab_size":100,"max_position_embeddings":512,
        "rms_norm_eps":1e-5,"hidden_act":"silu","rope_theta":500000.0,"torch_dtype":"bfloat16","bos_token_id":1,"eos_token_id":[2,3]})");
}

HfConfig parse(const Json& json, const HfDefaults& defaults = {}) { return parse_hf_config(json.dump(), defaults); }

std::string refusal(const std::string& text, const HfDefaults& defaults = {}) {
    try {
        parse_hf_config(text, defaults);
        return "";
    } catch (const LoadError& error) {
        return error.what();
    }
}

std::string refusal_with(const char* key, const Json& value) {
    Json json = base();
    json[key] = value;
    return refusal(json.dump());
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST(hf_config_reads_the_usual_keys) {
    const HfConfig config = parse(base());
    CHECK_EQ(config.architecture, "LlamaForCausalLM");
    CHECK_EQ(config.hidden_size, 64);
    CHECK_EQ(config.num_key_value_heads, 2);
    CHECK_EQ(config.head_dim, 16);
    CHECK_EQ(config.max_position_embeddings, 512);
    CHECK(config.rope.type == RopeType::plain);
    CHECK_EQ(config.rope.theta, 500000.0);
    CHECK(config.dtype == DType::bfloat16);
    CHECK(config.bos_token_id == 1);
    CHECK_EQ(config.eos_token_ids, (std::vector<std::int32_t>{2, 3}));
    CHECK(!config.tie_word_embeddings && !config.sliding_window && config.quantization.empty());
    CHECK_EQ(hf_architecture(base().dump()), "LlamaForCausalLM");
}

TEST(hf_config_defaults_of_the_class_fill_gaps_and_null_is_a_gap) {
    Json json = base();
    json["num_key_value_heads"] = nullptr;
    json["head_dim"] = nullptr;
    json.erase("max_position_embeddings");
    json.erase("rope_theta");
    json["rope_scaling"] = nullptr;
    const HfConfig plain = parse(json);
    CHECK_EQ(plain.num_key_value_heads, 4);
    CHECK_EQ(plain.head_dim, 16);
    CHECK_EQ(plain.max_position_embeddings, 2048);
    CHECK_EQ(plain.rope.theta, 10000.0);
    const HfConfig other = parse(json, {.max_position_embeddings = 32768, .num_key_value_heads = 4, .head_dim = 128});
    CHECK_EQ(other.head_dim, 128);
    CHECK_EQ(other.max_position_embeddings, 32768);
}

TEST(hf_config_spellings_of_rope) {
    Json four = base();
    four["rope_scaling"] = {{"type", "linear"}, {"factor", 4}};
    CHECK(parse(four).rope.type == RopeType::linear);
    CHECK_EQ(parse(four).rope.factor, 4.0);
    CHECK_EQ(parse(four).rope.theta, 500000.0);

    Json five = base();
    five.erase("rope_theta");
    five["rope_parameters"] = {{"rope_type", "llama3"},  {"rope_theta", 1000.0},    {"factor", 8.0},
                               {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 128}};
    CHECK(parse(five).rope.type == RopeType::llama3);
    CHECK_EQ(parse(five).rope.theta, 1000.0);
    CHECK_EQ(parse(five).rope.original_max_position_embeddings, 128);

    Json both = base();
    both["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 7.0}};
    both["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 2.0}};
    CHECK(parse(both).rope.type == RopeType::linear);  // the old spelling wins, with its own theta
    CHECK_EQ(parse(both).rope.theta, 500000.0);
    both["rope_scaling"] = nullptr;
    CHECK_EQ(parse(both).rope.theta, 7.0);
    both["rope_parameters"] = {{"full_attention", {{"rope_type", "default"}}}};
    CHECK(contains(refusal(both.dump()), "layer to layer"));

    Json yarn = base();
    yarn["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 4.0}};
    const RopeConfig rope = parse(yarn).rope;
    CHECK_EQ(rope.original_max_position_embeddings, 512);
    CHECK(std::fabs(rope.attention_factor - (0.1 * std::log(4.0) + 1)) < 1e-12);
    yarn["rope_scaling"]["attention_factor"] = 1.25;
    CHECK_EQ(parse(yarn).rope.attention_factor, 1.25);
    yarn["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 4.0}, {"mscale", 1.0}, {"mscale_all_dim", 1.0}};
    CHECK_EQ(parse(yarn).rope.attention_factor, 1.0);

    Json unknown = base();
    unknown["rope_scaling"] = {{"rope_type", "spiral"}};
    CHECK(contains(refusal(unknown.dump()), "\"spiral\" is not supported"));
    unknown["rope_scaling"] = {{"rope_type", "llama3"}, {"factor", 8.0}};
    CHECK(contains(refusal(unknown.dump()), "low_freq_factor is missing"));
    unknown["rope_scaling"] = 7;
    CHECK(contains(refusal(unknown.dump()), "not an object"));
}

TEST(hf_config_sliding_windows) {
    Json json = base();
    HfDefaults rule{.windows = WindowRule::switched, .sliding_window = 4096};
    json["use_sliding_window"] = true;
    json["sliding_window"] = nullptr;
    json["max_window_layers"] = 0;
    CHECK(!parse(json, rule).sliding_window);  // no window
    json.erase("sliding_window");
    CHECK(!parse(json, rule).sliding_window);  // 4096, beyond the context
    json.erase("max_window_layers");
    json["sliding_window"] = 64;
    CHECK(!parse(json, rule).sliding_window);  // starts at layer 28
    json["max_window_layers"] = 1;
    CHECK(parse(json, rule).sliding_window);
    json["layer_types"] = {"full_attention", "full_attention"};
    CHECK(!parse(json, rule).sliding_window);
    json["layer_types"] = {"full_attention", "sliding_attention"};
    CHECK(parse(json, rule).sliding_window);
    json["layer_types"] = {"full_attention"};
    CHECK(contains(refusal(json.dump(), rule), "layer_types"));
    json["layer_types"] = {"full_attention", "linear_attention"};
    CHECK(contains(refusal(json.dump(), rule), "linear_attention"));
    // what the class makes of the same keys without layer_types
    json.erase("layer_types");
    json["num_hidden_layers"] = 4;
    json["max_window_layers"] = 3;
    const auto layers = [&](WindowRule windows) {
        rule.windows = windows;
        rule.no_rope_layer_interval = 2;
        return parse(json, rule).window_layers;
    };
    CHECK_EQ(layers(WindowRule::switched), (std::vector<bool>{false, false, false, true}));
    CHECK_EQ(layers(WindowRule::switched_even), (std::vector<bool>{true, false, true, false}));
    CHECK_EQ(layers(WindowRule::switched_no_rope), (std::vector<bool>{false, true, false, true}));
    CHECK_EQ(layers(WindowRule::switched_all), (std::vector<bool>{true, true, true, true}));
    CHECK_EQ(parse(json, rule).sliding_window, 64);
    CHECK_EQ(layers(WindowRule::none), (std::vector<bool>{false, false, false, false}));
    CHECK_EQ(parse(json, rule).sliding_window, 0);
    json["use_sliding_window"] = false;
    rule.windows = WindowRule::switched_all;
    CHECK_EQ(parse(json, rule).sliding_window, 0);
}

TEST(hf_config_refuses_bad_values_by_name) {
    const Json bad_sizes[] = {0, -1, 1.5, "64", true, Json::array(), Json::object(), 1e300, std::int64_t{1} << 40};
    for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
                            "head_dim", "vocab_size", "max_position_embeddings"}) {
        for (const Json& value : bad_sizes) {
            if (!CHECK(contains(refusal_with(key, value), key)))
                testing::report(__FILE__, __LINE__, std::string(key) + " = " + value.dump());
        }
    }
    for (const char* key :
         {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "architectures"}) {
        CHECK(contains(refusal_with(key, nullptr), key));
    }
    for (const char* key : {"rms_norm_eps", "rope_theta"}) {
        for (const Json& value : {Json(-1), Json("1"), Json(1e20)}) CHECK(contains(refusal_with(key, value), key));
    }
    for (const char* key : {"tie_word_embeddings", "attention_bias", "mlp_bias"}) CHECK(contains(refusal_with(key, 1), key));
    CHECK(contains(refusal_with("hidden_act", 1), "hidden_act"));
    CHECK(contains(refusal_with("architectures", "LlamaForCausalLM"), "architectures"));
    CHECK(contains(refusal_with("architectures", Json::array()), "architectures"));
    CHECK(contains(refusal_with("num_key_value_heads", 3), "not a multiple"));
    CHECK_EQ(refusal_with("hidden_size", 66), "");  // heads of 16
    CHECK(contains(refusal_with("head_dim", 15), "even"));
    CHECK(contains(refusal_with("eos_token_id", "x"), "eos_token_id"));
    CHECK(contains(refusal_with("num_hidden_layers", 513), "num_hidden_layers"));
    CHECK_EQ(refusal_with("max_position_embeddings", 4096.0), "");
}

TEST(hf_config_refuses_what_is_not_an_object) {
    for (const char* text : {"", "[]", "7", "null", "\"x\"", "{", "{\"a\":1,\"a\":2}", "\xff\xfe"}) CHECK(!refusal(text).empty());
    CHECK(contains(refusal(std::string(100'000, '[')), "nested too deeply"));
    CHECK(contains(refusal(R"({"architectures":["x"],"architectures":["x"]})"), "twice"));
}

TEST(hf_config_mutated_text_never_escapes) {
    const std::string whole = base().dump();
    std::mt19937_64 random(11);
    for (int round = 0; round < 10'000; ++round) {
        std::string text = whole;
        for (std::size_t i = 1 + random() % 3; i > 0; --i) {
            const std::size_t at = random() % text.size();
            if (random() % 2 == 0) {
                text[at] = "0123456789[]{},:\"-.eE"[random() % 21];
            } else {
                text[at] = static_cast<char>(random());
            }
        }
        try {
            const HfConfig config = parse_hf_config(text, {});
            CHECK(config.num_attention_heads % config.num_key_value_heads == 0 && config.head_dim % 2 == 0 && config.head_dim >= 2);
        } catch (const LoadError&) {}
    }
}

}  // namespace tfserve
