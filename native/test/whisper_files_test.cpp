// Whisper checkpoints and ggml files: what is read, and what damage is refused with.
#include <random>

#include "ggml.h"
#include "loader/load_error.h"
#include "speech/whisper_model.h"
#include "speech/whisper_source.h"
#include "testing.h"
#include "whisper_checkpoint.h"

namespace tfserve::speech {

using namespace testing;

namespace {

std::string le32(std::int32_t value) {
    std::string bytes(sizeof value, '\0');
    std::memcpy(bytes.data(), &value, sizeof value);
    return bytes;
}

/// The name that OpenAI's code, and so the ggml format, has for a tensor of transformers.
std::string openai_name(std::string name) {
    static const std::pair<const char*, const char*> kParts[] = {
        {"model.", ""},
        {"encoder.embed_positions.weight", "encoder.positional_embedding"},
        {"decoder.embed_positions.weight", "decoder.positional_embedding"},
        {"decoder.embed_tokens", "decoder.token_embedding"},
        {"self_attn_layer_norm", "attn_ln"},
        {"encoder_attn_layer_norm", "cross_attn_ln"},
        {"final_layer_norm", "mlp_ln"},
        {"encoder.layer_norm", "encoder.ln_post"},
        {"decoder.layer_norm", "decoder.ln"},
        {"layers.", "blocks."},
        {"self_attn.", "attn."},
        {"encoder_attn.", "cross_attn."},
        {"q_proj", "query"},
        {"k_proj", "key"},
        {"v_proj", "value"},
        {"out_proj", "out"},
        {"fc1", "mlp.0"},
        {"fc2", "mlp.2"},
    };
    for (const auto& [from, to] : kParts) {
        if (const std::size_t at = name.find(from); at != std::string::npos) name.replace(at, std::strlen(from), to);
    }
    return name;
}

WhisperConfig ggml_config() {
    WhisperConfig config = odd_config();
    config.d_model = 32;  // one block of the quantised types
    config.encoder_attention_heads = config.decoder_attention_heads = 4;
    config.encoder_ffn_dim = config.decoder_ffn_dim = 4 * config.d_model;
    return config;
}

struct GgmlParts {
    std::string head, filters, vocabulary, tensors;
    std::string bytes() const { return head + filters + vocabulary + tensors; }
};

/// A file of whisper.cpp's layout; matrices of the decoder's and encoder's layers in `type`.
GgmlParts ggml_file(const WhisperConfig& config, const PlainTensors& tensors, ggml_type type) {
    GgmlParts parts;
    parts.head = le32(0x67676d6c);
    for (std::int32_t value :
         {config.vocab_size, config.max_source_positions, config.d_model, config.encoder_attention_heads, config.encoder_layers,
          config.max_target_positions, config.d_model, config.decoder_attention_heads, config.decoder_layers, config.num_mel_bins, 1}) {
        parts.head += le32(value);
    }
    parts.filters = le32(config.num_mel_bins) + le32(3) + std::string(static_cast<std::size_t>(config.num_mel_bins) * 3 * 4, '\0');
    parts.vocabulary = le32(3) + le32(1) + "a" + le32(0) + le32(2) + "\xc3\xa4";
    for (const auto& [name, tensor] : tensors) {
        const std::string stored = openai_name(name);
        const bool matrix = tensor.shape.size() == 2 && stored.find("positional") == std::string::npos;
        const ggml_type as = matrix ? type : GGML_TYPE_F32;
        std::vector<std::int64_t> shape = tensor.shape;
        if (stored.find("conv") != std::string::npos && shape.size() == 1) shape = {shape[0], 1};  // as the converters have it
        parts.tensors += le32(static_cast<std::int32_t>(shape.size())) + le32(static_cast<std::int32_t>(stored.size())) + le32(as);
        for (std::size_t i = shape.size(); i-- > 0;) parts.tensors += le32(static_cast<std::int32_t>(shape[i]));
        parts.tensors += stored;
        const std::int64_t width = tensor.shape.back(), rows = static_cast<std::int64_t>(tensor.values.size()) / width;
        std::string data(static_cast<std::size_t>(rows) * ggml_row_size(as, width), '\0');
        ggml_quantize_chunk(as, tensor.values.data(), data.data(), 0, rows, width, nullptr);
        parts.tensors += data;
    }
    return parts;
}

/// The message of the LoadError, or nothing.
std::string refusal(const std::filesystem::path& path) {
    try {
        WhisperModelOptions options;
        options.path = path;
        options.threads = 1;
        WhisperModel::load(options, {});
    } catch (const LoadError& error) {
        return error.what();
    }
    return "";
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST(whisper_ggml_files_compute_what_checkpoints_compute) {
    const WhisperConfig config = ggml_config();
    const PlainTensors tensors = random_whisper(config, 3);
    const TemporaryDirectory directory;
    std::vector<float> mel(static_cast<std::size_t>(config.num_mel_bins) * static_cast<std::size_t>(config.mel_frames()), 0.25f);
    for (std::size_t i = 0; i < mel.size(); ++i) mel[i] *= std::sin(static_cast<float>(i));
    struct Case {
        ggml_type type;
        double tolerance;
    };
    for (const Case& one : {Case{GGML_TYPE_F32, 5e-4}, Case{GGML_TYPE_F16, 2e-2}, Case{GGML_TYPE_Q8_0, 0.3}, Case{GGML_TYPE_Q5_1, 2.5},
                            Case{GGML_TYPE_Q5_0, 2.5}, Case{GGML_TYPE_Q4_1, 5}, Case{GGML_TYPE_Q4_0, 5}}) {
        WhisperModelOptions options;
        options.path = directory.write("ggml-test.bin", ggml_file(config, tensors, one.type).bytes());
        options.threads = 1;
        options.float32_cells = true;
        const auto model = WhisperModel::load(options, {});
        CHECK_EQ(model->info().dtype, one.type == GGML_TYPE_F32 ? "float32" : "float16");
        REQUIRE(model->info().ggml != nullptr);
        CHECK_EQ(model->info().ggml->tokens, std::vector<std::string>{"a", "", "\xc3\xa4"});
        model->reserve(0);
        model->encode(0, mel, {});
        std::vector<float> got;
        model->decode(std::vector<DecodeRow>{{0, 5, 0, false}, {0, 6, 1, true}}, got);
        const PlainWhisper plain(config, tensors);
        const auto wanted = plain.decode({5, 6}, plain.encode(mel)).back();
        double largest = 0;
        for (std::size_t i = 0; i < wanted.size(); ++i) largest = std::max(largest, std::abs(wanted[i] - static_cast<double>(got[i])));
        CHECK(largest < one.tolerance);
    }
}

TEST(whisper_checkpoints_that_do_not_fit_are_refused) {
    const WhisperConfig config = odd_config();
    const PlainTensors tensors = random_whisper(config, 3);
    const TemporaryDirectory directory;
    const auto with = [&](const std::string& json, const PlainTensors& all) {
        directory.write("config.json", json);
        directory.write("model.safetensors", safetensors_of(all));
        return refusal(directory.path());
    };
    const std::string json = whisper_config_json(config);
    CHECK_EQ(with(json, tensors), "");
    PlainTensors changed = tensors;
    changed.erase("model.decoder.layers.1.fc2.bias");
    CHECK(contains(with(json, changed), "\"decoder.layers.1.fc2.bias\" is missing"));
    changed = tensors;
    changed["model.encoder.conv2.weight"].shape = {24, 3, 24};
    CHECK(contains(with(json, changed), "has the shape [24, 3, 24] in place of [24, 24, 3]"));
    const auto replaced = [&](const std::string& from, const std::string& to) {
        std::string text = json;
        text.replace(text.find(from), from.size(), to);
        return with(text, tensors);
    };
    CHECK(contains(replaced("\"whisper\"", "\"llama\""), "is not whisper"));
    CHECK(contains(replaced("ForConditionalGeneration", "ForAudioClassification"), "does not transcribe"));
    CHECK(contains(replaced("\"gelu\"", "\"relu\""), "not gelu"));
    CHECK(contains(replaced("\"d_model\":24", "\"d_model\":25"), "not a multiple"));
    CHECK(contains(replaced("\"d_model\":24", "\"d_model\":-1"), "d_model"));
    CHECK(contains(replaced("\"decoder_layers\":3", "\"decoder_layers\":1e9"), "decoder_layers"));
    CHECK(contains(replaced("\"decoder_layers\":3", "\"decoder_layers\":4"), "is missing"));
    CHECK(contains(refusal(directory.path() / "nothing"), "There is no file"));
}

TEST(whisper_ggml_files_that_lie_are_refused) {
    const WhisperConfig config = ggml_config();
    const GgmlParts sound = ggml_file(config, random_whisper(config, 3), GGML_TYPE_F16);
    const TemporaryDirectory directory;
    const auto problem = [&](const std::string& bytes) { return refusal(directory.write("ggml-test.bin", bytes)); };
    CHECK_EQ(problem(sound.bytes()), "");
    CHECK(contains(problem("ggml"), "is not a ggml file of a whisper model"));
    CHECK(contains(problem(std::string(100, 'x')), "is not a ggml file of a whisper model"));
    GgmlParts bad = sound;
    bad.vocabulary = le32(1 << 30);
    CHECK(contains(problem(bad.bytes()), "number of tokens is out of range"));
    bad.vocabulary = le32(1) + le32(INT32_MAX);
    CHECK(contains(problem(bad.bytes()), "ends too early"));
    bad.vocabulary = le32(1) + le32(-5);
    CHECK(contains(problem(bad.bytes()), "length of a token is out of range"));
    bad = sound;
    bad.filters = le32(config.num_mel_bins) + le32(1 << 30);
    CHECK(contains(problem(bad.bytes()), "out of range"));
    bad = sound;
    bad.tensors = le32(3) + le32(1) + le32(0) + le32(INT32_MAX) + le32(INT32_MAX) + le32(INT32_MAX) + "x";
    CHECK(contains(problem(bad.bytes()), "too large"));
    bad.tensors = le32(1) + le32(1) + le32(4711) + le32(1) + "x";
    CHECK(contains(problem(bad.bytes()), "cannot be read"));
    bad.tensors = le32(1) + le32(1) + le32(GGML_TYPE_Q8_0) + le32(33) + "x" + std::string(100, '\0');
    CHECK(contains(problem(bad.bytes()), "not whole blocks"));
    bad.tensors = sound.tensors + sound.tensors;
    CHECK(contains(problem(bad.bytes()), "is there twice"));
    bad.tensors = sound.tensors.substr(0, sound.tensors.size() - 1);
    CHECK(contains(problem(bad.bytes()), "ends too early"));
    bad.tensors.clear();
    CHECK(contains(problem(bad.bytes()), "is missing"));
}

TEST(damaged_whisper_files_load_or_are_refused) {
    const WhisperConfig config = ggml_config();
    const PlainTensors tensors = random_whisper(config, 3);
    const std::string ggml = ggml_file(config, tensors, GGML_TYPE_Q5_0).bytes(), json = whisper_config_json(config);
    const TemporaryDirectory directory;
    directory.write("model.safetensors", safetensors_of(tensors, true));
    std::mt19937_64 random(11);
    int accepted = 0, refused = 0;
    const auto count = [&](const std::filesystem::path& path) {
        const std::string problem = refusal(path);
        ++(problem.empty() ? accepted : refused);
        CHECK(problem.size() < 1000);
    };
    const std::size_t places[] = {64, 512, ggml.size()};  // sizes first: most of the file is data
    for (int round = 0; round < 400; ++round) {
        std::string bytes = ggml;
        for (int change = 0; change < 2; ++change) {
            const std::size_t at = random() % std::min(bytes.size(), places[random() % 3]);
            switch (random() % 4) {
                case 0: bytes[at] = static_cast<char>(random()); break;
                case 1: bytes.replace(at, 4, le32(static_cast<std::int32_t>(random()))); break;
                case 2: bytes.erase(at, 1 + random() % 8); break;
                default: bytes.resize(std::max<std::size_t>(at, 1)); break;
            }
        }
        count(directory.write("ggml-test.bin", bytes));
    }
    for (int round = 0; round < 400; ++round) {
        std::string text = json;
        const std::size_t digit = text.find_first_of("0123456789", random() % text.size());
        if (digit != std::string::npos) {
            static const char* const kNumbers[] = {"-1", "0", "1", "2147483648", "1e308", "0.5", "null", "[]", "32768", "4096"};
            text.replace(digit, text.find_first_not_of("0123456789", digit) - digit, kNumbers[random() % std::size(kNumbers)]);
        }
        if (random() % 4 == 0) text[random() % text.size()] = static_cast<char>(random());
        directory.write("config.json", text);
        count(directory.path());
    }
    CHECK(accepted > 20);
    CHECK(refused > 200);
}

}  // namespace tfserve::speech
