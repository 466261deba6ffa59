// How likely somebody speaks, at each moment of a recording.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace tfserve::speech {

/// What is known of a recording, 10 ms by 10 ms: frame t begins at sample t * 160; ceil(samples / 160) of them.
struct VoiceActivity {
    /// Probability of speech, 0 to 1.
    std::vector<float> probability;
    /// Power between 80 Hz and 5 kHz, in units of no meaning but for comparing.
    std::vector<float> loudness;
};

/// Listens to 16 kHz mono samples, of which those that are not finite count as zero.
///
/// The statistical model of Sohn, Kim and Sung, "A statistical model-based voice activity detection" (IEEE Signal Processing Letters 6(1),
/// 1999): Gaussian noise and speech in each bin of a Fourier transform, decision-directed estimate of the a-priori signal-to-noise ratio,
/// the mean over bins of the log likelihood ratio, and a hidden Markov model of speech and pause over frames. Since the whole recording is
/// there, that model runs forwards and backwards, and windows for the noise (minima of the smoothed spectrum, after Martin, "Noise power
/// spectral density estimation based on optimal smoothing and minimum statistics", 2001) lie before, around and after a frame. Sounds
/// that do not change for two seconds or more are noise, whatever their spectrum.
VoiceActivity voice_activity(std::span<const float> samples);

/// Probability of speech in each frame of a Markov chain of speech and pauses, given all that was heard: `evidence` has, for each frame,
/// the log of how much likelier its sound is in speech than in a pause, from -80 to 80. `change` is the chance, above 0 and up to 0.5, that
/// the next frame is of the other kind. The forward-backward algorithm.
std::vector<float> speech_posteriors(std::span<const float> evidence, float change);

}  // namespace tfserve::speech
