// What a whisper checkpoint is made of: numbers of config.json or of a ggml file's header, each in a range that is safe to compute with.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tfserve::speech {

/// The model's shape. A head is d_model / heads wide in encoder and decoder.
struct WhisperConfig {
    std::string architecture = "WhisperForConditionalGeneration";
    std::int32_t vocab_size = 0;
    std::int32_t num_mel_bins = 80;
    std::int32_t d_model = 0;
    std::int32_t encoder_layers = 0;
    std::int32_t encoder_attention_heads = 0;
    std::int32_t encoder_ffn_dim = 0;
    std::int32_t decoder_layers = 0;
    std::int32_t decoder_attention_heads = 0;
    std::int32_t decoder_ffn_dim = 0;
    std::int32_t max_source_positions = 1500;  ///< positions of the encoder's output; it takes twice as many mel frames
    std::int32_t max_target_positions = 448;   ///< tokens of a window, the prompt included

    bool tie_word_embeddings = true;  ///< the output matrix is the embedding

    std::int32_t mel_frames() const { return 2 * max_source_positions; }
};

/// Reads the text of a config.json. Throws LoadError with a sentence that names the key.
WhisperConfig parse_whisper_config(std::string_view json);

/// What all sources of a configuration have to keep; `file` stands for the source in the message. Throws LoadError.
void check_whisper_config(const WhisperConfig& config, const std::string& file);

}  // namespace tfserve::speech
