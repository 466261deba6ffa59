// The rope parameters of a config.json. For hf_config.cpp only.
#pragma once

#include "loader/hf_config.h"
#include "loader/hf_fields.h"

namespace tfserve::hf {

/// Reads config.rope and config.rope_local_theta; needs head_dim and max_position_embeddings. Throws LoadError.
void read_rope(const Fields& top, const HfDefaults& defaults, HfConfig& config);

}  // namespace tfserve::hf
