// Power spectra of 25 ms windows of sound, one each 10 ms, several at a time.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

namespace tfserve::speech {

/// Samples a second of everything that is transcribed.
inline constexpr int kSampleRate = 16000;
/// Samples from one frame to the next: 10 ms.
inline constexpr std::size_t kHopLength = 160;
/// Samples of a frame's window.
inline constexpr std::size_t kWindowLength = 400;
/// Frequencies of a spectrum, 40 Hz apart.
inline constexpr std::size_t kSpectrumBins = kWindowLength / 2 + 1;
/// Frames that are transformed at once: the innermost dimension of every array, so that each step is one vector operation.
inline constexpr std::size_t kLanes = 8;

/// [bin][lane].
using SpectrumBatch = std::array<float, kSpectrumBins * kLanes>;

/// The short-time Fourier transform of one recording: frame t has a periodic Hann window centred at sample t * 160; beyond both ends the
/// recording is reflected, without its first or last sample. Not for several threads at once: it keeps its work space.
class Spectrum {
   public:
    /// `samples` must outlive this; zeros follow them up to `length`, and what lies behind `length` is not looked at. Samples that are not
    /// finite count as zero.
    Spectrum(std::span<const float> samples, std::size_t length);

    /// Squared magnitudes of the frames first_frame ... first_frame + kLanes - 1; frames that lie behind the recording give no error but
    /// nothing of use. Very loud samples may give +inf or NaN.
    void power(std::size_t first_frame, SpectrumBatch& out);

   private:
    using Lanes = std::array<float, kLanes>;
    /// A complex sequence, half as long as the window.
    struct Sequence {
        std::array<Lanes, kWindowLength / 2> re;
        std::array<Lanes, kWindowLength / 2> im;
    };
    struct Tables;
    static const Tables& tables();

    float sample_at(std::ptrdiff_t index) const;
    void load_frame(std::size_t frame, std::size_t lane);
    template <std::size_t Radix>
    static void pass(const Sequence& from, std::size_t stride, std::size_t blocks, Sequence& to);

    std::span<const float> samples_;
    std::size_t length_;
    std::vector<Sequence> work_;  ///< two: each pass reads one and writes the other
};

}  // namespace tfserve::speech
