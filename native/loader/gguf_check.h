// What llama.cpp takes for granted in a GGUF file, and ends the process over when it is not so.
#pragma once

#include <filesystem>
#include <string>

#include "loader/gguf_header.h"

namespace tfserve {

struct GgufSummary {
    std::string architecture;  ///< general.architecture
    std::string main_type;     ///< type of most bytes of weights: q4_1, bfloat16, ...
    bool quantized = false;    ///< some of its weights are
    std::int64_t splits = 1;   ///< files the model consists of
    std::int32_t layers = 0;   ///< <architecture>.block_count
};

/// Reads the header alone, and those of the further parts of a split model, and checks them. Throws LoadError.
GgufSummary check_gguf(const std::filesystem::path& path, GgufWeightTypes types);

}  // namespace tfserve
