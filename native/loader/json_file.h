// Small JSON files of a checkpoint, read with bounds.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "nlohmann/json.hpp"

namespace tfserve {

/// Parses JSON that came from outside: refuses keys that occur twice in one object and nesting deeper than 32.
/// `name` stands for the text in messages. Throws LoadError.
nlohmann::json parse_json(std::string_view text, const std::string& name);

/// Reads and parses a file of at most `max_bytes`. Throws LoadError.
nlohmann::json read_json_file(const std::filesystem::path& path, std::size_t max_bytes);

}  // namespace tfserve
