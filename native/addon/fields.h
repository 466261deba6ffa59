// Fields of JavaScript objects as checked C++ values. All throw Napi::TypeError or Napi::RangeError naming the field at fault.
#pragma once

#include <napi.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "engine/types.h"

namespace tfserve::addon {

inline constexpr std::uint32_t kMaxList = 1U << 20;

[[noreturn]] inline void wrong(Napi::Env env, const std::string& name, const char* expected) {
    throw Napi::TypeError::New(env, "Expected " + std::string(expected) + " for '" + name + "'.");
}

inline double number(const Napi::Object& from, const char* name, double min, double max) {
    const Napi::Value value = from.Get(name);
    if (!value.IsNumber()) wrong(from.Env(), name, "a number");
    const double result = value.As<Napi::Number>().DoubleValue();
    if (!(result >= min && result <= max)) throw Napi::RangeError::New(from.Env(), "'" + std::string(name) + "' is out of range.");
    return result;
}

inline std::int32_t int32(const Napi::Object& from, const char* name, std::int32_t min = 0,
                          std::int32_t max = std::numeric_limits<std::int32_t>::max()) {
    const double result = number(from, name, min, max);
    if (result != std::floor(result)) wrong(from.Env(), name, "an integer");
    return static_cast<std::int32_t>(result);
}

inline float real(const Napi::Object& from, const char* name) {
    constexpr double kLargest = std::numeric_limits<float>::max();
    return static_cast<float>(number(from, name, -kLargest, kLargest));
}

inline bool boolean(const Napi::Object& from, const char* name) {
    const Napi::Value value = from.Get(name);
    if (!value.IsBoolean()) wrong(from.Env(), name, "a boolean");
    return value.As<Napi::Boolean>().Value();
}

inline std::string text(const Napi::Object& from, const char* name) {
    const Napi::Value value = from.Get(name);
    if (!value.IsString()) wrong(from.Env(), name, "a string");
    return value.As<Napi::String>().Utf8Value();
}

template <class Element>
void each(const Napi::Object& from, const char* name, const Element& element) {
    const Napi::Value value = from.Get(name);
    if (!value.IsArray()) wrong(from.Env(), name, "an array");
    const auto list = value.As<Napi::Array>();
    if (list.Length() > kMaxList) throw Napi::RangeError::New(from.Env(), "'" + std::string(name) + "' has too many entries.");
    for (std::uint32_t i = 0; i < list.Length(); ++i) {
        Napi::HandleScope scope(from.Env());
        element(list.Get(i));
    }
}

inline TokenId token_id(const Napi::Value& value, const char* name) {
    if (!value.IsNumber()) wrong(value.Env(), name, "token ids");
    const double id = value.As<Napi::Number>().DoubleValue();
    if (!(id >= 0 && id <= std::numeric_limits<TokenId>::max()) || id != std::floor(id)) wrong(value.Env(), name, "token ids");
    return static_cast<TokenId>(id);
}

inline std::vector<TokenId> token_ids(const Napi::Object& from, const char* name) {
    std::vector<TokenId> ids;
    each(from, name, [&](const Napi::Value& value) { ids.push_back(token_id(value, name)); });
    return ids;
}

inline std::uint64_t seed_of(const Napi::Object& from) {
    const Napi::Value value = from.Get("seed");
    if (!value.IsBigInt()) wrong(from.Env(), "seed", "a bigint");
    bool lossless = false;
    return value.As<Napi::BigInt>().Uint64Value(&lossless);
}

}  // namespace tfserve::addon
