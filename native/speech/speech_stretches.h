// Cuts a recording into stretches of speech.
#pragma once

#include <span>
#include <vector>

#include "speech/voice_activity.h"

namespace tfserve::speech {

struct SpeechStretchOptions {
    /// Probability from which a frame counts as speech, 0 to 1. Speech goes on until it falls 0.15 below.
    double threshold = 0.5;
    /// Seconds kept before speech, 0 to 30.
    double prefix_padding = 0.3;
    /// Seconds of silence that end a stretch, 0 to 30; half of it, at most 0.1, is kept after speech.
    double silence_duration = 0.2;
    /// Longer stretches are cut where it is quietest in their later half. Seconds, 1 to 86400; 0: not cut.
    double max_stretch = 0;
};

/// Seconds from the start of the recording.
struct SpeechStretch {
    double start = 0;
    double end = 0;
};

/// Throws std::invalid_argument, with a sentence, for options out of range.
void check(const SpeechStretchOptions& options);

/// The stretches of speech, in order and without overlap, within a recording of `seconds` that `activity` tells of. Sounds of less than
/// 60 ms are not speech. Throws as check() does.
std::vector<SpeechStretch> speech_stretches(const VoiceActivity& activity, double seconds, const SpeechStretchOptions& options);

/// The same of 16 kHz mono samples.
std::vector<SpeechStretch> speech_stretches(std::span<const float> samples, const SpeechStretchOptions& options);

}  // namespace tfserve::speech
