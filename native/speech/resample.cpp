#include "speech/resample.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <stdexcept>

#include "speech/spectrum.h"

namespace tfserve::speech {

namespace {

// Kaiser's formulas for a stop band of 100 dB and a transition over the upper 8.8 % of the band that both rates have
constexpr double kKaiserBeta = 0.1102 * (100 - 8.7);
constexpr double kTransition = 0.088;
constexpr double kReach = 74;  ///< (100 - 7.95) / (2.285 * kTransition * pi) / 2, in samples at the lower rate, rounded up
/// Most entries of a table with a row for each position an output can have; where there are more positions, rows are interpolated.
constexpr std::uint64_t kMaxTable = std::uint64_t{1} << 18;
/// Rows for interpolation, for each sample at the lower rate: the error of a straight line in between is more than 120 dB down.
constexpr double kRowsPerSample = 1024;
constexpr std::size_t kChunk = std::size_t{1} << 16;

/// The modified Bessel function of the first kind and order 0, by its power series.
double bessel_i0(double x) {
    double sum = 1;
    double term = 1;
    for (int k = 1; term > sum * 1e-17; ++k) {
        term *= (x / (2 * k)) * (x / (2 * k));
        sum += term;
    }
    return sum;
}

double sinc(double x) { return x == 0 ? 1 : std::sin(std::numbers::pi * x) / (std::numbers::pi * x); }

void check_rate(int rate) {
    if (rate < 1 || rate > kMaxSampleRate) throw std::invalid_argument("A sample rate is from 1 to 768000 samples a second.");
}

/// Sums of products, in as many partial sums as vectorise well.
float dot(const float* a, const float* b, std::size_t size) {
    constexpr std::size_t kParts = 16;
    float parts[kParts] = {};
    std::size_t i = 0;
    for (; i + kParts <= size; i += kParts) {
        for (std::size_t part = 0; part < kParts; ++part) parts[part] += a[i + part] * b[i + part];
    }
    for (; i < size; ++i) parts[i % kParts] += a[i] * b[i];
    for (std::size_t width = kParts / 2; width > 0; width /= 2) {
        for (std::size_t part = 0; part < width; ++part) parts[part] += parts[part + width];
    }
    return parts[0];
}

}  // namespace

std::size_t resampled_length(std::size_t samples, int rate) {
    check_rate(rate);
    const auto from = static_cast<std::uint64_t>(rate);
    constexpr auto kTo = static_cast<std::uint64_t>(kSampleRate);
    if (samples > kMaxResampled * from / kTo) throw std::length_error("The recording is too long to be resampled.");
    return static_cast<std::size_t>((samples * kTo + from - 1) / from);
}

Resampler::Resampler(int rate) : rate_(rate) {
    check_rate(rate);
    const int common = std::gcd(rate, kSampleRate);
    step_numerator_ = static_cast<std::uint64_t>(rate / common);
    step_denominator_ = static_cast<std::uint64_t>(kSampleRate / common);
    if (rate_ != kSampleRate) make_table();
}

void Resampler::make_table() {
    const double scale = std::min(1.0, static_cast<double>(kSampleRate) / rate_);
    const double cutoff = scale * (1 - kTransition / 2);
    half_ = static_cast<std::size_t>(std::ceil(kReach / scale));
    phases_ = step_denominator_ * 2 * half_ <= kMaxTable ? step_denominator_ : static_cast<std::size_t>(std::ceil(kRowsPerSample * scale));
    table_.resize((phases_ + 1) * 2 * half_);
    std::vector<double> row(2 * half_);
    const double peak = bessel_i0(kKaiserBeta);
    for (std::size_t phase = 0; phase <= phases_; ++phase) {
        const double shift = static_cast<double>(phase) / static_cast<double>(phases_);
        double sum = 0;
        for (std::size_t tap = 0; tap < row.size(); ++tap) {
            const double distance = shift + static_cast<double>(half_) - 1 - static_cast<double>(tap);
            const double place = distance / static_cast<double>(half_);
            const double window = std::abs(place) < 1 ? bessel_i0(kKaiserBeta * std::sqrt(1 - place * place)) / peak : 0;
            row[tap] = sinc(cutoff * distance) * window;
            sum += row[tap];
        }
        // so that a constant stays exactly what it is at every position
        for (std::size_t tap = 0; tap < row.size(); ++tap) table_[phase * row.size() + tap] = static_cast<float>(row[tap] / sum);
    }
    history_.assign(half_ - 1, 0.0F);
}

/// The output at `position_`, which is between the samples from[half_ - 1] and from[half_].
float Resampler::next_sample(const float* from) const {
    const std::size_t taps = 2 * half_;
    if (phases_ == step_denominator_) return dot(from, table_.data() + position_ * taps, taps);
    const std::uint64_t scaled = position_ * phases_;
    const float* const row = table_.data() + scaled / step_denominator_ * taps;
    const auto between = static_cast<float>(static_cast<double>(scaled % step_denominator_) / static_cast<double>(step_denominator_));
    const float before = dot(from, row, taps);
    return before + between * (dot(from, row + taps, taps) - before);
}

/// All outputs that `history_` has the input for.
void Resampler::produce(std::vector<float>& out) {
    auto begin = static_cast<std::size_t>(position_ / step_denominator_);
    position_ %= step_denominator_;
    while (begin + 2 * half_ <= history_.size()) {
        out.push_back(next_sample(history_.data() + begin));
        position_ += step_numerator_;
        begin += static_cast<std::size_t>(position_ / step_denominator_);
        position_ %= step_denominator_;
    }
    // the next output may be further on than what has come
    const std::size_t gone = std::min(begin, history_.size());
    history_.erase(history_.begin(), history_.begin() + static_cast<std::ptrdiff_t>(gone));
    position_ += static_cast<std::uint64_t>(begin - gone) * step_denominator_;
}

void Resampler::push(std::span<const float> samples, std::vector<float>& out) {
    if (finished_) throw std::logic_error("The recording has been finished.");
    static_cast<void>(resampled_length(static_cast<std::size_t>(received_) + samples.size(), rate_));
    received_ += samples.size();
    const auto finite_or_zero = [](float value) { return std::abs(value) <= std::numeric_limits<float>::max() ? value : 0.0F; };
    if (rate_ == kSampleRate) {
        std::transform(samples.begin(), samples.end(), std::back_inserter(out), finite_or_zero);
        return;
    }
    while (!samples.empty()) {
        const auto chunk = samples.first(std::min(samples.size(), kChunk));
        std::transform(chunk.begin(), chunk.end(), std::back_inserter(history_), finite_or_zero);
        produce(out);
        samples = samples.subspan(chunk.size());
    }
}

void Resampler::finish(std::vector<float>& out) {
    if (finished_) return;
    finished_ = true;
    if (rate_ == kSampleRate) return;
    history_.insert(history_.end(), half_, 0.0F);
    produce(out);
}

std::vector<float> resample(std::span<const float> samples, int rate) {
    std::vector<float> out;
    Resampler resampler(rate);
    out.reserve(resampled_length(samples.size(), rate));
    resampler.push(samples, out);
    resampler.finish(out);
    return out;
}

}  // namespace tfserve::speech
