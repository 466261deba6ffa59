#include "speech/log_mel.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <memory>
#include <numbers>
#include <random>
#include <stdexcept>

#include "speech/spectrum.h"
#include "speech_fixtures.h"
#include "testing.h"

using namespace tfserve::speech;

namespace {

std::vector<float> noise(std::size_t size, unsigned seed) {
    std::mt19937 rng(seed);
    std::uniform_real_distribution<float> uniform(-0.5F, 0.5F);
    std::vector<float> samples(size);
    for (float& sample : samples) sample = uniform(rng);
    return samples;
}

/// Power of one bin of one frame, by the definition, in double precision; reflection by walking back and forth.
double naive_power(const std::vector<float>& samples, std::size_t length, std::size_t frame, std::size_t bin) {
    std::complex<double> sum;
    for (int n = 0; n < 400; ++n) {
        int at = 0;
        int direction = 1;
        const int target = static_cast<int>(frame * 160) - 200 + n;
        for (int moves = std::abs(target); moves > 0; --moves) {
            // a walk to the left of the start is the same walk to the right, mirrored
            if (at + direction > static_cast<int>(length) - 1 || at + direction < 0) direction = -direction;
            if (length > 1) at += direction;
        }
        const double sample =
            static_cast<std::size_t>(at) < samples.size() ? static_cast<double>(samples[static_cast<std::size_t>(at)]) : 0;
        const double window = 0.5 - 0.5 * std::cos(2 * std::numbers::pi * n / 400);
        sum += sample * window * std::polar(1.0, -2 * std::numbers::pi * static_cast<double>(bin) * n / 400);
    }
    return std::norm(sum);
}

}  // namespace

TEST(spectrum_is_the_naive_fourier_transform) {
    for (const std::size_t size : {1U, 2U, 90U, 200U, 401U, 2000U, 5003U}) {
        const auto samples = noise(size, static_cast<unsigned>(size));
        for (const std::size_t length : {size, size + 700}) {
            Spectrum spectrum(samples, length);
            auto batch = std::make_unique<SpectrumBatch>();
            for (std::size_t first = 0; first < length / 160 + 1; first += 11) {
                spectrum.power(first, *batch);
                for (std::size_t lane = 0; lane < kLanes && (first + lane) * 160 < length + 160; ++lane) {
                    for (std::size_t bin = 0; bin < kSpectrumBins; bin += first == 0 && lane == 0 ? 1 : 67) {
                        const double expected = naive_power(samples, length, first + lane, bin);
                        CHECK(std::abs(static_cast<double>((*batch)[bin * kLanes + lane]) - expected) <= 1e-4 + 1e-5 * expected);
                    }
                }
            }
        }
    }
}

TEST(log_mel_is_that_of_transformers) {
    const auto samples = tfserve::fixtures::recording("speech-short.wav");
    for (const auto& golden : tfserve::fixtures::speech_goldens().at("mel")) {
        const int mels = golden.at("mels");
        const std::size_t frames = golden.at("frames");
        const auto values = log_mel(samples, mels, frames);
        REQUIRE(values.size() == static_cast<std::size_t>(mels) * frames);
        for (const auto& point : golden.at("points")) {
            const double value = static_cast<double>(values[point[0].get<std::size_t>() * frames + point[1].get<std::size_t>()]);
            CHECK(std::abs(value - point[2].get<double>()) <= 1e-4);
        }
        double sum = 0;
        for (const float value : values) sum += static_cast<double>(value);
        CHECK(std::abs(sum / static_cast<double>(values.size()) - golden.at("mean").get<double>()) <= 1e-5);
    }
}

TEST(log_mel_of_a_tone_is_in_the_band_of_its_frequency) {
    // of 80 bands, the first 40 are 1000 Hz / 40.3 apart: Slaney's scale is linear there
    for (const double hertz : {250.0, 500.0, 750.0}) {
        std::vector<float> samples(16000);
        for (std::size_t i = 0; i < samples.size(); ++i) {
            samples[i] = static_cast<float>(0.5 * std::sin(2 * std::numbers::pi * hertz * static_cast<double>(i) / 16000));
        }
        const auto values = log_mel(samples, 80, 100);
        int best = 0;
        for (int mel = 0; mel < 80; ++mel) {
            const auto at = [&](int row) { return values[static_cast<std::size_t>(row) * 100 + 50]; };
            if (at(mel) > at(best)) best = mel;
        }
        const double mel_step = (15 + std::log(8.0) * 27 / std::log(6.4)) / 81;
        CHECK(std::abs((best + 1) * mel_step * 200 / 3 - hertz) < 40);
    }
}

TEST(log_mel_is_cut_or_filled_with_zeros) {
    const auto samples = noise(4000, 3);
    auto longer = samples;
    longer.resize(50 * 160);
    CHECK_EQ(log_mel(samples, 80, 50), log_mel(longer, 80, 50));
    const std::vector<float> shorter(samples.begin(), samples.begin() + 10 * 160);
    CHECK_EQ(log_mel(samples, 80, 10), log_mel(shorter, 80, 10));
    // the 40 samples behind the last whole frame are heard
    CHECK(log_mel(std::vector<float>(samples.begin(), samples.begin() + 1700), 80, 10) != log_mel(shorter, 80, 10));
}

TEST(log_mel_of_nothing_and_of_anything_is_finite) {
    CHECK(log_mel({}, 80, 0).empty());
    for (const float value : log_mel({}, 80, 20)) CHECK_EQ(value, -1.5F);
    constexpr float kInf = std::numeric_limits<float>::infinity();
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInf, -kInf, 3e38F, -3e38F, 1e25F}) {
        auto samples = noise(3200, 5);
        for (std::size_t i = 1000; i < samples.size(); i += 7) samples[i] = bad;
        for (const float value : log_mel(samples, 128, 20)) CHECK(std::isfinite(value));
    }
    auto silent = noise(3200, 5);
    auto with_nan = silent;
    silent[1500] = 0;
    with_nan[1500] = std::numeric_limits<float>::quiet_NaN();
    CHECK_EQ(log_mel(with_nan, 80, 20), log_mel(silent, 80, 20));
}

TEST(log_mel_refuses_sizes_out_of_range) {
    const auto samples = noise(100, 1);
    CHECK_THROWS(log_mel(samples, 0, 10), std::invalid_argument);
    CHECK_THROWS(log_mel(samples, -1, 10), std::invalid_argument);
    CHECK_THROWS(log_mel(samples, 257, 10), std::invalid_argument);
    CHECK_THROWS(log_mel(samples, 80, kMaxMelValues), std::invalid_argument);
    CHECK_THROWS(log_mel(samples, 80, std::numeric_limits<std::size_t>::max()), std::invalid_argument);
}
