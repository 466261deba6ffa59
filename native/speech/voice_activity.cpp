#include "speech/voice_activity.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "speech/spectrum.h"

namespace tfserve::speech {

namespace {

// 80 Hz to 5 kHz: below there is hum, above little of voices
constexpr std::size_t kFirstBin = 2;
constexpr std::size_t kBins = 124;
using Bins = std::array<float, kBins>;

/// Frames of which one minimum is kept, and how many of those make a window: two seconds, which are longer than any sound of speech.
constexpr std::size_t kBlock = 10;
constexpr std::size_t kWindowBlocks = 20;
/// Weight of the past in the smoothed spectrum whose minima are the noise, and how far these lie below the mean of stationary noise.
constexpr float kSmoothing = 0.85F;
constexpr float kMinimumBias = 1.6F;
/// Noise is at least this: white noise 80 dB below full scale, and 50 dB less than the loud frames of the recording have in the mean bin.
constexpr float kLeastNoise = 1.5e-6F;  // 1e-8 times the sum of the squared window
constexpr float kLeastNoiseShare = 1e-5F;

/// Weight of the frame before in the decision-directed a-priori signal-to-noise ratio, and the least such ratio (-25 dB).
constexpr float kDecisionWeight = 0.95F;
constexpr float kLeastRatio = 3.2e-3F;
/// No bin may say more than this, and no power is greater: one click is not a sentence.
constexpr float kMostLogRatio = 20;
constexpr float kMostPosteriorRatio = 1e4F;
constexpr float kMostPower = 1e30F;

// From a frame's mean log likelihood ratio to its evidence: neighbouring bins and overlapping windows are not independent, so that their
// sum would say far too much; and noise alone has a mean a little above zero.
constexpr float kEvidenceGain = 3;
constexpr float kEvidenceOffset = 0.15F;
constexpr float kMostEvidence = 8;
/// Chance that speech begins, or ends, from one frame to the next: both last for a second on average.
constexpr float kChange = 0.01F;
/// Frames at both ends of a recording whose windows reach out of it.
constexpr std::size_t kEdge = 2;

/// Calls visit(frame, bins) with the power spectrum of each frame.
template <class Visit>
void each_frame(std::span<const float> samples, const Visit& visit) {
    const std::size_t frames = (samples.size() + kHopLength - 1) / kHopLength;
    Spectrum spectrum(samples, samples.size());
    SpectrumBatch batch;
    Bins bins;
    for (std::size_t first = 0; first < frames; first += kLanes) {
        spectrum.power(first, batch);
        for (std::size_t lane = 0; lane < std::min(kLanes, frames - first); ++lane) {
            for (std::size_t k = 0; k < kBins; ++k) {
                const float power = batch[(kFirstBin + k) * kLanes + lane];
                bins[k] = power < kMostPower ? power : kMostPower;
            }
            visit(first + lane, bins);
        }
    }
}

void keep_smaller(Bins& kept, const Bins& other) {
    for (std::size_t k = 0; k < kBins; ++k) kept[k] = std::min(kept[k], other[k]);
}

/// The power of the noise, block of frames by block.
class NoiseFloor {
   public:
    /// `loudness` gets the mean power of each frame.
    NoiseFloor(std::span<const float> samples, std::vector<float>& loudness) {
        Bins smooth{};
        each_frame(samples, [&](std::size_t frame, const Bins& power) {
            float sum = 0;
            for (std::size_t k = 0; k < kBins; ++k) {
                const float around = 0.25F * (power[k == 0 ? k : k - 1] + power[k + 1 == kBins ? k : k + 1]) + 0.5F * power[k];
                smooth[k] = frame == 0 ? around : kSmoothing * smooth[k] + (1 - kSmoothing) * around;
                sum += power[k];
            }
            loudness.push_back(sum / kBins);
            if (frame % kBlock == 0) {
                minima_.push_back(smooth);
            } else if (frame == kBlock - 1) {
                // only now the smoothed spectrum is more than the first few frames
                minima_[0] = smooth;
            } else if (frame >= kBlock) {
                keep_smaller(minima_.back(), smooth);
            }
        });
        least_ = kLeastNoise;
        if (loudness.empty()) return;
        widen();
        std::vector<float> sorted = loudness;
        const auto loud = sorted.begin() + static_cast<std::ptrdiff_t>((sorted.size() - 1) * 19 / 20);
        std::nth_element(sorted.begin(), loud, sorted.end());
        least_ = std::max(least_, *loud * kLeastNoiseShare);
    }

    /// The greatest of the minima over windows that hold the frame or end next to it: what is louder for less than a window is no noise.
    Bins of_frame(std::size_t frame) const {
        const std::size_t block = frame / kBlock;
        const std::size_t last = std::min(block + 1, minima_.size() - 1);
        Bins noise{};
        for (std::size_t start = std::min(block - std::min(block, kWindowBlocks), last); start <= last; ++start) {
            for (std::size_t k = 0; k < kBins; ++k) noise[k] = std::max(noise[k], minima_[start][k]);
        }
        for (float& power : noise) power = std::max(power * kMinimumBias, least_);
        return noise;
    }

   private:
    /// From the minima of blocks to those of windows that begin with them; all windows lie within the recording.
    void widen() {
        const std::size_t windows = minima_.size() - std::min(minima_.size() - 1, kWindowBlocks - 1);
        for (std::size_t start = 0; start < windows; ++start) {
            const std::size_t end = std::min(start + kWindowBlocks, minima_.size());
            for (std::size_t block = start + 1; block < end; ++block) keep_smaller(minima_[start], minima_[block]);
        }
        minima_.resize(windows);
    }

    std::vector<Bins> minima_;
    float least_ = kLeastNoise;
};

/// The evidence for speech in each frame: log odds without what is known of its neighbours.
std::vector<float> evidence(std::span<const float> samples, const NoiseFloor& floor) {
    std::vector<float> result;
    Bins noise{};
    Bins speech_before{};
    each_frame(samples, [&](std::size_t frame, const Bins& power) {
        if (frame % kBlock == 0) noise = floor.of_frame(frame);
        float sum = 0;
        for (std::size_t k = 0; k < kBins; ++k) {
            const float posterior = std::min(power[k] / noise[k], kMostPosteriorRatio);
            const float decided = kDecisionWeight * speech_before[k] / noise[k] + (1 - kDecisionWeight) * std::max(posterior - 1, 0.0F);
            const float prior = std::max(decided, kLeastRatio);
            const float gain = prior / (1 + prior);
            sum += std::min(posterior * gain - std::log1p(prior), kMostLogRatio);
            speech_before[k] = gain * gain * power[k];
        }
        result.push_back(std::clamp(kEvidenceGain * (sum / kBins - kEvidenceOffset), -kMostEvidence, kMostEvidence));
    });
    for (std::size_t i = 0; i < std::min(kEdge, result.size()); ++i) result[i] = result[result.size() - 1 - i] = 0;
    return result;
}

}  // namespace

std::vector<float> speech_posteriors(std::span<const float> evidence, float change) {
    std::vector<float> result(evidence.size());
    float forward = 0.5F;
    for (std::size_t t = 0; t < evidence.size(); ++t) {
        const float speech = (forward * (1 - change) + (1 - forward) * change) * std::exp(evidence[t]);
        const float pause = forward * change + (1 - forward) * (1 - change);
        forward = speech / (speech + pause);
        result[t] = forward;
    }
    float backward = 1;  // how much likelier what follows is after speech than after a pause
    for (std::size_t t = evidence.size(); t-- > 0;) {
        result[t] = result[t] * backward / (result[t] * backward + 1 - result[t]);
        const float ahead = std::exp(evidence[t]) * backward;
        backward = (change + (1 - change) * ahead) / (1 - change + change * ahead);
    }
    return result;
}

VoiceActivity voice_activity(std::span<const float> samples) {
    VoiceActivity activity;
    const NoiseFloor floor(samples, activity.loudness);
    activity.probability = speech_posteriors(evidence(samples, floor), kChange);
    return activity;
}

}  // namespace tfserve::speech
