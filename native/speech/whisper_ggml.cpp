// Files of whisper.cpp's converters. All numbers are 32-bit, little-endian, and signed:
//   magic; 11 sizes; mel filters: rows, columns, floats; number of tokens, each with its length and bytes;
//   then tensors to the end of the file: dimensions, length of the name, type; sizes (innermost first); name; data.
#include <array>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "loader/load_error.h"
#include "speech/whisper_source.h"

namespace tfserve::speech {

namespace {

constexpr std::int32_t kMagic = 0x67676d6c;
constexpr std::int32_t kMaxFilterBins = 1 << 16;
constexpr std::int32_t kMaxNameBytes = 256;
constexpr std::int32_t kMaxDims = 4;
constexpr std::size_t kMaxTensors = 1 << 16;
constexpr std::int32_t kFeedForwardFactor = 4;  // the format has no key for it

/// Reads a file front to back; whatever would reach behind its end is an error.
class Reader {
   public:
    Reader(std::span<const std::byte> bytes, const std::string& name) : rest_(bytes), name_(name) {}

    [[noreturn]] void invalid(const std::string& what) const {
        throw LoadError(LoadError::Kind::invalid, name_ + " is not a sound ggml file of a whisper model: " + what + ".");
    }
    bool at_end() const { return rest_.empty(); }

    std::span<const std::byte> take(std::uint64_t count) {
        if (count > rest_.size()) invalid("it ends too early");
        const auto taken = rest_.first(static_cast<std::size_t>(count));
        rest_ = rest_.subspan(static_cast<std::size_t>(count));
        return taken;
    }
    std::int32_t number() {
        std::int32_t value = 0;
        std::memcpy(&value, take(sizeof value).data(), sizeof value);
        return value;
    }
    std::int32_t number(std::int64_t low, std::int64_t high, const char* what) {
        const std::int32_t value = number();
        if (value < low || value > high) invalid(std::string(what) + " is out of range");
        return value;
    }
    std::string_view text(std::int32_t size) {
        const auto bytes = take(static_cast<std::uint64_t>(size));
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }

   private:
    std::span<const std::byte> rest_;
    const std::string& name_;
};

WhisperConfig read_sizes(Reader& in, const std::string& name) {
    WhisperConfig config;
    config.vocab_size = in.number();
    config.max_source_positions = in.number();
    config.d_model = in.number();
    config.encoder_attention_heads = in.number();
    config.encoder_layers = in.number();
    config.max_target_positions = in.number();
    const std::int32_t text_width = in.number();
    config.decoder_attention_heads = in.number();
    config.decoder_layers = in.number();
    config.num_mel_bins = in.number();
    in.number();  // type of most tensors; each tells its own
    if (text_width != config.d_model) in.invalid("encoder and decoder differ in width");
    if (config.d_model < 1 || config.d_model > (1 << 20)) in.invalid("the model's width is out of range");
    config.encoder_ffn_dim = config.decoder_ffn_dim = kFeedForwardFactor * config.d_model;
    check_whisper_config(config, name);
    return config;
}

std::vector<std::string> read_vocabulary(Reader& in, const WhisperConfig& config) {
    const std::int32_t count = in.number(0, config.vocab_size, "the number of tokens");
    std::vector<std::string> tokens;
    for (std::int32_t i = 0; i < count; ++i) tokens.emplace_back(in.text(in.number(0, INT32_MAX, "the length of a token")));
    return tokens;
}

/// "rest" of "prefix" + "rest".
std::optional<std::string_view> after(std::string_view text, std::string_view prefix) {
    if (!text.starts_with(prefix)) return std::nullopt;
    return text.substr(prefix.size());
}

/// OpenAI's name of a tensor -> transformers'; the name itself when it is none of the model's.
std::string transformers_name(std::string_view name) {
    using Pair = std::pair<std::string_view, std::string_view>;
    static constexpr Pair kWhole[] = {
        {"encoder.positional_embedding", "encoder.embed_positions.weight"},
        {"decoder.positional_embedding", "decoder.embed_positions.weight"},
        {"decoder.token_embedding.weight", "decoder.embed_tokens.weight"},
        {"encoder.ln_post.weight", "encoder.layer_norm.weight"},
        {"encoder.ln_post.bias", "encoder.layer_norm.bias"},
        {"decoder.ln.weight", "decoder.layer_norm.weight"},
        {"decoder.ln.bias", "decoder.layer_norm.bias"},
    };
    static constexpr Pair kInLayer[] = {
        {"attn_ln.", "self_attn_layer_norm."},
        {"attn.query.", "self_attn.q_proj."},
        {"attn.key.", "self_attn.k_proj."},
        {"attn.value.", "self_attn.v_proj."},
        {"attn.out.", "self_attn.out_proj."},
        {"cross_attn_ln.", "encoder_attn_layer_norm."},
        {"cross_attn.query.", "encoder_attn.q_proj."},
        {"cross_attn.key.", "encoder_attn.k_proj."},
        {"cross_attn.value.", "encoder_attn.v_proj."},
        {"cross_attn.out.", "encoder_attn.out_proj."},
        {"mlp_ln.", "final_layer_norm."},
        {"mlp.0.", "fc1."},
        {"mlp.2.", "fc2."},
    };
    for (const auto& [from, to] : kWhole) {
        if (name == from) return std::string(to);
    }
    for (std::string_view part : {"encoder.", "decoder."}) {
        const auto in_blocks = after(name, std::string(part) + "blocks.");
        if (!in_blocks) continue;
        const std::size_t dot = in_blocks->find('.');
        if (dot == std::string_view::npos) continue;
        const std::string_view layer = in_blocks->substr(0, dot), rest = in_blocks->substr(dot + 1);
        for (const auto& [from, to] : kInLayer) {
            if (const auto last = after(rest, from)) {
                return std::string(part) + "layers." + std::string(layer) + "." + std::string(to) + std::string(*last);
            }
        }
    }
    return std::string(name);
}

void read_tensor(Reader& in, const MappedFile& file, StoredTensors& tensors) {
    const std::int32_t dims = in.number(1, kMaxDims, "the number of a tensor's dimensions");
    const std::int32_t name_bytes = in.number(1, kMaxNameBytes, "the length of a tensor's name");
    const std::int32_t type = in.number();
    std::array<std::int32_t, kMaxDims> sizes = {};
    for (std::int32_t i = 0; i < dims; ++i) sizes[static_cast<std::size_t>(i)] = in.number(1, INT32_MAX, "a size of a tensor");
    const std::string_view name = in.text(name_bytes);
    StoredTensor tensor;
    tensor.type = static_cast<ggml_type>(type);
    tensor.file = &file;
    if (type < 0 || type >= GGML_TYPE_COUNT || !readable_type(tensor.type)) {
        throw LoadError(LoadError::Kind::unsupported,
                        file.name() + ": the tensor " + in_quotes(name) + " has a type that cannot be read for speech models.");
    }
    // biases of convolutions are columns: sizes of one say nothing, but for those of matrices
    for (std::int32_t i = dims - 1; i >= 0; --i) tensor.shape.push_back(sizes[static_cast<std::size_t>(i)]);
    if (dims == 2 && tensor.shape.back() == 1) tensor.shape.pop_back();
    const std::uint64_t bytes = stored_bytes(tensor.type, tensor.shape);
    if (bytes == 0) in.invalid("the tensor " + in_quotes(name) + " has rows that are not whole blocks, or is too large");
    tensor.data = in.take(bytes);
    if (!tensors.emplace(transformers_name(name), tensor).second) in.invalid("the tensor " + in_quotes(name) + " is there twice");
}

}  // namespace

WhisperSource open_whisper_ggml(const std::filesystem::path& path) {
    WhisperSource source;
    source.files.push_back(std::make_shared<const MappedFile>(path));
    const MappedFile& file = *source.files.back();
    source.name = file.name();
    Reader in(file.bytes(), source.name);
    if (file.bytes().size() < sizeof kMagic || in.number() != kMagic) {
        throw LoadError(LoadError::Kind::unsupported, source.name + " is not a ggml file of a whisper model.");
    }
    source.config = read_sizes(in, source.name);
    const std::int32_t filter_rows = in.number(1, kMaxFilterBins, "the number of mel filters");
    const std::int32_t filter_bins = in.number(1, kMaxFilterBins, "the width of the mel filters");
    if (filter_rows != source.config.num_mel_bins) in.invalid("it has another number of mel filters than it says");
    in.take(std::uint64_t{4} * static_cast<std::uint64_t>(filter_rows) * static_cast<std::uint64_t>(filter_bins));  // computed here
    source.vocabulary = read_vocabulary(in, source.config);
    while (!in.at_end()) {
        if (source.tensors.size() >= kMaxTensors) in.invalid("it has too many tensors");
        read_tensor(in, file, source.tensors);
    }
    return source;
}

}  // namespace tfserve::speech
