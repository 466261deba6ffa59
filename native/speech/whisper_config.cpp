#include "speech/whisper_config.h"

#include "loader/hf_fields.h"

namespace tfserve::speech {

namespace {

constexpr std::int64_t kMaxLayers = 256;
constexpr std::int64_t kMaxModelWidth = 1 << 15;
constexpr std::int64_t kMaxPositions = 1 << 15;
constexpr std::int64_t kMaxMelBins = 256;  // of the spectrogram that is computed here

}  // namespace

WhisperConfig parse_whisper_config(std::string_view json) {
    const hf::Json object = parse_json(json, hf::kConfigFile);
    const hf::Fields fields(object, "");
    if (const std::string type = fields.text("model_type", ""); type != "whisper") {
        hf::unsupported("model_type " + in_quotes(type) + " is not whisper, the only family that transcribes speech here");
    }
    WhisperConfig config;
    if (const hf::Json* names = fields.find("architectures"); names != nullptr && names->is_array() && !names->empty()) {
        if (!names->front().is_string()) hf::invalid("architectures is not a list of texts");
        config.architecture = names->front().get<std::string>();
        if (config.architecture != "WhisperForConditionalGeneration") {
            hf::unsupported("the architecture " + in_quotes(config.architecture) + " does not transcribe speech");
        }
    }
    if (fields.find("quantization_config") != nullptr) hf::unsupported("quantised weights of this kind cannot be read for speech models");
    if (const std::string activation = fields.text("activation_function", "gelu"); activation != "gelu") {
        hf::unsupported("the activation_function " + in_quotes(activation) + " is not gelu");
    }
    // what WhisperConfig of transformers assumes for keys that are left out
    config.vocab_size = fields.integer("vocab_size", 1, hf::kMaxVocabulary, 51865);
    config.num_mel_bins = fields.integer("num_mel_bins", 1, kMaxMelBins, 80);
    config.d_model = fields.integer("d_model", 1, kMaxModelWidth, 384);
    config.encoder_layers = fields.integer("encoder_layers", 1, kMaxLayers, 4);
    config.encoder_attention_heads = fields.integer("encoder_attention_heads", 1, hf::kMaxHeads, 6);
    config.encoder_ffn_dim = fields.integer("encoder_ffn_dim", 1, hf::kMaxWidth, 1536);
    config.decoder_layers = fields.integer("decoder_layers", 1, kMaxLayers, 4);
    config.decoder_attention_heads = fields.integer("decoder_attention_heads", 1, hf::kMaxHeads, 6);
    config.decoder_ffn_dim = fields.integer("decoder_ffn_dim", 1, hf::kMaxWidth, 1536);
    config.max_source_positions = fields.integer("max_source_positions", 1, kMaxPositions, 1500);
    config.max_target_positions = fields.integer("max_target_positions", 2, kMaxPositions, 448);
    config.tie_word_embeddings = fields.boolean("tie_word_embeddings", true);
    check_whisper_config(config, hf::kConfigFile);
    return config;
}

void check_whisper_config(const WhisperConfig& config, const std::string& file) {
    const auto check = [&](std::int64_t value, std::int64_t low, std::int64_t high, const char* name) {
        if (value >= low && value <= high) return;
        throw LoadError(LoadError::Kind::invalid,
                        file + ": " + name + " is not between " + std::to_string(low) + " and " + std::to_string(high) + ".");
    };
    check(config.vocab_size, 1, hf::kMaxVocabulary, "the size of the vocabulary");
    check(config.num_mel_bins, 1, kMaxMelBins, "the number of mel bins");
    check(config.d_model, 1, kMaxModelWidth, "the model's width");
    check(config.encoder_layers, 1, kMaxLayers, "the number of encoder layers");
    check(config.decoder_layers, 1, kMaxLayers, "the number of decoder layers");
    check(config.encoder_attention_heads, 1, hf::kMaxHeads, "the number of encoder heads");
    check(config.decoder_attention_heads, 1, hf::kMaxHeads, "the number of decoder heads");
    check(config.encoder_ffn_dim, 1, hf::kMaxWidth, "the encoder's feed-forward width");
    check(config.decoder_ffn_dim, 1, hf::kMaxWidth, "the decoder's feed-forward width");
    check(config.max_source_positions, 1, kMaxPositions, "the number of audio positions");
    check(config.max_target_positions, 2, kMaxPositions, "the number of text positions");
    if (config.d_model % config.encoder_attention_heads != 0 || config.d_model % config.decoder_attention_heads != 0) {
        throw LoadError(LoadError::Kind::invalid, file + ": the model's width is not a multiple of its attention heads.");
    }
}

}  // namespace tfserve::speech
