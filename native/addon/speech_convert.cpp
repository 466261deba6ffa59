#include "addon/speech_convert.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "addon/fields.h"

namespace tfserve::addon {

namespace {

using speech::SpeechFinish;

constexpr double kLargestSize = 9007199254740991.0;
constexpr std::int32_t kLargestInt = std::numeric_limits<std::int32_t>::max();

std::vector<TokenId> ids_of(const Napi::Object& from, const char* name) {
    const Napi::Value value = from.Get(name);
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) {
        wrong(from.Env(), name, "an Int32Array");
    }
    const auto array = value.As<Napi::Int32Array>();
    return {array.Data(), array.Data() + array.ElementLength()};
}

speech::WeightDType dtype_of(const Napi::Object& from) {
    const std::string name = text(from, "dtype");
    if (name == "auto") return speech::WeightDType::as_stored;
    if (name == "bfloat16") return speech::WeightDType::bfloat16;
    if (name == "float16") return speech::WeightDType::float16;
    if (name == "float32") return speech::WeightDType::float32;
    throw Napi::RangeError::New(from.Env(), "Expected auto, bfloat16, float16 or float32 for 'dtype'.");
}

const char* name_of(SpeechFinish finish) {
    switch (finish) {
        case SpeechFinish::done: return "done";
        case SpeechFinish::eos: return "eos";
        case SpeechFinish::length: return "length";
        case SpeechFinish::aborted: return "aborted";
        case SpeechFinish::error: return "error";
        case SpeechFinish::none: break;
    }
    return "";
}

Napi::Object to_js(Napi::Env env, const speech::ChosenToken& token) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("id", token.id);
    object.Set("logprob", token.logprob);
    Napi::Array top = Napi::Array::New(env, token.top.size());
    for (std::uint32_t i = 0; i < token.top.size(); ++i) {
        Napi::Object entry = Napi::Object::New(env);
        entry.Set("id", token.top[i].id);
        entry.Set("logprob", token.top[i].logprob);
        top.Set(i, entry);
    }
    object.Set("top", top);
    return object;
}

/// All tokens' bytes one after the other, and where each begins; the last entry is the end.
Napi::Object to_js(Napi::Env env, const speech::GgmlVocabulary& vocabulary) {
    std::size_t size = 0;
    for (const std::string& token : vocabulary.tokens) size += token.size();
    Napi::Uint8Array bytes = Napi::Uint8Array::New(env, size);
    Napi::Float64Array offsets = Napi::Float64Array::New(env, vocabulary.tokens.size() + 1);
    std::size_t at = 0;
    for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
        offsets[i] = static_cast<double>(at);
        std::memcpy(bytes.Data() + at, vocabulary.tokens[i].data(), vocabulary.tokens[i].size());
        at += vocabulary.tokens[i].size();
    }
    offsets[vocabulary.tokens.size()] = static_cast<double>(at);
    Napi::Object object = Napi::Object::New(env);
    object.Set("tokenBytes", bytes);
    object.Set("tokenOffsets", offsets);
    return object;
}

}  // namespace

std::int64_t to_id(const Napi::Value& value, const char* name) {
    const double id = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
    if (!(id >= 0 && id <= kLargestSize) || id != std::floor(id)) wrong(value.Env(), name, "a whole number");
    return static_cast<std::int64_t>(id);
}

speech::WhisperModelOptions to_speech_options(const Napi::Object& from) {
    speech::WhisperModelOptions options;
    options.path = text(from, "path");
    options.dtype = dtype_of(from);
    options.threads = int32(from, "threads");
    options.max_slots = int32(from, "maxSlots", 1, 1024);
    options.slot_memory = static_cast<std::uint64_t>(number(from, "slotMemory", 0, kLargestSize));
    return options;
}

speech::EncodeOp to_encode(const Napi::Value& mel) {
    if (!mel.IsTypedArray() || mel.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array) wrong(mel.Env(), "mel", "a Float32Array");
    const auto array = mel.As<Napi::Float32Array>();
    return {{array.Data(), array.Data() + array.ElementLength()}};
}

speech::DecodeOp to_decode(const Napi::Object& from) {
    speech::DecodeOp op;
    op.prompt = ids_of(from, "prompt");
    op.max_new_tokens = int32(from, "maxNewTokens", 1);
    op.rules.eos = int32(from, "eos");
    op.rules.suppress = ids_of(from, "suppress");
    op.rules.begin_suppress = ids_of(from, "beginSuppress");
    if (const Napi::Value value = from.Get("timestamps"); !value.IsUndefined()) {
        if (!value.IsObject()) wrong(from.Env(), "timestamps", "an object");
        const auto rules = value.As<Napi::Object>();
        speech::TimestampRules timestamps;
        timestamps.begin = int32(rules, "begin");
        timestamps.no_timestamps = int32(rules, "noTimestamps");
        if (!rules.Get("maxInitialIndex").IsUndefined()) timestamps.max_initial_index = int32(rules, "maxInitialIndex");
        op.rules.timestamps = timestamps;
    }
    op.choice.temperature = static_cast<float>(number(from, "temperature", 0, 100));
    op.choice.seed = seed_of(from);
    op.choice.top_logprobs = int32(from, "topLogprobs", 0, speech::kMaxSpeechTopLogprobs);
    if (const Napi::Value value = from.Get("noSpeech"); !value.IsUndefined()) {
        if (!value.IsObject()) wrong(from.Env(), "noSpeech", "an object");
        op.no_speech = speech::NoSpeech{int32(value.As<Napi::Object>(), "token"), int32(value.As<Napi::Object>(), "position")};
    }
    return op;
}

speech::ScoreOp to_score(const Napi::Object& from) { return {ids_of(from, "tokens"), ids_of(from, "ids")}; }

speech::AlignOp to_align(const Napi::Object& from) {
    speech::AlignOp op;
    op.prompt = ids_of(from, "prompt");
    op.tokens = ids_of(from, "tokens");
    op.positions = int32(from, "positions", 1);
    op.median_width = int32(from, "medianWidth", 1);
    each(from, "heads", [&](const Napi::Value& value) {
        if (!value.IsArray()) wrong(value.Env(), "heads", "pairs of layer and head");
        const auto pair = value.As<Napi::Array>();
        const std::int64_t layer = to_id(pair.Get(0U), "heads"), head = to_id(pair.Get(1U), "heads");
        if (layer > kLargestInt || head > kLargestInt) throw Napi::RangeError::New(value.Env(), "'heads' is out of range.");
        op.heads.emplace_back(static_cast<std::int32_t>(layer), static_cast<std::int32_t>(head));
    });
    return op;
}

Napi::Object to_js(Napi::Env env, const speech::WhisperModelInfo& info) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("architecture", info.config.architecture);
    object.Set("dtype", info.dtype);
    object.Set("parameters", static_cast<double>(info.parameters));
    object.Set("weightBytes", static_cast<double>(info.weight_bytes));
    object.Set("vocabSize", info.config.vocab_size);
    object.Set("melBands", info.config.num_mel_bins);
    object.Set("positions", info.config.max_source_positions);
    object.Set("context", info.config.max_target_positions);
    object.Set("encoderLayers", info.config.encoder_layers);
    object.Set("decoderLayers", info.config.decoder_layers);
    object.Set("decoderHeads", info.config.decoder_attention_heads);
    object.Set("slots", info.slots);
    object.Set("bytesPerSlot", static_cast<double>(info.bytes_per_slot));
    object.Set("threads", info.threads);
    object.Set("kernel", info.kernel);
    Napi::Object timings = Napi::Object::New(env);
    timings.Set("files", info.files_ms);
    timings.Set("weights", info.weights_ms);
    timings.Set("context", info.context_ms);
    object.Set("timings", timings);
    Napi::Array warnings = Napi::Array::New(env, info.warnings.size());
    for (std::uint32_t i = 0; i < info.warnings.size(); ++i) warnings.Set(i, info.warnings[i]);
    object.Set("warnings", warnings);
    if (info.ggml) object.Set("ggml", to_js(env, *info.ggml));
    return object;
}

Napi::Object to_js(Napi::Env env, const speech::SpeechStats& stats) {
    Napi::Object object = Napi::Object::New(env);
    const auto set = [&](const char* name, auto value) { object.Set(name, static_cast<double>(value)); };
    set("running", stats.running);
    set("waiting", stats.waiting);
    set("openSlots", stats.open_slots);
    set("steps", stats.steps);
    set("encodes", stats.encodes);
    set("progress", stats.progress);
    set("promptTokens", stats.prompt_tokens);
    set("outputTokens", stats.output_tokens);
    set("aborts", stats.aborts);
    set("lastStepMs", stats.last_step_ms);
    set("lastStepEndS", stats.last_step_end_s);
    return object;
}

Napi::Array to_js(Napi::Env env, const std::vector<speech::SpeechResult>& results) {
    Napi::Array list = Napi::Array::New(env, results.size());
    for (std::uint32_t i = 0; i < results.size(); ++i) {
        Napi::HandleScope scope(env);
        const speech::SpeechResult& result = results[i];
        Napi::Object object = Napi::Object::New(env);
        object.Set("op", static_cast<double>(result.op));
        object.Set("slot", result.slot);
        object.Set("finish", name_of(result.finish));
        Napi::Array tokens = Napi::Array::New(env, result.tokens.size());
        for (std::uint32_t t = 0; t < result.tokens.size(); ++t) tokens.Set(t, to_js(env, result.tokens[t]));
        object.Set("tokens", tokens);
        object.Set("avgLogprob", result.avg_logprob);
        object.Set("noSpeechProb", result.no_speech_prob);
        Napi::Float64Array values = Napi::Float64Array::New(env, result.values.size());
        std::copy(result.values.begin(), result.values.end(), values.Data());
        object.Set("values", values);
        if (result.finish == SpeechFinish::error) object.Set("error", result.error);
        list.Set(i, object);
    }
    return list;
}

}  // namespace tfserve::addon
