// Random damage to sound files of a checkpoint: each loads or is refused with the loader's own errors, never anything else.
#include <random>

#include "planned_checkpoint.h"
#include "testing.h"
#include "text/token_table.h"

namespace tfserve {

using namespace testing;

namespace {

/// Bytes changed, removed, doubled or cut off; half of the time numbers are replaced by ones that are likely to hurt.
std::string damaged(std::string text, std::mt19937_64& random) {
    static const char* const kNumbers[] = {
        "-1",   "0",    "1",     "2147483648", "18446744073709551616", "1e308", "-1e308", "0.5", "1e-320", "null", "[]", "{}",
        "\"\"", "true", "[1,2]", "4194304"};
    const int changes = 1 + static_cast<int>(random() % 3);
    for (int i = 0; i < changes && !text.empty(); ++i) {
        const std::size_t at = random() % text.size();
        switch (random() % 8) {
            case 0: text[at] = static_cast<char>(random()); break;
            case 1: text.erase(at, 1 + random() % 12); break;
            case 2: text.insert(at, text.substr(at, random() % 40)); break;
            case 3: text[at] = "{}[],:\"0-"[random() % 9]; break;
            case 4:
                if (random() % 6 == 0) text.resize(at);
                break;
            default: {
                const std::size_t begin = text.find_first_of("0123456789", at);
                if (begin == std::string::npos) break;
                const std::size_t end = text.find_first_not_of("0123456789.e-", begin);
                text.replace(begin, (end == std::string::npos ? text.size() : end) - begin, kNumbers[random() % std::size(kNumbers)]);
            }
        }
    }
    return text;
}

struct Counts {
    int accepted = 0, refused = 0;
};

}  // namespace

TEST(damaged_configs_load_or_are_refused) {
    const TemporaryDirectory directory;
    struct Kind {
        Json config;
        Shapes shapes;
    };
    Kind kinds[] = {
        {config_json("LlamaForCausalLM"), decoder_shapes(false, false, false, false)},
        {config_json("Qwen3ForCausalLM"), decoder_shapes(false, false, true, false)},
        {config_json("Qwen2ForCausalLM"), decoder_shapes(true, false, false, false)},
    };
    kinds[0].config["rope_parameters"] = {{"rope_type", "llama3"},  {"rope_theta", 1e5},       {"factor", 8.0},
                                          {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 64}};
    kinds[1].config["rope_scaling"] = {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 64}};
    kinds[2].config["layer_types"] = {"full_attention", "sliding_attention"};
    kinds[2].config["eos_token_id"] = {1, 2};
    std::mt19937_64 random(3);
    Counts counts;
    for (const Kind& kind : kinds) {
        directory.write("model.safetensors", zero_safetensors(kind.shapes));
        const Checkpoint checkpoint = Checkpoint::open(directory.path());
        const std::string sound = kind.config.dump();
        for (int round = 0; round < 1500; ++round) {
            const std::string text = damaged(sound, random);
            try {
                const HfConfig config = parse_hf_config(text, family_defaults(hf_architecture(text)));
                const ModelPlan plan = plan_model(select_family(config), config, checkpoint);
                CHECK(!plan.tensors.empty());
                ++counts.accepted;
            } catch (const LoadError& error) {
                CHECK(std::string(error.what()).size() < 1000);
                ++counts.refused;
            }
        }
    }
    CHECK(counts.accepted > 0);
    CHECK(counts.refused > 0);
}

TEST(damaged_tokenizers_load_or_are_refused) {
    const std::string kinds[] = {
        R"({"version":"1.0","added_tokens":[{"id":4,"content":"<s>","special":true,"lstrip":false}],"decoder":{"type":"ByteLevel"},)"
        R"("model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"\u0120":3},"merges":["a b"]}})",
        R"({"added_tokens":[{"id":0,"content":"<unk>","special":true}],"decoder":{"type":"Sequence","decoders":[)"
        R"({"type":"Replace","pattern":{"String":"\u2581"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},)"
        R"({"type":"Strip","content":" ","start":1,"stop":0}]},"model":{"vocab":{"<unk>":0,"<0x41>":1,"\u2581a":2},"merges":[]}})",
        R"({"added_tokens":[],"decoder":{"type":"Metaspace","replacement":"\u2581","prepend_scheme":"always"},)"
        R"("model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0.0],["a",-1.5],["\u2581",-2.0]]}})",
    };
    std::mt19937_64 random(5);
    Counts counts;
    for (const std::string& sound : kinds) {
        CHECK(TokenTable::from_tokenizer_json(sound, 8) != nullptr);
        for (int round = 0; round < 1500; ++round) {
            try {
                const auto table = TokenTable::from_tokenizer_json(damaged(sound, random), 8);
                for (TokenId id = -1; id <= table->size(); ++id) CHECK(table->bytes(id).size() < 1000);
                ++counts.accepted;
            } catch (const std::runtime_error& error) {
                CHECK(std::string(error.what()).starts_with("tokenizer.json ") || std::string(error.what()).starts_with("the tokens"));
                ++counts.refused;
            }
        }
    }
    CHECK(counts.accepted > 0);
    CHECK(counts.refused > 0);
}

TEST(damaged_indices_load_or_are_refused) {
    TemporaryDirectory directory;
    directory.write("s1", zero_safetensors({{"a", {2}}, {"b", {3}}}));
    directory.write("s2", zero_safetensors({{"c", {2}}}));
    const std::string sound = R"({"metadata":{"total_size":14},"weight_map":{"a":"s1","b":"s1","c":"s2"}})";
    std::mt19937_64 random(9);
    Counts counts;
    for (int round = 0; round < 1500; ++round) {
        directory.write("model.safetensors.index.json", damaged(sound, random));
        try {
            CHECK(!Checkpoint::open(directory.path()).tensors().empty());
            ++counts.accepted;
        } catch (const LoadError& error) {
            CHECK(!contains(error.what(), directory.path().string()));
            ++counts.refused;
        }
    }
    CHECK(counts.accepted > 0);
    CHECK(counts.refused > 0);
}

TEST(large_indices_are_bounded) {
    TemporaryDirectory directory;
    std::string index = "{\"weight_map\":{";
    for (int i = 0; i < 20'000; ++i) index += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":\"shard" + std::to_string(i) + "\"";
    directory.write("model.safetensors.index.json", index + "}}");
    CHECK_THROWS(Checkpoint::open(directory.path()), LoadError);
    try {
        Checkpoint::open(directory.path());
    } catch (const LoadError& error) {
        CHECK(contains(error.what(), "too many shards"));
    }
}

}  // namespace tfserve
