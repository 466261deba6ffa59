#include "speech/speech_stretches.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <stdexcept>

#include "speech/spectrum.h"

namespace tfserve::speech {

namespace {

constexpr double kFrameSeconds = static_cast<double>(kHopLength) / kSampleRate;
constexpr double kHysteresis = 0.15;
constexpr std::size_t kLeastFrames = 6;
constexpr double kMostTail = 0.1;
constexpr double kMostPadding = 30;
constexpr double kMostStretch = 86400;
/// Frames over which loudness is averaged to find a quiet place to cut.
constexpr std::size_t kCutFrames = 10;

/// Frames [begin, end).
struct FrameRange {
    std::size_t begin;
    std::size_t end;
};

bool within(double value, double least, double most) { return value >= least && value <= most; }

/// Frames of speech by hysteresis, pauses shorter than `silence` seconds filled.
std::vector<FrameRange> speech_frames(const std::vector<float>& probability, double threshold, double silence) {
    std::vector<FrameRange> found;
    const double leave = std::max(threshold - kHysteresis, threshold / 2);
    bool speaking = false;
    for (std::size_t t = 0; t < probability.size(); ++t) {
        const auto p = static_cast<double>(probability[t]);
        if (!speaking && p >= threshold) {
            found.push_back({t, t});
            speaking = true;
        }
        if (speaking && p < leave) speaking = false;
        if (speaking) found.back().end = t + 1;
    }
    std::erase_if(found, [](const FrameRange& range) { return range.end - range.begin < kLeastFrames; });
    std::vector<FrameRange> joined;
    for (const FrameRange& range : found) {
        const bool pause = joined.empty() || static_cast<double>(range.begin - joined.back().end) * kFrameSeconds >= silence;
        if (pause) {
            joined.push_back(range);
        } else {
            joined.back().end = range.end;
        }
    }
    return joined;
}

/// The middle of the quietest tenth of a second between two times, which are at least half a second apart.
double quietest(const std::vector<float>& loudness, double from, double to) {
    const auto first = static_cast<std::size_t>(std::ceil(from / kFrameSeconds));
    const auto last = std::min(static_cast<std::size_t>(to / kFrameSeconds), loudness.size());
    double best = 0;
    std::size_t best_at = first;
    for (std::size_t t = first; t + kCutFrames <= last; ++t) {
        double sum = 0;
        for (std::size_t k = 0; k < kCutFrames; ++k) sum += static_cast<double>(loudness[t + k]);
        if (t == first || sum <= best) {
            best = sum;
            best_at = t;
        }
    }
    return static_cast<double>(best_at + kCutFrames / 2) * kFrameSeconds;
}

}  // namespace

void check(const SpeechStretchOptions& options) {
    if (!within(options.threshold, 0, 1)) throw std::invalid_argument("The threshold of speech is a probability from 0 to 1.");
    if (!within(options.prefix_padding, 0, kMostPadding)) throw std::invalid_argument("The padding before speech is from 0 to 30 seconds.");
    if (!within(options.silence_duration, 0, kMostPadding)) {
        throw std::invalid_argument("The silence that ends speech is from 0 to 30 seconds.");
    }
    if (options.max_stretch != 0 && !within(options.max_stretch, 1, kMostStretch)) {
        throw std::invalid_argument("The longest stretch of speech is from 1 to 86400 seconds.");
    }
}

std::vector<SpeechStretch> speech_stretches(const VoiceActivity& activity, double seconds, const SpeechStretchOptions& options) {
    check(options);
    const double tail = std::min(options.silence_duration / 2, kMostTail);
    std::vector<SpeechStretch> stretches;
    for (const FrameRange& range : speech_frames(activity.probability, options.threshold, options.silence_duration)) {
        const double before = stretches.empty() ? 0 : stretches.back().end;
        double start = std::max(static_cast<double>(range.begin) * kFrameSeconds - options.prefix_padding, before);
        const double end = std::min(static_cast<double>(range.end) * kFrameSeconds + tail, seconds);
        while (options.max_stretch > 0 && end - start > options.max_stretch) {
            const double cut = quietest(activity.loudness, start + options.max_stretch / 2, start + options.max_stretch);
            stretches.push_back({start, cut});
            start = cut;
        }
        if (start < end) stretches.push_back({start, end});
    }
    return stretches;
}

std::vector<SpeechStretch> speech_stretches(std::span<const float> samples, const SpeechStretchOptions& options) {
    check(options);
    return speech_stretches(voice_activity(samples), static_cast<double>(samples.size()) / kSampleRate, options);
}

}  // namespace tfserve::speech
