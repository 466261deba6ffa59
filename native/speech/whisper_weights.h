// The weights of a whisper model in memory, as the graphs use them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "speech/packed_matrix.h"
#include "speech/stored_tensor.h"
#include "speech/whisper_config.h"

namespace tfserve::speech {

struct LayerNorm {
    std::vector<float> weight, bias;
};

struct EncoderLayer {
    LayerNorm attention_norm;
    PackedMatrix qkv;  ///< queries, keys and values of one row
    PackedMatrix attention_out;
    LayerNorm mlp_norm;
    PackedMatrix mlp_up, mlp_down;
};

struct DecoderLayer {
    LayerNorm self_norm;
    PackedMatrix self_qkv;
    PackedMatrix self_out;
    LayerNorm cross_norm;
    PackedMatrix cross_q;
    PackedMatrix cross_kv;  ///< of the encoder's output
    PackedMatrix cross_out;
    LayerNorm mlp_norm;
    PackedMatrix mlp_up, mlp_down;
};

/// Type of the matrices in memory; vectors are always float32. Quantised ones become float16.
enum class WeightDType : std::uint8_t { as_stored, bfloat16, float16, float32 };

struct WhisperWeights {
    WhisperConfig config;
    PackedMatrix conv1, conv2;             ///< inputs: three positions, one after the other
    std::vector<float> encoder_positions;  ///< [max_source_positions][d_model]
    std::vector<EncoderLayer> encoder;
    LayerNorm encoder_norm;
    PackedMatrix token_embedding;  ///< also the output matrix when `output` has no rows
    PackedMatrix output;
    std::vector<float> decoder_positions;  ///< [max_target_positions][d_model]
    std::vector<DecoderLayer> decoder;
    LayerNorm decoder_norm;

    std::uint64_t parameters = 0;
    std::uint64_t bytes = 0;
    std::string dtype;  ///< of most weights: bfloat16, float16 or float32
    std::uint64_t overflows = 0;

    const PackedMatrix& output_matrix() const { return output.outputs() > 0 ? output : token_embedding; }
};

/// Tensors packed and in all.
using WeightProgress = std::function<void(std::size_t done, std::size_t total)>;

/// Packs the tensors for `kernel`; their pages are given back to the system. `file` stands for the checkpoint in messages.
/// Throws LoadError when one is missing, misshapen or of a type that cannot be read.
WhisperWeights pack_weights(const WhisperConfig& config, const StoredTensors& tensors, const tf_linear_kernel& kernel, WeightDType dtype,
                            int threads, const std::string& file, const WeightProgress& progress);

}  // namespace tfserve::speech
