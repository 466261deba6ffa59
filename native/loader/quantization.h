// Quantisation at load: the names a user may ask for, and which tensor gets which type. Knows nothing of ggml or llama.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace tfserve {

/// ggml's types of quantised weights that need nothing but the weights themselves; `none`: a tensor that stays as it is.
enum class BlockType : std::uint8_t { none, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq4_xs, mxfp4 };

/// Values that share a scale: rows must be whole blocks. 1 for `none`.
std::int64_t block_width(BlockType type);

/// Where in the model the better types of a scheme are used.
enum class BetterLayers : std::uint8_t {
    all,
    some,   ///< the first and the last eighth, and every third layer between
    first,  ///< the first eighth, at least one layer
};

/// A name of --quantization: what the tensors become. Of a published GGUF file of the same name it differs in details, not in its aims.
struct QuantizationScheme {
    const char* name;
    BlockType most;              ///< matrices without an entry of their own
    BlockType output;            ///< the output matrix, and an embedding that serves as one
    BlockType value;             ///< what makes the values of attention, in the `better` layers
    BlockType down;              ///< second matrix of feed-forward parts and experts, in the `better` layers
    BlockType attention_output;  ///< behind attention, in all layers
    BlockType feed_forward;      ///< first matrices of feed-forward parts and experts, in all layers
    BetterLayers better;
};

/// All schemes, in the order of the documentation.
std::span<const QuantizationScheme> quantization_schemes();

/// The scheme of a name in lower case; nullptr when there is none.
const QuantizationScheme* find_quantization(std::string_view name);

/// "q4_0, q4_1, ... and mxfp4", for messages.
std::string quantization_names();

/// What a scheme makes of a tensor of llama.cpp's name `name` whose rows have `width` elements. `layers`: of the model.
/// `tied`: the model has no output matrix of its own. `none` for what is no matrix of weights (norms, biases, routers, sinks)
/// and for rows that no type fits; `fallback` (may be null) is set when the rows did not fit the scheme's type.
BlockType quantized_type(const QuantizationScheme& scheme, std::string_view name, std::int64_t width, std::int32_t layers, bool tied,
                         bool* fallback = nullptr);

}  // namespace tfserve
