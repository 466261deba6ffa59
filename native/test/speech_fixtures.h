// Recordings and goldens of test/fixtures, for the tests of native/speech.
#pragma once

#include <cstdint>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace tfserve::fixtures {

inline std::string contents(const std::string& name) {
    std::ifstream file(std::string(TFSERVE_FIXTURES "/") + name, std::ios::binary);
    if (!file) throw std::runtime_error("no fixture " + name);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// Samples of a 16-bit mono file with a header of 44 bytes, as those in test/fixtures/audio are.
inline std::vector<float> recording(const std::string& name) {
    const std::string bytes = contents("audio/" + name);
    std::vector<float> samples;
    for (std::size_t i = 44; i + 1 < bytes.size(); i += 2) {
        const auto low = static_cast<std::uint8_t>(bytes[i]);
        const auto high = static_cast<std::uint8_t>(bytes[i + 1]);
        samples.push_back(static_cast<float>(static_cast<std::int16_t>(low | high << 8)) / 32768);
    }
    return samples;
}

/// What the transformers library gives: test/fixtures/README.md.
inline const nlohmann::json& speech_goldens() {
    static const nlohmann::json goldens = nlohmann::json::parse(contents("goldens/speech-parts.json"));
    return goldens;
}

}  // namespace tfserve::fixtures
