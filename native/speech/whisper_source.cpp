#include "speech/whisper_source.h"

#include "loader/load_error.h"
#include "loader/safetensors.h"

namespace tfserve::speech {

namespace {

constexpr std::size_t kMaxConfigBytes = 16u << 20;
constexpr std::string_view kPrefix = "model.";

/// GGML_TYPE_COUNT: a type that no weights have.
ggml_type stored_type(const SafeTensor& tensor) {
    switch (tensor.dtype) {
        case DType::bfloat16: return GGML_TYPE_BF16;
        case DType::float16: return GGML_TYPE_F16;
        case DType::float32: return GGML_TYPE_F32;
        case DType::float64: return GGML_TYPE_F64;
        case DType::other: break;
    }
    return GGML_TYPE_COUNT;
}

}  // namespace

WhisperSource open_whisper_checkpoint(const std::filesystem::path& directory) {
    const MappedFile file(directory / "config.json");
    if (file.bytes().size() > kMaxConfigBytes) throw LoadError(LoadError::Kind::invalid, "config.json is larger than 16 MiB.");
    WhisperSource source;
    source.config = parse_whisper_config({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()});
    source.name = "The checkpoint";
    const Checkpoint checkpoint = Checkpoint::open(directory);
    source.files = checkpoint.files();
    for (const auto& [name, tensor] : checkpoint.tensors()) {
        // scalars are no weights of this family
        if (tensor.shape.empty() || tensor.elements() == 0) continue;
        const std::string_view known = name.starts_with(kPrefix) ? std::string_view(name).substr(kPrefix.size()) : name;
        source.tensors[std::string(known)] = {stored_type(tensor), tensor.shape, tensor.data, source.files[tensor.file].get()};
    }
    return source;
}

WhisperSource open_whisper(const std::filesystem::path& path) {
    std::error_code error;
    const std::filesystem::file_status status = std::filesystem::status(path, error);
    if (!std::filesystem::exists(status)) {
        throw LoadError(LoadError::Kind::not_found, "There is no file or directory " + in_quotes(path.filename().string()) + ".");
    }
    return std::filesystem::is_directory(status) ? open_whisper_checkpoint(path) : open_whisper_ggml(path);
}

}  // namespace tfserve::speech
