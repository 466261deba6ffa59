// Typed, checked access to the objects of a config.json. For the files that read it only.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "loader/json_file.h"
#include "loader/load_error.h"

namespace tfserve::hf {

using Json = nlohmann::json;

inline constexpr const char* kConfigFile = "config.json";
inline constexpr std::int64_t kMaxWidth = 1 << 20;  // hidden, feed-forward and projection widths
inline constexpr std::int64_t kMaxVocabulary = 1 << 24;
inline constexpr std::int64_t kMaxContext = 1 << 28;
inline constexpr std::int64_t kMaxLayers = 512;  // what llama.cpp's fixed arrays hold
inline constexpr std::int64_t kMaxHeads = 4096;

[[noreturn]] inline void invalid(const std::string& what) {
    throw LoadError(LoadError::Kind::invalid, std::string(kConfigFile) + ": " + what + ".");
}
[[noreturn]] inline void unsupported(const std::string& what) {
    throw LoadError(LoadError::Kind::unsupported, std::string(kConfigFile) + ": " + what + ".");
}

/// Typed access to one object of the file; null counts as absent, unless is_null() is asked.
class Fields {
   public:
    Fields(const Json& object, std::string prefix) : object_(object), prefix_(std::move(prefix)) {
        if (!object.is_object()) invalid((prefix_.empty() ? "the file" : prefix_.substr(0, prefix_.size() - 1)) + " is not an object");
    }

    const Json* find(const char* key) const {
        const auto it = object_.find(key);
        return it == object_.end() || it->is_null() ? nullptr : &*it;
    }

    bool is_null(const char* key) const {
        const auto it = object_.find(key);
        return it != object_.end() && it->is_null();
    }

    bool has_nested_object() const {
        return std::any_of(object_.begin(), object_.end(), [](const Json& value) { return value.is_object(); });
    }

    std::int32_t integer(const char* key, std::int64_t low, std::int64_t high, std::optional<std::int64_t> fallback = {}) const {
        const Json* value = find(key);
        if (value == nullptr) {
            if (!fallback) invalid(prefix_ + key + " is missing");
            return static_cast<std::int32_t>(*fallback);
        }
        return checked_integer(*value, prefix_ + key, low, high);
    }

    /// The same, with 0 for "has to be there".
    std::int32_t integer_or(const char* key, std::int64_t low, std::int64_t high, std::int64_t fallback) const {
        return fallback == 0 ? integer(key, low, high) : integer(key, low, high, fallback);
    }

    double number(const char* key, double low, double high, std::optional<double> fallback = {}) const {
        const Json* value = find(key);
        if (value == nullptr) {
            if (!fallback) invalid(prefix_ + key + " is missing");
            return *fallback;
        }
        const double x = value->is_number() ? value->get<double>() : std::numeric_limits<double>::quiet_NaN();
        if (!(x >= low && x <= high)) invalid(prefix_ + key + " is not a number between " + short_text(low) + " and " + short_text(high));
        return x;
    }

    /// The numbers of a list that has to be there.
    std::vector<double> numbers(const char* key, double low, double high) const {
        const Json* value = find(key);
        if (value == nullptr || !value->is_array()) invalid(prefix_ + key + " is not a list of numbers");
        std::vector<double> list;
        for (const Json& entry : *value) {
            const double x = entry.is_number() ? entry.get<double>() : std::numeric_limits<double>::quiet_NaN();
            if (!(x >= low && x <= high)) invalid(prefix_ + key + " has an entry that is not a number in range");
            list.push_back(x);
        }
        return list;
    }

    bool boolean(const char* key, bool fallback) const {
        const Json* value = find(key);
        if (value == nullptr) return fallback;
        if (!value->is_boolean()) invalid(prefix_ + key + " is neither true nor false");
        return value->get<bool>();
    }

    std::string text(const char* key, const std::string& fallback) const {
        const Json* value = find(key);
        if (value == nullptr) return fallback;
        if (!value->is_string()) invalid(prefix_ + key + " is not text");
        return value->get<std::string>();
    }

    static std::int32_t checked_integer(const Json& value, const std::string& name, std::int64_t low, std::int64_t high) {
        // 4096.0 is written by some tools and is a whole number all the same
        const double x = value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
        if (!(x >= static_cast<double>(low) && x <= static_cast<double>(high)) || x != std::floor(x)) {
            invalid(name + " is not a whole number between " + std::to_string(low) + " and " + std::to_string(high));
        }
        return static_cast<std::int32_t>(x);
    }

   private:
    static std::string short_text(double x) {
        std::string out(32, '\0');
        out.resize(static_cast<std::size_t>(std::snprintf(out.data(), out.size(), "%g", x)));
        return out;
    }

    const Json& object_;
    std::string prefix_;
};

}  // namespace tfserve::hf
