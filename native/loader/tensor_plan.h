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

/// Where the elements of a tensor lie in what is stored, counted in elements. A slice is a matrix of a tensor of three dimensions.
struct StridedView {
    std::int64_t start = 0;
    std::int64_t slice_stride = 0;  ///< 0 with one source a slice
    std::int64_t row_stride = 0;
    std::int64_t element_stride = 1;
};

/// One tensor as llama.cpp gets it: a view of tensors of the checkpoint, or values computed here.
struct PlannedTensor {
    std::string name;
    std::vector<const SafeTensor*> sources = {};  ///< all of one shape and type; several: one a slice; none: `values`
    std::vector<float> values = {};
    std::vector<std::int64_t> shape = {};  ///< outermost first, 1 to 3 entries, each >= 1
    StridedView view = {};
    std::int32_t interleaved_heads = 0;  ///< > 0: rows are reordered within each of so many heads
    float add = 0;                       ///< to every element
    bool whole = false;                  ///< exactly the one source, as it is stored
    const SafeTensor* scales = nullptr;  ///< the one source is blocks of MXFP4, and these are their scales
    bool float32 = false;                ///< in float32 in memory, whatever the other weights are

    std::int64_t slices() const { return shape.size() == 3 ? shape[0] : 1; }
    /// Of one slice. A vector is a column, so that its elements can be reordered like rows.
    std::int64_t rows() const { return shape.size() == 1 ? shape[0] : shape[shape.size() - 2]; }
    std::int64_t width() const { return shape.size() == 1 ? 1 : shape.back(); }
};

using MetadataValue = std::variant<std::uint32_t, float, bool, std::string, std::vector<bool>, std::vector<std::uint32_t>>;

/// Everything llama.cpp needs to know. Points into the checkpoint, which must outlive it.
struct ModelPlan {
    std::string llama_architecture;
    std::vector<std::pair<std::string, MetadataValue>> metadata;  ///< of two entries of one name the later one counts
    std::vector<PlannedTensor> tensors;
    std::vector<std::string> warnings;
    std::uint64_t num_parameters = 0;  ///< elements of the checkpoint in use, shared ones once
    std::int32_t context_length = 0;   ///< positions for which the plan computes what transformers does
};

/// Throws LoadError when a tensor is missing, has another shape than config.json says, or a type that cannot be computed with.
ModelPlan plan_model(const Family& family, const HfConfig& config, const Checkpoint& checkpoint);

/// Shape and place of what an operation makes of a stored tensor. `stored` has 1 to 3 entries, as the operation expects them.
struct ViewedShape {
    std::vector<std::int64_t> shape;
    StridedView view;
};
ViewedShape view_of(Op op, const std::vector<std::int64_t>& stored, const HfConfig& config);

/// Divisors of the rotary frequencies, rotary_dim / 2 of them; empty when the frequencies are the plain ones (up to one common factor).
std::vector<float> rope_frequency_factors(const RopeConfig& rope, std::int32_t rotary_dim);

/// Row of the checkpoint that becomes row `row` when the rows of each head are interleaved. 0 <= row < rows_per_head * heads.
std::int64_t interleaved_source_row(std::int64_t row, std::int64_t rows_per_head);

}  // namespace tfserve
