#include "speech/alignment.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>

namespace tfserve::speech {

namespace {

constexpr int kMaxMedianWidth = 127;

/// Row-major [rows][columns].
struct Matrix {
    std::size_t rows = 0;
    std::size_t columns = 0;
    std::vector<float> values;

    Matrix(std::size_t rows_, std::size_t columns_) : rows(rows_), columns(columns_), values(rows_ * columns_) {}
    std::span<float> row(std::size_t index) { return std::span<float>(values).subspan(index * columns, columns); }
    std::span<const float> row(std::size_t index) const { return std::span<const float>(values).subspan(index * columns, columns); }
};

/// Each position to mean 0 and standard deviation 1 over the tokens.
void normalise_columns(Matrix& matrix) {
    const double share = 1 / static_cast<double>(matrix.rows);
    std::vector<double> mean(matrix.columns);
    std::vector<double> variance(matrix.columns);
    for (std::size_t t = 0; t < matrix.rows; ++t) {
        const auto row = matrix.row(t);
        for (std::size_t p = 0; p < matrix.columns; ++p) mean[p] += static_cast<double>(row[p]) * share;
    }
    for (std::size_t t = 0; t < matrix.rows; ++t) {
        const auto row = matrix.row(t);
        for (std::size_t p = 0; p < matrix.columns; ++p) {
            const double difference = static_cast<double>(row[p]) - mean[p];
            variance[p] += difference * difference * share;
        }
    }
    std::vector<double>& scale = variance;
    for (double& value : scale) value = 1 / std::sqrt(value);
    for (std::size_t t = 0; t < matrix.rows; ++t) {
        const auto row = matrix.row(t);
        for (std::size_t p = 0; p < matrix.columns; ++p) {
            const double score = (static_cast<double>(row[p]) - mean[p]) * scale[p];
            row[p] = std::isfinite(score) ? static_cast<float>(score) : 0.0F;
        }
    }
}

/// Medians of `width` neighbours, the row reflected at its ends; a row too short to be reflected stays as it is.
void median_filter(std::span<const float> row, std::size_t width, std::span<float> out) {
    const std::size_t reach = width / 2;
    if (row.size() <= reach) {
        std::copy(row.begin(), row.end(), out.begin());
        return;
    }
    std::vector<float> padded(row.size() + 2 * reach);
    std::reverse_copy(row.begin() + 1, row.begin() + 1 + static_cast<std::ptrdiff_t>(reach), padded.begin());
    const auto behind = std::copy(row.begin(), row.end(), padded.begin() + static_cast<std::ptrdiff_t>(reach));
    std::reverse_copy(row.end() - 1 - static_cast<std::ptrdiff_t>(reach), row.end() - 1, behind);

    std::vector<float> sorted(padded.begin(), padded.begin() + static_cast<std::ptrdiff_t>(width));
    std::sort(sorted.begin(), sorted.end());
    out[0] = sorted[reach];
    for (std::size_t p = 1; p < row.size(); ++p) {
        // what comes takes the place of what goes, and moves to where it belongs
        const float gone = padded[p - 1];
        const float come = padded[p + width - 1];
        auto at = static_cast<std::size_t>(std::lower_bound(sorted.begin(), sorted.end(), gone) - sorted.begin());
        for (; at + 1 < width && sorted[at + 1] < come; ++at) sorted[at] = sorted[at + 1];
        for (; at > 0 && sorted[at - 1] > come; --at) sorted[at] = sorted[at - 1];
        sorted[at] = come;
        out[p] = sorted[reach];
    }
}

/// How well each token fits each position: the mean over heads of normalised, smoothed attention.
Matrix fit_of_tokens(const AttentionWeights& weights, std::size_t positions, std::size_t median_width) {
    Matrix sum(weights.tokens, positions);
    Matrix head(weights.tokens, positions);
    std::vector<float> smooth(positions);
    for (std::size_t h = 0; h < weights.heads; ++h) {
        for (std::size_t t = 0; t < weights.tokens; ++t) {
            const auto from = weights.values.subspan((h * weights.tokens + t) * weights.positions, positions);
            std::copy(from.begin(), from.end(), head.row(t).begin());
        }
        normalise_columns(head);
        for (std::size_t t = 0; t < weights.tokens; ++t) {
            median_filter(head.row(t), median_width, smooth);
            const auto row = sum.row(t);
            for (std::size_t p = 0; p < positions; ++p) row[p] += smooth[p];
        }
    }
    for (float& value : sum.values) value /= static_cast<float>(weights.heads);
    return sum;
}

enum class Step : std::uint8_t { both, token, position };

/// The first position of each token on the cheapest way from the first token and position to the last ones, where fitting well is cheap.
/// The step to the next position is taken unless one of the others is cheaper than both that and the third; this and costs in single
/// precision are as in transformers, so that near-ties fall the same way.
std::vector<std::size_t> first_positions(const Matrix& fit) {
    constexpr float kNoWay = std::numeric_limits<float>::infinity();
    std::vector<float> above(fit.columns + 1, kNoWay);
    std::vector<float> costs(fit.columns + 1);
    std::vector<Step> steps(fit.rows * fit.columns);
    above[0] = 0;
    for (std::size_t t = 0; t < fit.rows; ++t) {
        const auto row = fit.row(t);
        costs[0] = kNoWay;
        for (std::size_t p = 0; p < fit.columns; ++p) {
            const float both = above[p];
            const float token = above[p + 1];
            const float position = costs[p];
            Step step = Step::position;
            float cost = position;
            if (both < token && both < position) {
                step = Step::both;
                cost = both;
            } else if (token < both && token < position) {
                step = Step::token;
                cost = token;
            }
            steps[t * fit.columns + p] = step;
            costs[p + 1] = static_cast<float>(static_cast<double>(cost) - static_cast<double>(row[p]));
        }
        above.swap(costs);
    }

    std::vector<std::size_t> first(fit.rows);
    std::size_t p = fit.columns - 1;
    for (std::size_t t = fit.rows; t-- > 0;) {
        while (p > 0 && steps[t * fit.columns + p] == Step::position) --p;
        first[t] = p;
        if (p > 0 && steps[t * fit.columns + p] == Step::both) --p;
    }
    return first;
}

}  // namespace

std::vector<double> align_tokens(const AttentionWeights& weights, std::size_t positions, int median_width) {
    if (weights.heads == 0) throw std::invalid_argument("Alignment needs the weights of at least one head.");
    if (median_width < 1 || median_width > kMaxMedianWidth || median_width % 2 == 0) {
        throw std::invalid_argument("The width of a median filter is an odd number from 1 to 127.");
    }
    // divisions, since products of hostile sizes wrap around
    const std::size_t rows = weights.positions == 0 ? 0 : weights.values.size() / weights.positions;
    const bool whole = weights.positions == 0 ? weights.values.empty() : rows * weights.positions == weights.values.size();
    const bool fits = weights.positions == 0 || weights.tokens == 0 ? weights.values.empty()
                                                                    : rows % weights.tokens == 0 && rows / weights.tokens == weights.heads;
    if (!whole || !fits) throw std::invalid_argument("Attention weights have another size than their shape says.");
    if (positions > weights.positions) throw std::invalid_argument("Attention weights have fewer positions than are asked for.");
    if (weights.tokens == 0) return {};
    if (positions == 0) return std::vector<double>(weights.tokens, 0.0);

    std::vector<double> times;
    times.reserve(weights.tokens);
    for (const std::size_t position : first_positions(fit_of_tokens(weights, positions, static_cast<std::size_t>(median_width)))) {
        times.push_back(static_cast<double>(position) * kSecondsPerPosition);
    }
    return times;
}

}  // namespace tfserve::speech
