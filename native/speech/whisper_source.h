// Opens whisper checkpoints: what the tensors are called and where they lie, whatever the file format.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "loader/mapped_file.h"
#include "speech/stored_tensor.h"
#include "speech/whisper_config.h"

namespace tfserve::speech {

struct WhisperSource {
    WhisperConfig config;
    StoredTensors tensors;
    std::vector<std::shared_ptr<const MappedFile>> files;  ///< where the tensors' data lies
    std::string name;                                      ///< stands for the files in messages
    std::vector<std::string> vocabulary;                   ///< of a ggml file: bytes of the tokens that it tells
};

/// A directory with config.json and safetensors. Throws LoadError.
WhisperSource open_whisper_checkpoint(const std::filesystem::path& directory);

/// A file of whisper.cpp's converters: magic "lmgg", sizes, mel filters, vocabulary, tensors. Every number in it is checked against the
/// file. Throws LoadError.
WhisperSource open_whisper_ggml(const std::filesystem::path& file);

/// One or the other. Throws LoadError.
WhisperSource open_whisper(const std::filesystem::path& path);

}  // namespace tfserve::speech
