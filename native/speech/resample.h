// Brings recordings of any sample rate to the 16 kHz that speech models hear.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace tfserve::speech {

inline constexpr int kMaxSampleRate = 768000;
/// Most samples that come out of one resampler: 1 GiB, more than four hours.
inline constexpr std::size_t kMaxResampled = std::size_t{1} << 28;

/// Samples at 16 kHz for `samples` at `rate`: ceil(samples * 16000 / rate). Throws std::invalid_argument for a rate outside 1 to
/// kMaxSampleRate, std::length_error for more than kMaxResampled.
std::size_t resampled_length(std::size_t samples, int rate);

/// A recording in chunks. The chunks' sizes do not matter: what comes out is the same, bit for bit.
///
/// Polyphase interpolation with a Kaiser-windowed sinc (Oppenheim and Schafer, Discrete-Time Signal Processing, 7.6): flat up to 0.91 of
/// the lower of the two Nyquist frequencies, and 100 dB down from that one on. Zero delay; beyond both ends there is silence. At
/// 16 kHz samples pass unchanged.
class Resampler {
   public:
    /// Throws std::invalid_argument for a rate outside 1 to kMaxSampleRate (samples a second).
    explicit Resampler(int rate);

    /// Appends to `out` what can be told after these samples. Samples that are not finite count as zero.
    /// Throws std::length_error when more than kMaxResampled would have come out in all (nothing is appended then), and
    /// std::logic_error after finish().
    void push(std::span<const float> samples, std::vector<float>& out);
    /// Appends the rest: in all there are resampled_length() samples. Called again, it appends nothing.
    void finish(std::vector<float>& out);

   private:
    void make_table();
    void produce(std::vector<float>& out);
    float next_sample(const float* from) const;

    int rate_;
    std::uint64_t step_numerator_ = 1;    ///< input samples from one output to the next, as a reduced fraction
    std::uint64_t step_denominator_ = 1;  ///< also the number of positions that outputs have between two input samples
    std::size_t half_ = 0;                ///< input samples that the kernel reaches to each side
    std::size_t phases_ = 1;              ///< positions between two input samples that the table has
    std::vector<float> table_;            ///< [phases_ + 1][2 * half_]: the kernel, shifted by fractions of an input sample
    std::vector<float> history_;          ///< input from the first sample on that the next output needs
    std::uint64_t position_ = 0;          ///< of the next output, in steps behind the sample history_[half_ - 1]
    std::uint64_t received_ = 0;          ///< samples pushed
    bool finished_ = false;
};

/// The whole recording at once; throws as Resampler does.
std::vector<float> resample(std::span<const float> samples, int rate);

}  // namespace tfserve::speech
