// Where in a recording somebody speaks.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace tfserve::speech {

/// Seconds from one probability to the next.
inline constexpr double kVoiceFrameSeconds = 0.01;

/// Probability of speech, 0 to 1, in each 10 ms of 16 kHz mono samples (the last frame may be shorter); samples.size() / 160, rounded up.
///
/// The statistical model of Sohn, Kim and Sung, "A statistical model-based voice activity detection" (IEEE Signal Processing Letters
/// 6(1), 1999): Gaussian noise and speech in each bin of a Fourier transform, the noise tracked, the a-priori signal-to-noise ratio
/// decision-directed, the likelihood ratio averaged over bins and smoothed over frames. Samples that are not finite count as zero.
std::vector<float> speech_probabilities(std::span<const float> samples);

struct SpeechStretchOptions {
    /// Probability from which a frame counts as speech, 0 to 1. Speech goes on until it falls 0.15 below.
    double threshold = 0.5;
    /// Seconds kept before speech, 0 to 30.
    double prefix_padding = 0.3;
    /// Seconds of silence that end a stretch, 0 to 30.
    double silence_duration = 0.2;
    /// Longer stretches are cut where it is quietest in their later half. Seconds, at least 1; 0: not cut.
    double max_stretch = 0;
};

/// Seconds from the start of the recording.
struct SpeechStretch {
    double start = 0;
    double end = 0;
};

/// The stretches of speech in 16 kHz mono samples, in order and without overlap, within the recording.
/// Throws std::invalid_argument for options out of range.
std::vector<SpeechStretch> speech_stretches(std::span<const float> samples, const SpeechStretchOptions& options);

}  // namespace tfserve::speech
