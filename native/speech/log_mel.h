// The input of whisper's encoder: a log-mel spectrogram, as WhisperFeatureExtractor of the transformers library makes it.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "speech/spectrum.h"

namespace tfserve::speech {

/// Most values of one spectrogram: 1 GiB, or more than five hours at 128 mel bands.
inline constexpr std::size_t kMaxMelValues = std::size_t{1} << 28;

/// Log-mel spectrogram of 16 kHz mono samples, row-major [n_mels][frames]; frame t is centred at t * 10 ms.
///
/// Windows of 400 samples (periodic Hann), reflected at both ends; power spectrum; triangular filters evenly spaced on Slaney's mel
/// scale from 0 to 8000 Hz with areas of one (Slaney's norm); log10, at least -10 and at most 8 below the greatest value of the whole
/// spectrogram; then (x + 4) / 4.
///
/// `frames` is how many are wanted. Where it is samples.size() / 160, the recording is taken as it is; a shorter one is followed by zeros
/// up to frames * 160 samples, a longer one is cut there. Samples that are not finite count as zero; what comes out is always finite.
///
/// Throws std::invalid_argument unless 1 <= n_mels <= 256 and n_mels * frames <= kMaxMelValues.
std::vector<float> log_mel(std::span<const float> samples, int n_mels, std::size_t frames);

}  // namespace tfserve::speech
