#include "addon/convert.h"

#include <cstring>
#include <limits>

#include "addon/fields.h"

namespace tfserve::addon {

namespace {

/// Tells our own handles from whatever else JavaScript holds.
constexpr napi_type_tag kConstraintTag{0x7466736572766563, 0x6f6e73747261696e};

SamplingParams to_sampling(const Napi::Object& from) {
    SamplingParams params;
    params.do_sample = boolean(from, "doSample");
    params.temperature = real(from, "temperature");
    params.top_k = int32(from, "topK");
    params.top_p = real(from, "topP");
    params.min_p = real(from, "minP");
    params.typical_p = real(from, "typicalP");
    params.repetition_penalty = real(from, "repetitionPenalty");
    params.presence_penalty = real(from, "presencePenalty");
    params.frequency_penalty = real(from, "frequencyPenalty");
    params.no_repeat_ngram_size = int32(from, "noRepeatNgramSize");
    each(from, "logitBias", [&](const Napi::Value& value) {
        if (!value.IsArray()) wrong(value.Env(), "logitBias", "pairs");
        const auto pair = value.As<Napi::Array>();
        const Napi::Value bias = pair.Get(1U);
        if (!bias.IsNumber()) wrong(value.Env(), "logitBias", "pairs of numbers");
        params.logit_bias.emplace_back(token_id(pair.Get(0U), "logitBias"), bias.As<Napi::Number>().FloatValue());
    });
    each(from, "badWordsIds", [&](const Napi::Value& value) {
        if (!value.IsArray()) wrong(value.Env(), "badWordsIds", "arrays");
        const auto list = value.As<Napi::Array>();
        std::vector<TokenId> word;
        for (std::uint32_t i = 0; i < list.Length() && i < kMaxList; ++i) word.push_back(token_id(list.Get(i), "badWordsIds"));
        params.bad_words_ids.push_back(std::move(word));
    });
    params.seed = seed_of(from);
    params.max_new_tokens = int32(from, "maxNewTokens");
    params.min_new_tokens = int32(from, "minNewTokens");
    params.eos_token_ids = token_ids(from, "eosTokenIds");
    params.ignore_eos = boolean(from, "ignoreEos");
    each(from, "stop", [&](const Napi::Value& value) {
        if (!value.IsString()) wrong(value.Env(), "stop", "strings");
        params.stop.push_back(value.As<Napi::String>().Utf8Value());
    });
    params.skip_special_tokens = boolean(from, "skipSpecialTokens");
    params.shown_special_tokens = token_ids(from, "shownSpecialTokens");
    params.want_logprobs = boolean(from, "wantLogprobs");
    params.top_logprobs = int32(from, "topLogprobs", 0, kMaxTopLogprobs);
    params.prompt_logprobs = int32(from, "promptLogprobs", -1, kMaxTopLogprobs);
    return params;
}

const char* name_of(FinishReason reason) {
    switch (reason) {
        case FinishReason::stop: return "stop";
        case FinishReason::length: return "length";
        case FinishReason::abort: return "abort";
        case FinishReason::error: return "error";
        case FinishReason::none: break;
    }
    return "";
}

const char* name_of(SubmitError error) {
    switch (error) {
        case SubmitError::queue_full: return "queue_full";
        case SubmitError::too_long: return "too_long";
        case SubmitError::does_not_fit: return "does_not_fit";
        case SubmitError::shutting_down: return "shutting_down";
        case SubmitError::invalid:
        case SubmitError::none: break;
    }
    return "invalid";
}

Napi::Object logprob_entry(Napi::Env env, TokenId token, float logprob, const TokenTable& tokens) {
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("token", token);
    entry.Set("logprob", logprob);
    entry.Set("bytes", to_bytes(env, tokens.bytes(token)));
    return entry;
}

Napi::Object logprobs_of(Napi::Env env, const SampledToken& sampled, const TokenTable& tokens) {
    Napi::Object entry = logprob_entry(env, sampled.token, sampled.logprob, tokens);
    Napi::Array top = Napi::Array::New(env, sampled.top_logprobs.size());
    for (std::uint32_t k = 0; k < sampled.top_logprobs.size(); ++k) {
        top.Set(k, logprob_entry(env, sampled.top_logprobs[k].token, sampled.top_logprobs[k].logprob, tokens));
    }
    entry.Set("top", top);
    return entry;
}

Napi::Array logprobs_of(Napi::Env env, const std::vector<SampledToken>& sampled, const TokenTable& tokens) {
    Napi::Array list = Napi::Array::New(env, sampled.size());
    for (std::uint32_t i = 0; i < sampled.size(); ++i) list.Set(i, logprobs_of(env, sampled[i], tokens));
    return list;
}

Napi::Array prompt_logprobs_of(Napi::Env env, const std::vector<std::optional<SampledToken>>& prompt, const TokenTable& tokens) {
    Napi::Array list = Napi::Array::New(env, prompt.size());
    for (std::uint32_t i = 0; i < prompt.size(); ++i) {
        Napi::HandleScope scope(env);
        if (prompt[i]) {
            list.Set(i, logprobs_of(env, *prompt[i], tokens));
        } else {
            list.Set(i, env.Null());
        }
    }
    return list;
}

}  // namespace

namespace {

Napi::Object to_js(Napi::Env env, const LoadTimings& timings) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("files", timings.files);
    object.Set("weights", timings.weights);
    object.Set("quantize", timings.quantize);
    object.Set("vocabulary", timings.vocabulary);
    object.Set("context", timings.context);
    object.Set("firstToken", timings.first_token);
    return object;
}

Napi::Array to_js(Napi::Env env, const std::vector<std::string>& texts) {
    Napi::Array list = Napi::Array::New(env, texts.size());
    for (std::uint32_t i = 0; i < texts.size(); ++i) list.Set(i, texts[i]);
    return list;
}

}  // namespace

Napi::Value to_bytes(Napi::Env env, std::string_view bytes) {
    Napi::Uint8Array array = Napi::Uint8Array::New(env, bytes.size());
    if (!bytes.empty()) std::memcpy(array.Data(), bytes.data(), bytes.size());
    return array;
}

ModelHostOptions to_host_options(const Napi::Object& from) {
    constexpr double kLargestSize = 9007199254740991.0;
    ModelHostOptions options;
    options.path = text(from, "path");
    if (from.Has("tokenizerJson")) options.tokenizer_json = text(from, "tokenizerJson");
    options.dtype = text(from, "dtype");
    options.quantization = text(from, "quantization");
    options.kv_cache_dtype = text(from, "kvCacheDtype");
    options.kv_cache_memory = static_cast<std::uint64_t>(number(from, "kvCacheMemory", 0, kLargestSize));
    options.max_batch_tokens = int32(from, "maxBatchTokens");
    options.max_num_seqs = int32(from, "maxNumSeqs");
    options.max_model_len = int32(from, "maxModelLen");
    options.max_waiting = int32(from, "maxWaiting");
    options.max_waiting_tokens = static_cast<std::int64_t>(number(from, "maxWaitingTokens", 0, kLargestSize));
    options.block_size = int32(from, "blockSize", 1);
    options.threads = int32(from, "threads");
    options.prefix_caching = boolean(from, "prefixCaching");
    options.continuous_batching = boolean(from, "continuousBatching");
    options.paged_kv = boolean(from, "pagedKv");
    if (from.Has("standIn") && from.Get("standIn").IsObject()) {
        const auto stand_in = from.Get("standIn").As<Napi::Object>();
        options.stand_in =
            StandInHostOptions{int32(stand_in, "vocabSize", 2), int32(stand_in, "stepMicros"), int32(stand_in, "tokenMicros")};
    }
    return options;
}

Napi::Value to_js(Napi::Env env, ConstraintHandle constraint) {
    // what V8 is told of is taken back as it was told, although the constraint has grown since
    const auto reported = static_cast<std::int64_t>(constraint->memory());
    auto owned = std::make_unique<ConstraintHandle>(std::move(constraint));
    const auto external =
        Napi::External<ConstraintHandle>::New(env, owned.get(), [reported](Napi::BasicEnv basic, ConstraintHandle* handle) {
            const std::unique_ptr<ConstraintHandle> last(handle);
            Napi::MemoryManagement::AdjustExternalMemory(basic, -reported);
        });
    static_cast<void>(owned.release());  // the value's own from here on
    Napi::MemoryManagement::AdjustExternalMemory(env, reported);
    external.TypeTag(&kConstraintTag);
    return external;
}

EngineRequest to_request(const Napi::Object& from) {
    constexpr double kLargestId = 9007199254740991.0;
    EngineRequest request;
    request.id = static_cast<SequenceId>(number(from, "id", 1, kLargestId));
    const Napi::Value prompt = from.Get("prompt");
    if (!prompt.IsTypedArray() || prompt.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) {
        wrong(from.Env(), "prompt", "an Int32Array");
    }
    const auto ids = prompt.As<Napi::Int32Array>();
    request.prompt.assign(ids.Data(), ids.Data() + ids.ElementLength());
    const Napi::Value sampling = from.Get("sampling");
    if (!sampling.IsObject()) wrong(from.Env(), "sampling", "an object");
    request.sampling = to_sampling(sampling.As<Napi::Object>());
    request.n = int32(from, "n", 1);
    request.priority = int32(from, "priority", std::numeric_limits<std::int32_t>::min());
    request.cache_salt = text(from, "cacheSalt");
    if (const Napi::Value constraint = from.Get("constraint"); !constraint.IsUndefined()) {
        if (!constraint.IsExternal()) wrong(from.Env(), "constraint", "a compiled constraint");
        const auto external = constraint.As<Napi::External<ConstraintHandle>>();
        if (!external.CheckTypeTag(&kConstraintTag)) wrong(from.Env(), "constraint", "a compiled constraint");
        request.constraint = *external.Data();
    }
    return request;
}

Napi::Object to_js(Napi::Env env, const ModelHostInfo& info) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("architecture", info.architecture);
    object.Set("dtype", info.dtype);
    object.Set("quantization", info.quantization);
    object.Set("kvCacheDtype", info.kv_cache_dtype);
    object.Set("parameters", static_cast<double>(info.parameters));
    object.Set("weightBytes", static_cast<double>(info.weight_bytes));
    object.Set("vocabSize", info.vocab_size);
    object.Set("longestToken", info.longest_token);
    object.Set("contextLength", info.context_length);
    object.Set("maxModelLen", info.max_model_len);
    object.Set("pagedKv", info.paged_kv);
    object.Set("blockSize", info.block_size);
    Napi::Array groups = Napi::Array::New(env, info.kv_groups.size());
    for (std::uint32_t i = 0; i < info.kv_groups.size(); ++i) {
        Napi::Object group = Napi::Object::New(env);
        group.Set("blocks", info.kv_groups[i].num_blocks);
        group.Set("window", info.kv_groups[i].window);
        groups.Set(i, group);
    }
    object.Set("kvGroups", groups);
    object.Set("kvBlocks", info.kv_blocks);
    object.Set("kvBytes", static_cast<double>(info.kv_bytes));
    object.Set("maxNumSeqs", info.max_num_seqs);
    object.Set("maxBatchTokens", info.max_batch_tokens);
    object.Set("threads", info.threads);
    object.Set("attentionKernel", info.attention_kernel);
    object.Set("timings", to_js(env, info.timings));
    object.Set("warnings", to_js(env, info.warnings));
    object.Set("notes", to_js(env, info.notes));
    if (info.gguf) {
        Napi::Object gguf = Napi::Object::New(env);
        gguf.Set("chatTemplate", info.gguf->chat_template);
        gguf.Set("bosToken", info.gguf->bos_token);
        gguf.Set("eosToken", info.gguf->eos_token);
        Napi::Array ids = Napi::Array::New(env, info.gguf->eos_token_ids.size());
        for (std::uint32_t i = 0; i < info.gguf->eos_token_ids.size(); ++i) ids.Set(i, info.gguf->eos_token_ids[i]);
        gguf.Set("eosTokenIds", ids);
        object.Set("gguf", gguf);
    }
    return object;
}

Napi::Object to_js(Napi::Env env, const EngineStats& stats) {
    Napi::Object object = Napi::Object::New(env);
    const auto set = [&](const char* name, auto value) { object.Set(name, static_cast<double>(value)); };
    set("running", stats.running);
    set("waiting", stats.waiting);
    set("blocksTotal", stats.blocks_total);
    set("blocksFree", stats.blocks_free);
    set("blocksCached", stats.blocks_cached);
    set("steps", stats.steps);
    set("promptTokens", stats.prompt_tokens);
    set("cachedPromptTokens", stats.cached_prompt_tokens);
    set("computedTokens", stats.computed_tokens);
    set("outputTokens", stats.output_tokens);
    set("preemptions", stats.preemptions);
    set("prefixQueries", stats.prefix_queries);
    set("prefixHits", stats.prefix_hits);
    set("evictions", stats.evictions);
    set("blockCopies", stats.block_copies);
    set("abortsWaiting", stats.aborts_waiting);
    set("abortsPrefill", stats.aborts_prefill);
    set("abortsDecode", stats.aborts_decode);
    set("lastStepMs", stats.last_step_ms);
    return object;
}

Napi::Array to_js(Napi::Env env, const std::vector<Delta>& deltas, const TokenTable& tokens) {
    Napi::Array list = Napi::Array::New(env, deltas.size());
    for (std::uint32_t i = 0; i < deltas.size(); ++i) {
        Napi::HandleScope scope(env);
        const Delta& delta = deltas[i];
        Napi::Object object = Napi::Object::New(env);
        object.Set("id", static_cast<double>(delta.id));
        object.Set("choice", delta.choice);
        object.Set("text", delta.text);
        Napi::Array ids = Napi::Array::New(env, delta.tokens.size());
        for (std::uint32_t k = 0; k < delta.tokens.size(); ++k) ids.Set(k, delta.tokens[k]);
        object.Set("tokens", ids);
        object.Set("finishReason", name_of(delta.finish_reason));
        object.Set("promptTokens", delta.num_prompt_tokens);
        object.Set("cachedTokens", delta.num_cached_tokens);
        object.Set("outputTokens", delta.num_output_tokens);
        if (!delta.logprobs.empty()) object.Set("logprobs", logprobs_of(env, delta.logprobs, tokens));
        if (!delta.prompt_logprobs.empty()) object.Set("promptLogprobs", prompt_logprobs_of(env, delta.prompt_logprobs, tokens));
        if (!delta.error.empty()) object.Set("error", delta.error);
        list.Set(i, object);
    }
    return list;
}

Napi::Value to_js(Napi::Env env, const SubmitResult& result) {
    if (result.error == SubmitError::none) return env.Undefined();
    Napi::Object object = Napi::Object::New(env);
    object.Set("error", name_of(result.error));
    object.Set("message", result.message);
    return object;
}

}  // namespace tfserve::addon
