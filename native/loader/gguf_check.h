// What llama.cpp takes for granted in a GGUF file, and ends the process over when it is not so.
#pragma once

#include <filesystem>
#include <string>

namespace tfserve {

struct GgufSummary {
    std::string architecture;  ///< general.architecture
    std::string main_type;     ///< type of most bytes of weights: q4_1, bfloat16, ...
    std::int64_t splits = 1;   ///< files the model consists of
};

/// Reads the header alone and checks it. Throws LoadError.
GgufSummary check_gguf(const std::filesystem::path& path);

}  // namespace tfserve
