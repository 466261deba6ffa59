// Executes a family's tables: which tensors and numbers llama.cpp gets from a checkpoint. Knows nothing of ggml or llama.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "loader/families/family.h"
#include "loader/safetensors.h"

namespace tfserve {

/// One tensor as llama.cpp gets it: rows of the checkpoint, or values computed here.
struct PlannedTensor {
    std::string name;
    const SafeTensor* source = nullptr;  ///< null: `values`
    std::vector<float> values = {};
    std::vector<std::int64_t> shape = {};  ///< outermost first, 1 or 2 entries, each >= 1
    std::int32_t interleaved_heads = 0;    ///< > 0: rows are reordered within each of so many heads
};

using MetadataValue = std::variant<std::uint32_t, float, std::string>;

/// Everything llama.cpp needs to know. Points into the checkpoint, which must outlive it.
struct ModelPlan {
    std::string llama_architecture;
    std::vector<std::pair<std::string, MetadataValue>> metadata;
    std::vector<PlannedTensor> tensors;
    std::vector<std::string> warnings;
    std::uint64_t num_parameters = 0;  ///< elements of the checkpoint in use, shared ones once
};

/// Throws LoadError when a tensor is missing, has another shape than config.json says, or a type that cannot be computed with.
ModelPlan plan_model(const Family& family, const HfConfig& config, const Checkpoint& checkpoint);

/// Divisors of the rotary frequencies, head_dim / 2 of them; empty when the frequencies are the plain ones (up to one common factor).
std::vector<float> rope_frequency_factors(const RopeConfig& rope, std::int32_t head_dim);

/// Row of the checkpoint that becomes row `row` when the rows of each head are interleaved. 0 <= row < rows_per_head * heads.
std::int64_t interleaved_source_row(std::int64_t row, std::int64_t rows_per_head);

}  // namespace tfserve
