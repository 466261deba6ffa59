#include "speech/voice_activity.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <random>
#include <stdexcept>

#include "speech/speech_stretches.h"
#include "speech_fixtures.h"
#include "testing.h"

using namespace tfserve::speech;

namespace {

using Samples = std::vector<float>;
using Rng = std::mt19937;

Samples noise(Rng& rng, double seconds, double deviation) {
    std::normal_distribution<double> normal(0, deviation);
    Samples samples(static_cast<std::size_t>(seconds * 16000));
    for (float& sample : samples) sample = static_cast<float>(normal(rng));
    return samples;
}

void add(Samples& to, const Samples& from) {
    for (std::size_t i = 0; i < std::min(to.size(), from.size()); ++i) to[i] += from[i];
}

/// Something like a sentence: a gliding pitch with 25 harmonics under two moving formants, five syllables a second.
void add_sentence(Samples& to, double start, double end) {
    double phase = 0;
    for (auto i = static_cast<std::size_t>(start * 16000); i < static_cast<std::size_t>(end * 16000); ++i) {
        const double t = static_cast<double>(i) / 16000 - start;
        const double pitch = 130 + 30 * std::sin(2 * std::numbers::pi * 0.7 * t);
        phase += 2 * std::numbers::pi * pitch / 16000;
        const double syllable = 0.15 + 0.85 * std::pow(std::sin(std::numbers::pi * 5 * t), 2);
        double sample = 0;
        for (int harmonic = 1; harmonic <= 25; ++harmonic) {
            const double hertz = harmonic * pitch;
            const double first = (hertz - 500 - 250 * std::sin(9 * t)) / 150;
            const double second = (hertz - 1600 - 600 * std::sin(7 * t)) / 250;
            sample += std::sin(harmonic * phase) * (0.02 + std::exp(-first * first) + 0.5 * std::exp(-second * second));
        }
        to[i] += static_cast<float>(0.05 * syllable * sample);
    }
}

double level(const Samples& samples) {
    double sum = 0;
    for (const float sample : samples) sum += std::pow(static_cast<double>(sample), 2);
    return std::sqrt(sum / static_cast<double>(samples.size()));
}

SpeechStretchOptions bare() {
    SpeechStretchOptions options;
    options.prefix_padding = 0;
    return options;
}

/// Frames of given probabilities: 0.9 where the text has an S, 0.4 at an s, 0.01 elsewhere; loudness is that of a pause at a dot.
VoiceActivity drawn(const std::string& text) {
    VoiceActivity activity;
    for (const char c : text) {
        activity.probability.push_back(c == 'S' ? 0.9F : c == 's' ? 0.4F : 0.01F);
        activity.loudness.push_back(c == '.' ? 0.1F : 1.0F);
    }
    return activity;
}

std::vector<int> frames_of(const std::string& text, const SpeechStretchOptions& options) {
    std::vector<int> borders;
    for (const auto& stretch : speech_stretches(drawn(text), static_cast<double>(text.size()) / 100, options)) {
        borders.push_back(static_cast<int>(std::lround(stretch.start * 100)));
        borders.push_back(static_cast<int>(std::lround(stretch.end * 100)));
    }
    return borders;
}

}  // namespace

TEST(voice_activity_finds_sentences_and_pauses_in_noise) {
    Rng rng(1);
    const std::vector<SpeechStretch> spoken = {{1, 3.2}, {3.7, 6}, {9, 10.1}, {11, 13.5}};
    Samples clean(15 * 16000);
    for (const auto& sentence : spoken) add_sentence(clean, sentence.start, sentence.end);
    for (const double decibels : {60.0, 20.0, 10.0, 5.0}) {
        Samples noisy = clean;
        add(noisy, noise(rng, 15, level(clean) * std::pow(10, -decibels / 20)));
        const auto found = speech_stretches(noisy, bare());
        REQUIRE(found.size() == spoken.size());
        for (std::size_t i = 0; i < spoken.size(); ++i) {
            CHECK(std::abs(found[i].start - spoken[i].start) < 0.15);
            CHECK(std::abs(found[i].end - spoken[i].end) < 0.25);
        }
    }
}

TEST(voice_activity_of_recordings) {
    Rng rng(2);
    for (const auto& [name, start, end] : {std::tuple{"speech-short.wav", 0.20, 3.14}, std::tuple{"speech-other.wav", 0.10, 2.48}}) {
        const Samples clean = tfserve::fixtures::recording(name);
        Samples noisy = clean;
        add(noisy, noise(rng, static_cast<double>(clean.size()) / 16000, level(clean) * std::pow(10, -0.5)));
        for (const Samples& samples : {clean, noisy}) {
            const auto found = speech_stretches(samples, bare());
            REQUIRE(!found.empty());
            CHECK(std::abs(found.front().start - start) < 0.1);
            CHECK(std::abs(found.back().end - end) < 0.1);
        }
    }
    CHECK(speech_stretches(tfserve::fixtures::recording("silence.wav"), {}).empty());
    CHECK(speech_stretches(tfserve::fixtures::recording("tone.wav"), {}).empty());
}

TEST(voice_activity_finds_nothing_in_noise) {
    Rng rng(3);
    for (int round = 0; round < 60; ++round) {
        Samples samples = noise(rng, 0.1 + 0.1 * round, std::pow(10, -round % 5 - 0.5));
        CHECK(speech_stretches(samples, {}).empty());
        float low = 0;
        for (float& sample : samples) {
            low = 0.97F * low + sample;
            sample = 0.2F * low;
        }
        if (round > 5) CHECK(speech_stretches(samples, {}).empty());
    }
    // noise that begins, and ends
    Samples fan(6 * 16000);
    add(fan, noise(rng, 6, 1e-4));
    const Samples loud = noise(rng, 3, 0.05);
    for (std::size_t i = 0; i < loud.size(); ++i) fan[i + 20000] += loud[i];
    CHECK(speech_stretches(fan, {}).empty());
}

TEST(voice_activity_has_a_probability_for_each_frame) {
    Rng rng(4);
    constexpr float kInf = std::numeric_limits<float>::infinity();
    for (const std::size_t size : {0U, 1U, 159U, 160U, 161U, 1600U, 1700U, 40000U}) {
        for (const float wild : {0.0F, kInf, std::numeric_limits<float>::quiet_NaN(), 3e38F, -3e38F, 1e-38F}) {
            Samples samples = noise(rng, 3, 0.1);
            samples.resize(size);
            for (std::size_t i = 7; i < size; i += 300) samples[i] = wild;
            const VoiceActivity activity = voice_activity(samples);
            CHECK_EQ(activity.probability.size(), (size + 159) / 160);
            CHECK_EQ(activity.loudness.size(), (size + 159) / 160);
            for (const float probability : activity.probability) CHECK(probability >= 0 && probability <= 1);
            for (const float loudness : activity.loudness) CHECK(std::isfinite(loudness) && loudness >= 0);
            for (const auto& stretch : speech_stretches(samples, {})) CHECK(stretch.end <= static_cast<double>(size) / 16000);
        }
    }
}

TEST(speech_posteriors_are_those_of_all_ways_through_the_chain) {
    Rng rng(5);
    std::uniform_real_distribution<float> uniform(-3, 3);
    for (int round = 0; round < 30; ++round) {
        std::vector<float> evidence(static_cast<std::size_t>(1 + round % 10));
        for (float& value : evidence) value = uniform(rng);
        const double change = 0.01 + 0.04 * (round % 12);
        std::vector<double> weight_of_speech(evidence.size());
        double weight_of_all = 0;
        for (unsigned way = 0; way < 1U << evidence.size(); ++way) {
            std::vector<bool> speech;
            for (std::size_t t = 0; t < evidence.size(); ++t) speech.push_back((way >> t) % 2 == 1);
            double weight = 1;
            for (std::size_t t = 0; t < evidence.size(); ++t) {
                if (speech[t]) weight *= std::exp(static_cast<double>(evidence[t]));
                if (t > 0) weight *= speech[t] == speech[t - 1] ? 1 - change : change;
            }
            weight_of_all += weight;
            for (std::size_t t = 0; t < evidence.size(); ++t) weight_of_speech[t] += speech[t] ? weight : 0;
        }
        const auto posteriors = speech_posteriors(evidence, static_cast<float>(change));
        for (std::size_t t = 0; t < evidence.size(); ++t) {
            CHECK(std::abs(static_cast<double>(posteriors[t]) - weight_of_speech[t] / weight_of_all) < 1e-5);
        }
    }
    for (const float extreme : {-80.0F, 80.0F}) {
        for (const float value : speech_posteriors(std::vector<float>(50, extreme), 0.01F)) {
            CHECK(extreme > 0 ? value > 0.99F : value >= 0 && value < 0.01F);
        }
    }
}

TEST(speech_stretches_of_probabilities) {
    using Frames = std::vector<int>;
    SpeechStretchOptions options = bare();
    options.silence_duration = 0.04;
    // a shorter pause is filled; half of the silence is kept after speech, as far as the recording goes
    CHECK_EQ(frames_of("..........SSSSSSSSSS...SSSSSSSSSS....SSSSSSSSSS.", options), (Frames{10, 35, 37, 48}));
    options.silence_duration = 0;
    CHECK_EQ(frames_of("..........SSSSSSSSSS...SSSSSSSSSS....SSSSSSSSSS.", options), (Frames{10, 20, 23, 33, 37, 47}));
    // probabilities a little below the threshold go on with speech, but do not begin it; sounds of 50 ms are none
    CHECK_EQ(frames_of("..ssssSSSSSSssss.ssssssssss..SSSSS...SSSSSS..", options), (Frames{6, 16, 37, 43}));
    options.threshold = 0.95;
    CHECK_EQ(frames_of("..SSSSSSSSSSSSSSSSSSSSSSSSS..", options), Frames{});
    options.threshold = 0.3;
    CHECK_EQ(frames_of("..ssssssssssssssssssSSSSSSS..", options), (Frames{2, 27}));
    options = bare();
    options.prefix_padding = 0.05;
    options.silence_duration = 0.04;
    // padding takes nothing from before the recording nor from the stretch before
    CHECK_EQ(frames_of("..SSSSSSSSSS....SSSSSSSSSS........SSSSSSSSSS.....", options), (Frames{0, 14, 14, 28, 29, 46}));
    CHECK_EQ(frames_of("", options), Frames{});
}

TEST(speech_stretches_are_cut_where_it_is_quiet) {
    SpeechStretchOptions options = bare();
    options.max_stretch = 1;
    VoiceActivity activity;
    activity.probability.assign(250, 0.9F);
    activity.loudness.assign(250, 1.0F);
    std::fill_n(activity.loudness.begin() + 20, 10, 0.0F);   // in the first half: no place to cut
    std::fill_n(activity.loudness.begin() + 70, 10, 0.01F);  // its middle is at 0.75
    std::fill_n(activity.loudness.begin() + 160, 10, 0.01F);
    const auto found = speech_stretches(activity, 2.5, options);
    REQUIRE(found.size() == 3);
    CHECK(std::abs(found[0].end - 0.75) < 1e-9);
    CHECK(std::abs(found[1].start - 0.75) < 1e-9);
    CHECK(std::abs(found[1].end - 1.65) < 1e-9);
    CHECK(std::abs(found[2].end - 2.5) < 1e-9);
}

TEST(speech_stretches_cover_all_speech_and_keep_their_bounds) {
    Rng rng(6);
    const auto uniform = [&](double low, double high) { return std::uniform_real_distribution<double>(low, high)(rng); };
    for (int round = 0; round < 500; ++round) {
        const auto frames = static_cast<std::size_t>(uniform(0, 1500));
        VoiceActivity activity;
        float probability = 0.5F;
        for (std::size_t t = 0; t < frames; ++t) {
            probability = std::clamp(probability + static_cast<float>(uniform(-0.2, 0.2)), 0.0F, 1.0F);
            activity.probability.push_back(probability);
            activity.loudness.push_back(static_cast<float>(uniform(0, 1)));
        }
        const double seconds = std::max(0.0, static_cast<double>(frames) / 100 - uniform(0, 0.0099));
        SpeechStretchOptions options{uniform(0, 1), uniform(0, 1), uniform(0, 0.5), round % 2 == 0 ? 0 : uniform(1, 4)};
        const auto found = speech_stretches(activity, seconds, options);
        double before = 0;
        for (const auto& stretch : found) {
            CHECK(stretch.start >= before && stretch.end > stretch.start && stretch.end <= seconds);
            if (options.max_stretch > 0) CHECK(stretch.end - stretch.start <= options.max_stretch);
            before = stretch.end;
        }
        std::size_t run = 0;
        for (std::size_t t = 0; t < frames; ++t) {
            run = static_cast<double>(activity.probability[t]) >= options.threshold ? run + 1 : 0;
            const double middle = (static_cast<double>(t) + 0.5) / 100;
            if (run < 6 || middle >= seconds) continue;
            CHECK(std::any_of(found.begin(), found.end(), [&](const auto& s) { return s.start <= middle && middle <= s.end; }));
        }
    }
}

TEST(speech_stretches_refuse_options_out_of_range) {
    constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
    const Samples samples(1600);
    for (const SpeechStretchOptions& options : std::vector<SpeechStretchOptions>{{-0.1, 0, 0, 0},
                                                                                 {1.1, 0, 0, 0},
                                                                                 {kNan, 0, 0, 0},
                                                                                 {0.5, -1, 0, 0},
                                                                                 {0.5, 31, 0, 0},
                                                                                 {0.5, kNan, 0, 0},
                                                                                 {0.5, 0, -1, 0},
                                                                                 {0.5, 0, 31, 0},
                                                                                 {0.5, 0, kNan, 0},
                                                                                 {0.5, 0, 0, 0.5},
                                                                                 {0.5, 0, 0, -1},
                                                                                 {0.5, 0, 0, 1e9},
                                                                                 {0.5, 0, 0, kNan}}) {
        CHECK_THROWS(check(options), std::invalid_argument);
        CHECK_THROWS(speech_stretches(samples, options), std::invalid_argument);
    }
}
