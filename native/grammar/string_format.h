// The values of JSON schema's `format`.
#pragma once

#include <optional>
#include <string_view>

namespace tfserve {

/// A regular expression whose matches all are of the format; it leaves out what readers disagree on. Only ASCII, nothing that JSON
/// escapes. nullopt for a format that is not known.
std::optional<std::string_view> string_format(std::string_view name);

}  // namespace tfserve
