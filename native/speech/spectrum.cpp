#include "speech/spectrum.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace tfserve::speech {

namespace {

constexpr std::size_t kHalf = kWindowLength / 2;

struct Rotation {
    float re;
    float im;
};

/// exp(-2 pi i index / period).
Rotation rotation(std::size_t index, std::size_t period) {
    const double angle = -2 * std::numbers::pi * static_cast<double>(index % period) / static_cast<double>(period);
    return {static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))};
}

float finite_or_zero(float value) { return std::abs(value) <= std::numeric_limits<float>::max() ? value : 0.0F; }

/// Fourier transform of Radix complex numbers, in place.
template <std::size_t Radix>
inline void small_transform(float (&re)[Radix], float (&im)[Radix]);

template <>
inline void small_transform<2>(float (&re)[2], float (&im)[2]) {
    const float a = re[0];
    const float b = im[0];
    re[0] = a + re[1];
    im[0] = b + im[1];
    re[1] = a - re[1];
    im[1] = b - im[1];
}

template <>
inline void small_transform<4>(float (&re)[4], float (&im)[4]) {
    const float even_re = re[0] + re[2];
    const float even_im = im[0] + im[2];
    const float odd_re = re[1] + re[3];
    const float odd_im = im[1] + im[3];
    const float a_re = re[0] - re[2];
    const float a_im = im[0] - im[2];
    const float b_re = re[1] - re[3];
    const float b_im = im[1] - im[3];
    re[0] = even_re + odd_re;
    im[0] = even_im + odd_im;
    re[1] = a_re + b_im;
    im[1] = a_im - b_re;
    re[2] = even_re - odd_re;
    im[2] = even_im - odd_im;
    re[3] = a_re - b_im;
    im[3] = a_im + b_re;
}

template <>
inline void small_transform<5>(float (&re)[5], float (&im)[5]) {
    constexpr float kCos1 = 0.30901699437494742F;   // of 2 pi / 5
    constexpr float kCos2 = -0.80901699437494742F;  // of 4 pi / 5
    constexpr float kSin1 = 0.95105651629515357F;
    constexpr float kSin2 = 0.58778525229247313F;
    const float near_re = re[1] + re[4];
    const float near_im = im[1] + im[4];
    const float far_re = re[2] + re[3];
    const float far_im = im[2] + im[3];
    const float near_dr = re[1] - re[4];
    const float near_di = im[1] - im[4];
    const float far_dr = re[2] - re[3];
    const float far_di = im[2] - im[3];
    const float a_re = re[0] + kCos1 * near_re + kCos2 * far_re;
    const float a_im = im[0] + kCos1 * near_im + kCos2 * far_im;
    const float b_re = re[0] + kCos2 * near_re + kCos1 * far_re;
    const float b_im = im[0] + kCos2 * near_im + kCos1 * far_im;
    const float c_re = kSin1 * near_di + kSin2 * far_di;
    const float c_im = kSin1 * near_dr + kSin2 * far_dr;
    const float d_re = kSin2 * near_di - kSin1 * far_di;
    const float d_im = kSin2 * near_dr - kSin1 * far_dr;
    re[0] = re[0] + near_re + far_re;
    im[0] = im[0] + near_im + far_im;
    re[1] = a_re + c_re;
    im[1] = a_im - c_im;
    re[2] = b_re + d_re;
    im[2] = b_im - d_im;
    re[3] = b_re - d_re;
    im[3] = b_im + d_im;
    re[4] = a_re - c_re;
    im[4] = a_im + c_im;
}

}  // namespace

struct Spectrum::Tables {
    std::array<float, kWindowLength> window;           ///< periodic Hann
    std::array<Rotation, kHalf> rotations;             ///< of the transform of kHalf complex numbers
    std::array<Rotation, kSpectrumBins> real_of_half;  ///< that make one of kWindowLength real numbers of it
};

const Spectrum::Tables& Spectrum::tables() {
    static const Tables made = [] {
        Tables tables;
        for (std::size_t n = 0; n < kWindowLength; ++n) {
            const double angle = 2 * std::numbers::pi * static_cast<double>(n) / static_cast<double>(kWindowLength);
            tables.window[n] = static_cast<float>(0.5 - 0.5 * std::cos(angle));
        }
        for (std::size_t k = 0; k < kHalf; ++k) tables.rotations[k] = rotation(k, kHalf);
        for (std::size_t k = 0; k < kSpectrumBins; ++k) tables.real_of_half[k] = rotation(k, kWindowLength);
        return tables;
    }();
    return made;
}

Spectrum::Spectrum(std::span<const float> samples, std::size_t length)
    : samples_(samples.first(std::min(samples.size(), length))), length_(length), work_(2) {}

float Spectrum::sample_at(std::ptrdiff_t index) const {
    if (length_ == 0) return 0;
    const auto last = static_cast<std::ptrdiff_t>(length_) - 1;
    if (last == 0) index = 0;
    while (index < 0 || index > last) index = index < 0 ? -index : 2 * last - index;
    return static_cast<std::size_t>(index) < samples_.size() ? samples_[static_cast<std::size_t>(index)] : 0.0F;
}

/// The windowed samples of a frame into a lane, even ones as real and odd ones as imaginary parts.
void Spectrum::load_frame(std::size_t frame, std::size_t lane) {
    const auto& window = tables().window;
    Sequence& to = work_[0];
    const auto begin = static_cast<std::ptrdiff_t>(frame * kHopLength) - static_cast<std::ptrdiff_t>(kHalf);
    if (begin > static_cast<std::ptrdiff_t>(length_)) {
        for (std::size_t n = 0; n < kHalf; ++n) to.re[n][lane] = to.im[n][lane] = 0;
    } else if (begin >= 0 && static_cast<std::size_t>(begin) + kWindowLength <= samples_.size()) {
        const float* const from = samples_.data() + begin;
        for (std::size_t n = 0; n < kHalf; ++n) {
            to.re[n][lane] = finite_or_zero(from[2 * n]) * window[2 * n];
            to.im[n][lane] = finite_or_zero(from[2 * n + 1]) * window[2 * n + 1];
        }
    } else {
        for (std::size_t n = 0; n < kHalf; ++n) {
            const auto at = begin + static_cast<std::ptrdiff_t>(2 * n);
            to.re[n][lane] = finite_or_zero(sample_at(at)) * window[2 * n];
            to.im[n][lane] = finite_or_zero(sample_at(at + 1)) * window[2 * n + 1];
        }
    }
}

/// One step of the self-sorting transform by decimation in frequency (Stockham's; Van Loan, Computational Frameworks for the Fast Fourier
/// Transform, 1.7): `stride` interleaved transforms of Radix * blocks numbers become Radix times as many of `blocks` numbers.
template <std::size_t Radix>
void Spectrum::pass(const Sequence& from, std::size_t stride, std::size_t blocks, Sequence& to) {
    const auto& rotations = tables().rotations;
    for (std::size_t p = 0; p < blocks; ++p) {
        Rotation twist[Radix];
        for (std::size_t s = 0; s < Radix; ++s) twist[s] = rotations[s * p * stride % kHalf];
        for (std::size_t j = 0; j < stride; ++j) {
            for (std::size_t lane = 0; lane < kLanes; ++lane) {
                float re[Radix];
                float im[Radix];
                for (std::size_t q = 0; q < Radix; ++q) {
                    re[q] = from.re[j + stride * (p + blocks * q)][lane];
                    im[q] = from.im[j + stride * (p + blocks * q)][lane];
                }
                small_transform<Radix>(re, im);
                for (std::size_t s = 0; s < Radix; ++s) {
                    to.re[j + stride * (Radix * p + s)][lane] = re[s] * twist[s].re - im[s] * twist[s].im;
                    to.im[j + stride * (Radix * p + s)][lane] = re[s] * twist[s].im + im[s] * twist[s].re;
                }
            }
        }
    }
}

void Spectrum::power(std::size_t first_frame, SpectrumBatch& out) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) load_frame(first_frame + lane, lane);
    pass<5>(work_[0], 1, 40, work_[1]);
    pass<5>(work_[1], 5, 8, work_[0]);
    pass<4>(work_[0], 25, 2, work_[1]);
    pass<2>(work_[1], 100, 1, work_[0]);
    const auto& turns = tables().real_of_half;
    const Sequence& z = work_[0];
    for (std::size_t k = 0; k < kSpectrumBins; ++k) {
        const std::size_t up = k % kHalf;
        const std::size_t down = (kHalf - k) % kHalf;
        const Rotation turn = turns[k];
        for (std::size_t lane = 0; lane < kLanes; ++lane) {
            // the transforms of the even and the odd samples, from that of their complex sum
            const float even_re = 0.5F * (z.re[up][lane] + z.re[down][lane]);
            const float even_im = 0.5F * (z.im[up][lane] - z.im[down][lane]);
            const float odd_re = 0.5F * (z.im[up][lane] + z.im[down][lane]);
            const float odd_im = 0.5F * (z.re[down][lane] - z.re[up][lane]);
            const float re = even_re + odd_re * turn.re - odd_im * turn.im;
            const float im = even_im + odd_re * turn.im + odd_im * turn.re;
            out[k * kLanes + lane] = re * re + im * im;
        }
    }
}

}  // namespace tfserve::speech
