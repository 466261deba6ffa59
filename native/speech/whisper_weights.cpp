#include "speech/whisper_weights.h"

#include <algorithm>
#include <array>
#include <utility>

#include "loader/load_error.h"

namespace tfserve::speech {

namespace {

using Shape = std::vector<std::int64_t>;

std::string text_of(const Shape& shape) {
    std::string text = "[";
    for (std::int64_t dim : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(dim);
    return text + "]";
}

/// Takes tensors out of a checkpoint, each checked, packed and counted.
class Packer {
   public:
    Packer(const StoredTensors& tensors, const tf_linear_kernel& kernel, WeightDType dtype, int threads, const std::string& file,
           std::size_t total, const WeightProgress& progress, WhisperWeights& out)
        : tensors_(tensors),
          kernel_(kernel),
          dtype_(dtype),
          threads_(threads),
          file_(file),
          total_(total),
          progress_(progress),
          out_(out) {}

    std::vector<float> vector(const std::string& name, const Shape& shape) {
        const StoredTensor& tensor = get(name, shape);
        std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
        const std::int64_t rows = tensor.elements() / tensor.width();
        for (std::int64_t row = 0; row < rows; ++row) tensor.read_row(row, values.data() + row * tensor.width());
        out_.bytes += values.size() * sizeof(float);
        done(tensor);
        return values;
    }

    LayerNorm norm(const std::string& name, std::int64_t width) {
        return {vector(name + ".weight", {width}), vector(name + ".bias", {width})};
    }

    struct Piece {
        std::string name;
        bool biased = true;
    };

    /// The rows of several matrices of [outputs][inputs] as one.
    PackedMatrix matrix(const std::vector<Piece>& pieces, std::int64_t outputs, std::int64_t inputs) {
        std::vector<MatrixPart> parts;
        for (const Piece& piece : pieces) {
            const StoredTensor* bias = piece.biased ? &get(piece.name + ".bias", {outputs}) : nullptr;
            parts.push_back({&get(piece.name + ".weight", {outputs, inputs}), false, bias});
        }
        return pack(parts);
    }

    PackedMatrix convolution(const std::string& name, std::int64_t outputs, std::int64_t inputs) {
        return pack({{&get(name + ".weight", {outputs, inputs, 3}), true, &get(name + ".bias", {outputs})}});
    }

    /// Type of most packed bytes.
    std::string main_type() const {
        constexpr std::array<const char*, 3> names = {"float16", "bfloat16", "float32"};
        return names[static_cast<std::size_t>(std::ranges::max_element(bytes_of_type_) - bytes_of_type_.begin())];
    }

   private:
    const StoredTensor& get(const std::string& name, const Shape& shape) const {
        const auto it = tensors_.find(name);
        if (it == tensors_.end()) throw LoadError(LoadError::Kind::invalid, file_ + ": the tensor " + in_quotes(name) + " is missing.");
        if (it->second.shape != shape) {
            throw LoadError(LoadError::Kind::invalid, file_ + ": the tensor " + in_quotes(name) + " has the shape " +
                                                          text_of(it->second.shape) + " in place of " + text_of(shape) + ".");
        }
        if (!readable_type(it->second.type)) {
            throw LoadError(LoadError::Kind::unsupported,
                            file_ + ": the tensor " + in_quotes(name) + " has a type that cannot be read for speech models.");
        }
        return it->second;
    }

    PackedType target(const std::vector<MatrixPart>& parts) const {
        switch (dtype_) {
            case WeightDType::bfloat16: return PackedType::bfloat16;
            case WeightDType::float16: return PackedType::float16;
            case WeightDType::float32: return PackedType::float32;
            case WeightDType::as_stored: break;
        }
        const PackedType first = packed_type_of(parts.front().tensor->type);
        const bool alike = std::ranges::all_of(parts, [&](const MatrixPart& part) { return packed_type_of(part.tensor->type) == first; });
        return alike ? first : PackedType::float32;
    }

    PackedMatrix pack(const std::vector<MatrixPart>& parts) {
        const PackedType type = target(parts);
        PackedMatrix matrix(kernel_, parts, type, threads_, out_.overflows);
        bytes_of_type_[static_cast<std::size_t>(type)] += matrix.bytes();
        out_.bytes += matrix.bytes();
        for (const MatrixPart& part : parts) {
            done(*part.tensor);
            if (part.bias != nullptr) done(*part.bias);
        }
        return matrix;
    }

    void done(const StoredTensor& tensor) {
        out_.parameters += static_cast<std::uint64_t>(tensor.elements());
        if (tensor.file != nullptr) tensor.file->discard(tensor.data);
        if (progress_) progress_(std::min(++done_, total_), total_);
    }

    const StoredTensors& tensors_;
    const tf_linear_kernel& kernel_;
    const WeightDType dtype_;
    const int threads_;
    const std::string& file_;
    const std::size_t total_;
    const WeightProgress& progress_;
    WhisperWeights& out_;
    std::size_t done_ = 0;
    std::array<std::uint64_t, 3> bytes_of_type_ = {};
};

}  // namespace

WhisperWeights pack_weights(const WhisperConfig& config, const StoredTensors& tensors, const tf_linear_kernel& kernel, WeightDType dtype,
                            int threads, const std::string& file, const WeightProgress& progress) {
    WhisperWeights out;
    out.config = config;
    Packer take(tensors, kernel, dtype, threads, file, tensors.size(), progress, out);
    const std::int64_t d = config.d_model;
    out.conv1 = take.convolution("encoder.conv1", d, config.num_mel_bins);
    out.conv2 = take.convolution("encoder.conv2", d, d);
    out.encoder_positions = take.vector("encoder.embed_positions.weight", {config.max_source_positions, d});
    for (std::int32_t i = 0; i < config.encoder_layers; ++i) {
        const std::string at = "encoder.layers." + std::to_string(i) + ".", attention = at + "self_attn.";
        EncoderLayer& layer = out.encoder.emplace_back();
        layer.attention_norm = take.norm(at + "self_attn_layer_norm", d);
        layer.qkv = take.matrix({{attention + "q_proj"}, {attention + "k_proj", false}, {attention + "v_proj"}}, d, d);
        layer.attention_out = take.matrix({{attention + "out_proj"}}, d, d);
        layer.mlp_norm = take.norm(at + "final_layer_norm", d);
        layer.mlp_up = take.matrix({{at + "fc1"}}, config.encoder_ffn_dim, d);
        layer.mlp_down = take.matrix({{at + "fc2"}}, d, config.encoder_ffn_dim);
    }
    out.encoder_norm = take.norm("encoder.layer_norm", d);

    out.token_embedding = take.matrix({{"decoder.embed_tokens", false}}, config.vocab_size, d);
    if (!config.tie_word_embeddings) out.output = take.matrix({{"proj_out", false}}, config.vocab_size, d);
    out.decoder_positions = take.vector("decoder.embed_positions.weight", {config.max_target_positions, d});
    for (std::int32_t i = 0; i < config.decoder_layers; ++i) {
        const std::string at = "decoder.layers." + std::to_string(i) + ".", self = at + "self_attn.", cross = at + "encoder_attn.";
        DecoderLayer& layer = out.decoder.emplace_back();
        layer.self_norm = take.norm(at + "self_attn_layer_norm", d);
        layer.self_qkv = take.matrix({{self + "q_proj"}, {self + "k_proj", false}, {self + "v_proj"}}, d, d);
        layer.self_out = take.matrix({{self + "out_proj"}}, d, d);
        layer.cross_norm = take.norm(at + "encoder_attn_layer_norm", d);
        layer.cross_q = take.matrix({{cross + "q_proj"}}, d, d);
        layer.cross_kv = take.matrix({{cross + "k_proj", false}, {cross + "v_proj"}}, d, d);
        layer.cross_out = take.matrix({{cross + "out_proj"}}, d, d);
        layer.mlp_norm = take.norm(at + "final_layer_norm", d);
        layer.mlp_up = take.matrix({{at + "fc1"}}, config.decoder_ffn_dim, d);
        layer.mlp_down = take.matrix({{at + "fc2"}}, d, config.decoder_ffn_dim);
    }
    out.decoder_norm = take.norm("decoder.layer_norm", d);
    out.dtype = take.main_type();
    return out;
}

}  // namespace tfserve::speech
