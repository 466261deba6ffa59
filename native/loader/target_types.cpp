#include "loader/target_types.h"

#include <algorithm>
#include <map>
#include <set>

#include "loader/quantization.h"
#include "loader/row_converter.h"
#include "loader/row_reader.h"

namespace tfserve {

namespace {

bool is_matrix(const PlannedTensor& planned) {
    // llama.cpp's graphs add and multiply vectors in float32
    return !planned.sources.empty() && planned.shape.size() > 1 && !planned.float32;
}

/// The type of a matrix that is not quantised here.
ggml_type plain_type(const PlannedTensor& planned, WeightType wanted) {
    switch (wanted) {
        case WeightType::bfloat16: return GGML_TYPE_BF16;
        case WeightType::float16: return GGML_TYPE_F16;
        case WeightType::float32: return GGML_TYPE_F32;
        case WeightType::as_stored: break;
    }
    return planned.scales != nullptr ? GGML_TYPE_MXFP4 : ggml_type_of(planned.sources.front()->dtype);
}

std::string sentence(const QuantizationScheme& scheme, std::size_t others, std::size_t matrices, const std::set<std::string>& names) {
    if (others == 0) return "";
    std::string list;
    for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
    return std::string(scheme.name) + ": the rows of " + std::to_string(others) + " of " + std::to_string(matrices) +
           " matrices are no whole blocks of its types; they are in " + list + ".";
}

}  // namespace

std::string type_name(ggml_type type) {
    switch (type) {
        case GGML_TYPE_BF16: return "bfloat16";
        case GGML_TYPE_F16: return "float16";
        case GGML_TYPE_F32: return "float32";
        default: return ggml_type_name(type);
    }
}

TargetTypes target_types(const std::vector<PlannedTensor>& tensors, const LoadOptions& options, std::int32_t layers) {
    const bool tied = std::none_of(tensors.begin(), tensors.end(), [](const PlannedTensor& t) { return t.name == "output.weight"; });
    TargetTypes result;
    std::map<ggml_type, std::uint64_t> bytes;
    std::size_t matrices = 0, others = 0;
    std::set<std::string> other_types;
    for (const PlannedTensor& tensor : tensors) {
        ggml_type type = GGML_TYPE_F32;
        if (is_matrix(tensor)) {
            type = plain_type(tensor, options.dtype);
            if (options.quantization != nullptr && tensor.scales != nullptr) {
                type = GGML_TYPE_MXFP4;  // four bits are not made of four other bits
            } else if (options.quantization != nullptr) {
                bool fallback = false;
                const BlockType block = quantized_type(*options.quantization, tensor.name, tensor.width(), layers, tied, &fallback);
                if (block != BlockType::none) type = ggml_type_of(block);
                matrices += block != BlockType::none || fallback ? 1 : 0;
                if (fallback) ++others, other_types.insert(type_name(type));
            }
        }
        const std::uint64_t size = static_cast<std::uint64_t>(tensor.slices() * tensor.rows()) * ggml_row_size(type, tensor.width());
        result.types.push_back(type);
        result.bytes += size;
        bytes[type] += size;
    }
    const auto most = std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    if (most != bytes.end()) result.main_type = type_name(most->first);
    if (options.quantization != nullptr) result.note = sentence(*options.quantization, others, matrices, other_types);
    return result;
}

}  // namespace tfserve
