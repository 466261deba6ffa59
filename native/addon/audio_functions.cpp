#include "addon/audio_functions.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "addon/promise_worker.h"
#include "speech/log_mel.h"
#include "speech/resample.h"
#include "speech/speech_stretches.h"

namespace tfserve::addon {

namespace {

/// A copy: JavaScript may change or give away its memory while a thread reads.
std::vector<float> samples_of(const Napi::CallbackInfo& info) {
    const Napi::Value value = info[0];
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array) {
        throw Napi::TypeError::New(info.Env(), "Expected samples as a Float32Array.");
    }
    const auto array = value.As<Napi::Float32Array>();
    return {array.Data(), array.Data() + array.ElementLength()};
}

std::size_t whole_number(const Napi::CallbackInfo& info, const Napi::Value& value, const char* name, std::size_t min, std::size_t max) {
    if (!value.IsNumber()) throw Napi::TypeError::New(info.Env(), "Expected a number for '" + std::string(name) + "'.");
    const double number = value.As<Napi::Number>().DoubleValue();
    if (!(number >= static_cast<double>(min) && number <= static_cast<double>(max)) || number != std::floor(number)) {
        throw Napi::RangeError::New(info.Env(), "'" + std::string(name) + "' is out of range.");
    }
    return static_cast<std::size_t>(number);
}

int sample_rate(const Napi::CallbackInfo& info, const Napi::Value& value) {
    return static_cast<int>(whole_number(info, value, "rate", 1, speech::kMaxSampleRate));
}

Napi::Value to_js(Napi::Env env, const std::vector<float>& values) {
    auto array = Napi::Float32Array::New(env, values.size());
    std::copy(values.begin(), values.end(), array.Data());
    return array;
}

class ResamplerObject : public Napi::ObjectWrap<ResamplerObject> {
   public:
    static Napi::Function define(Napi::Env env) {
        return DefineClass(env, "Resampler",
                           {InstanceMethod("push", &ResamplerObject::push), InstanceMethod("finish", &ResamplerObject::finish)});
    }
    explicit ResamplerObject(const Napi::CallbackInfo& info) : ObjectWrap(info), resampler_(sample_rate(info, info[0])) {}

   private:
    Napi::Value push(const Napi::CallbackInfo& info) {
        std::vector<float> out;
        try {
            resampler_.push(samples_of(info), out);
        } catch (const std::length_error& error) {
            throw Napi::RangeError::New(info.Env(), error.what());
        }
        return to_js(info.Env(), out);
    }
    Napi::Value finish(const Napi::CallbackInfo& info) {
        std::vector<float> out;
        resampler_.finish(out);
        return to_js(info.Env(), out);
    }

    speech::Resampler resampler_;
};

Napi::Value resample(const Napi::CallbackInfo& info) {
    const int rate = sample_rate(info, info[1]);
    auto samples = samples_of(info);
    try {
        static_cast<void>(speech::resampled_length(samples.size(), rate));
    } catch (const std::length_error& error) {
        throw Napi::RangeError::New(info.Env(), error.what());
    }
    return PromiseWorker<std::vector<float>>::run(
        info.Env(), [samples = std::move(samples), rate] { return speech::resample(samples, rate); },
        [](Napi::Env env, std::vector<float>& values) { return to_js(env, values); });
}

Napi::Value log_mel(const Napi::CallbackInfo& info) {
    const std::size_t n_mels = whole_number(info, info[1], "nMels", 1, 256);
    const std::size_t frames = whole_number(info, info[2], "frames", 0, speech::kMaxMelValues / n_mels);
    return PromiseWorker<std::vector<float>>::run(
        info.Env(), [samples = samples_of(info), n_mels, frames] { return speech::log_mel(samples, static_cast<int>(n_mels), frames); },
        [](Napi::Env env, std::vector<float>& values) { return to_js(env, values); });
}

double seconds_or_share(const Napi::Object& from, const char* name) {
    const Napi::Value value = from.Get(name);
    if (!value.IsNumber()) throw Napi::TypeError::New(from.Env(), "Expected a number for '" + std::string(name) + "'.");
    return value.As<Napi::Number>().DoubleValue();
}

Napi::Value speech_stretches(const Napi::CallbackInfo& info) {
    if (!info[1].IsObject()) throw Napi::TypeError::New(info.Env(), "Expected speechStretches(samples, options).");
    const auto from = info[1].As<Napi::Object>();
    const speech::SpeechStretchOptions options{seconds_or_share(from, "threshold"), seconds_or_share(from, "prefixPadding"),
                                               seconds_or_share(from, "silenceDuration"), seconds_or_share(from, "maxStretch")};
    try {
        speech::check(options);
    } catch (const std::invalid_argument& error) {
        throw Napi::RangeError::New(info.Env(), error.what());
    }
    using Stretches = std::vector<speech::SpeechStretch>;
    return PromiseWorker<Stretches>::run(
        info.Env(), [samples = samples_of(info), options] { return speech::speech_stretches(samples, options); },
        [](Napi::Env env, Stretches& stretches) -> Napi::Value {
            auto array = Napi::Float64Array::New(env, 2 * stretches.size());
            for (std::size_t i = 0; i < stretches.size(); ++i) {
                array[2 * i] = stretches[i].start;
                array[2 * i + 1] = stretches[i].end;
            }
            return array;
        });
}

}  // namespace

void export_audio_functions(Napi::Env env, Napi::Object exports) {
    exports.Set("Resampler", ResamplerObject::define(env));
    exports.Set("resample", Napi::Function::New<resample>(env));
    exports.Set("logMel", Napi::Function::New<log_mel>(env));
    exports.Set("speechStretches", Napi::Function::New<speech_stretches>(env));
}

}  // namespace tfserve::addon
