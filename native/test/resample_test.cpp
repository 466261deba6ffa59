#include "speech/resample.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <random>
#include <stdexcept>

#include "testing.h"

using namespace tfserve::speech;

namespace {

constexpr int kRates[] = {8000,  8001,  11025, 12000, 7919,  15999, 16000, 16001,  22050,
                          24000, 32000, 44100, 44056, 48000, 88200, 96000, 176400, 192000};

std::vector<float> tone(double hertz, int rate, std::size_t size, double phase = 0.3) {
    std::vector<float> samples(size);
    for (std::size_t i = 0; i < size; ++i) {
        samples[i] = static_cast<float>(0.5 * std::sin(2 * std::numbers::pi * hertz * static_cast<double>(i) / rate + phase));
    }
    return samples;
}

std::vector<float> noise(std::size_t size, unsigned seed) {
    std::mt19937 rng(seed);
    std::uniform_real_distribution<float> uniform(-0.7F, 0.7F);
    std::vector<float> samples(size);
    for (float& sample : samples) sample = uniform(rng);
    return samples;
}

/// Energy of b - a over that of a full-scale sine of 0.5, in dB, without the ends where the kernel sees the silence outside.
double error_db(const std::vector<float>& a, const std::vector<float>& b, std::size_t skip) {
    double sum = 0;
    std::size_t count = 0;
    for (std::size_t i = skip; i + skip < std::min(a.size(), b.size()); ++i, ++count) {
        sum += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    }
    return 10 * std::log10(sum / static_cast<double>(count) / 0.125 + 1e-20);
}

/// Output samples at each end that the kernel's reach touches.
std::size_t ends(int rate) { return static_cast<std::size_t>(80.0 * 16000 / std::min(rate, 16000)) + 2; }

/// The mean of exp(x cos(angle)) over all angles.
double bessel_i0(double x) {
    double sum = 0;
    for (int i = 0; i < 64; ++i) sum += std::exp(x * std::cos(2 * std::numbers::pi * i / 64)) / 64;
    return sum;
}

/// The definition, in double precision: each output is the sum over all input samples of the kernel at their distance, for which the
/// kernel is that of resample.h's words, and as in there made to leave a constant as it is.
double naive_output(const std::vector<float>& samples, int rate, std::size_t index) {
    const double scale = std::min(1.0, 16000.0 / rate);
    const double reach = std::ceil(74 / scale);
    const double at = static_cast<double>(index) * rate / 16000;
    double sum = 0;
    double gain = 0;
    for (long n = static_cast<long>(std::floor(at - reach)); n <= static_cast<long>(std::ceil(at + reach)); ++n) {
        const double distance = at - static_cast<double>(n);
        if (std::abs(distance) >= reach) continue;
        const double x = std::numbers::pi * 0.956 * scale * distance;
        const double kernel = (x == 0 ? 1 : std::sin(x) / x) * bessel_i0(10.06126 * std::sqrt(1 - std::pow(distance / reach, 2)));
        gain += kernel;
        if (n >= 0 && static_cast<std::size_t>(n) < samples.size())
            sum += kernel * static_cast<double>(samples[static_cast<std::size_t>(n)]);
    }
    return sum / gain;
}

}  // namespace

TEST(resampled_sines_are_the_analytic_ones) {
    for (const int rate : kRates) {
        const double nyquist = std::min(rate, 16000) / 2.0;
        for (const double part : {0.01, 0.1, 0.5, 0.9}) {
            const auto out = resample(tone(part * nyquist, rate, static_cast<std::size_t>(rate / 2)), rate);
            REQUIRE(out.size() >= 7990);
            CHECK(error_db(tone(part * nyquist, 16000, out.size()), out, ends(rate)) < -85);
        }
    }
}

TEST(resampling_lets_nothing_fold_back) {
    for (const int rate : kRates) {
        if (rate <= 16000) continue;
        for (const double hertz : {8005.0, 8500.0, 11000.0, 15000.0, 20000.0, 40000.0, 90000.0}) {
            if (hertz >= rate / 2.0) continue;
            const auto out = resample(tone(hertz, rate, static_cast<std::size_t>(rate / 4)), rate);
            CHECK(error_db(std::vector<float>(out.size()), out, ends(rate)) < -90);
        }
    }
}

TEST(resampling_adds_no_images) {
    // a tone of 3 kHz at 8 kHz has its first image at 5 kHz: what comes out is the tone and nothing else
    for (const int rate : {8000, 7919, 11025}) {
        const auto out = resample(tone(3000, rate, static_cast<std::size_t>(rate)), rate);
        CHECK(error_db(tone(3000, 16000, out.size()), out, ends(rate)) < -85);
    }
}

TEST(resampling_keeps_a_constant) {
    for (const int rate : kRates) {
        const auto out = resample(std::vector<float>(static_cast<std::size_t>(rate / 3), 0.25F), rate);
        for (std::size_t i = ends(rate); i + ends(rate) < out.size(); ++i) CHECK(std::abs(out[i] - 0.25F) < 2e-6F);
    }
}

TEST(resampling_is_the_naive_sum) {
    for (const int rate : {7919, 8000, 11025, 44100, 48000, 96001}) {
        const auto samples = noise(static_cast<std::size_t>(rate / 20), static_cast<unsigned>(rate));
        const auto out = resample(samples, rate);
        for (std::size_t i = 0; i < out.size(); i += 1 + i % 5) {
            CHECK(std::abs(static_cast<double>(out[i]) - naive_output(samples, rate, i)) < 3e-6);
        }
    }
}

TEST(resampling_in_chunks_is_resampling_at_once) {
    std::mt19937 rng(9);
    for (const int rate : {1, 50, 7919, 8000, 16000, 16001, 44100, 192000, 767999, 768000}) {
        const auto samples = noise(rate < 100 ? 7 : 30000, static_cast<unsigned>(rate));
        const auto whole = resample(samples, rate);
        CHECK_EQ(whole.size(), (samples.size() * 16000 + static_cast<std::size_t>(rate) - 1) / static_cast<std::size_t>(rate));
        Resampler resampler(rate);
        std::vector<float> out;
        for (std::size_t at = 0; at < samples.size();) {
            const std::size_t size =
                std::min(samples.size() - at, std::uniform_int_distribution<std::size_t>(0, rng() % 2 == 0 ? 3 : 5000)(rng));
            resampler.push(std::span(samples).subspan(at, size), out);
            at += size;
        }
        resampler.finish(out);
        CHECK(out == whole);
        resampler.finish(out);
        CHECK_EQ(out.size(), whole.size());
        CHECK_THROWS(resampler.push(samples, out), std::logic_error);
    }
}

TEST(resampled_lengths) {
    for (const int rate : {1, 7919, 16000, 44100, 767999, 768000}) {
        for (const std::size_t size : {0U, 1U, 2U, 47U, 48U, 49U}) {
            const std::size_t expected = (size * 16000 + static_cast<std::size_t>(rate) - 1) / static_cast<std::size_t>(rate);
            CHECK_EQ(resampled_length(size, rate), expected);
            CHECK_EQ(resample(std::vector<float>(size, 0.1F), rate).size(), expected);
        }
    }
    CHECK_EQ(resampled_length(kMaxResampled, 16000), kMaxResampled);
    CHECK_THROWS(resampled_length(kMaxResampled + 1, 16000), std::length_error);
    CHECK_THROWS(resampled_length(kMaxResampled, 1), std::length_error);
    CHECK_THROWS(resampled_length(std::numeric_limits<std::size_t>::max(), 768000), std::length_error);
    for (const int rate : {std::numeric_limits<int>::min(), -16000, 0, 768001, std::numeric_limits<int>::max()}) {
        CHECK_THROWS(resampled_length(1, rate), std::invalid_argument);
        CHECK_THROWS(Resampler(rate), std::invalid_argument);
    }
    Resampler slow(1);
    std::vector<float> out;
    CHECK_THROWS(slow.push(std::vector<float>(20000), out), std::length_error);
    CHECK(out.empty());
}

TEST(resampling_passes_over_samples_that_are_not_finite) {
    constexpr float kInf = std::numeric_limits<float>::infinity();
    for (const int rate : {16000, 44100}) {
        auto samples = noise(2000, 4);
        auto zeros = samples;
        for (std::size_t i = 5; i < samples.size(); i += 50) {
            zeros[i] = 0;
            samples[i] = i % 3 == 0 ? std::numeric_limits<float>::quiet_NaN() : i % 3 == 1 ? kInf : -kInf;
        }
        CHECK(resample(samples, rate) == resample(zeros, rate));
    }
}
