#include "speech/log_mel.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace tfserve::speech {

namespace {

constexpr int kMaxMels = 256;
constexpr double kTopFrequency = 8000;

// Slaney's mel scale (Auditory Toolbox, 1998): linear below 1000 Hz, logarithmic above
constexpr double kMelsPerHertz = 3.0 / 200;
constexpr double kBreakFrequency = 1000;
constexpr double kBreakMel = kBreakFrequency * kMelsPerHertz;
const double kMelsPerLog = 27 / std::log(6.4);

double mel_of(double hertz) {
    return hertz < kBreakFrequency ? hertz * kMelsPerHertz : kBreakMel + std::log(hertz / kBreakFrequency) * kMelsPerLog;
}

double hertz_of(double mel) { return mel < kBreakMel ? mel / kMelsPerHertz : kBreakFrequency * std::exp((mel - kBreakMel) / kMelsPerLog); }

/// A triangle over the bins of a spectrum; zero outside `weights`.
struct MelFilter {
    std::size_t first_bin = 0;
    std::vector<float> weights;
};

std::vector<MelFilter> mel_filters(int n_mels) {
    const auto edge = [&](int index) { return hertz_of(mel_of(kTopFrequency) * index / (n_mels + 1)); };
    const auto bin_hertz = [](std::size_t bin) { return kTopFrequency * static_cast<double>(bin) / (kSpectrumBins - 1); };
    std::vector<MelFilter> filters(static_cast<std::size_t>(n_mels));
    for (int mel = 0; mel < n_mels; ++mel) {
        const double low = edge(mel);
        const double middle = edge(mel + 1);
        const double high = edge(mel + 2);
        MelFilter& filter = filters[static_cast<std::size_t>(mel)];
        for (std::size_t bin = 0; bin < kSpectrumBins; ++bin) {
            const double hertz = bin_hertz(bin);
            const double height = std::min((hertz - low) / (middle - low), (high - hertz) / (high - middle));
            if (height <= 0) continue;
            if (filter.weights.empty()) filter.first_bin = bin;
            filter.weights.push_back(static_cast<float>(height * 2 / (high - low)));
        }
    }
    return filters;
}

}  // namespace

std::vector<float> log_mel(std::span<const float> samples, int n_mels, std::size_t frames) {
    if (n_mels < 1 || n_mels > kMaxMels) throw std::invalid_argument("A spectrogram has from 1 to 256 mel bands.");
    if (frames > kMaxMelValues / static_cast<std::size_t>(n_mels))
        throw std::invalid_argument("The recording is too long for one spectrogram.");
    constexpr float kFloor = 1e-10F;
    constexpr float kLog10Of2 = 0.30102999566398120F;
    constexpr float kLargest = std::numeric_limits<float>::max();

    const std::vector<MelFilter> filters = mel_filters(n_mels);
    Spectrum spectrum(samples, samples.size() / kHopLength == frames ? samples.size() : frames * kHopLength);
    SpectrumBatch power;
    std::vector<float> out(static_cast<std::size_t>(n_mels) * frames);
    float greatest = -10;
    for (std::size_t first = 0; first < frames; first += kLanes) {
        const std::size_t count = std::min(kLanes, frames - first);
        spectrum.power(first, power);
        for (std::size_t mel = 0; mel < filters.size(); ++mel) {
            float sums[kLanes] = {};
            const float* bins = power.data() + filters[mel].first_bin * kLanes;
            for (const float weight : filters[mel].weights) {
                for (std::size_t lane = 0; lane < kLanes; ++lane) sums[lane] += weight * bins[lane];
                bins += kLanes;
            }
            float* const to = out.data() + mel * frames + first;
            for (std::size_t lane = 0; lane < count; ++lane) {
                // written so that NaN becomes the floor
                const float bounded = sums[lane] > kFloor ? std::min(sums[lane], kLargest) : kFloor;
                to[lane] = std::log2(bounded) * kLog10Of2;
                greatest = std::max(greatest, to[lane]);
            }
        }
    }
    const float least = greatest - 8;
    for (float& value : out) value = (std::max(value, least) + 4) / 4;
    return out;
}

}  // namespace tfserve::speech
