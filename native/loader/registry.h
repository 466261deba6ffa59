// Finds the family of a checkpoint.
#pragma once

#include <span>
#include <string>

#include "loader/families/family.h"

namespace tfserve {

/// All families, the preferred one of an architecture first.
std::span<const Family> all_families();

/// Architecture names that can be loaded, for messages: "A, B and C".
std::string supported_architectures();

/// What transformers assumes for an architecture. Throws LoadError that lists the supported ones and points at GGUF.
const HfDefaults& family_defaults(const std::string& hf_architecture);

/// The first family of the architecture that can run this configuration. Throws LoadError that says what stands in the way.
const Family& select_family(const HfConfig& config);

}  // namespace tfserve
