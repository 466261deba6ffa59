#include "sampling/logits_processors.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tfserve {

namespace {

constexpr float kBarred = -std::numeric_limits<float>::infinity();

void bar(std::span<float> logits, TokenId token) {
    if (token >= 0 && static_cast<std::size_t>(token) < logits.size()) logits[static_cast<std::size_t>(token)] = kBarred;
}

}  // namespace

LogitsProcessors::LogitsProcessors(const SamplingParams& params, std::span<const TokenId> prompt, std::int32_t vocab_size)
    : repetition_penalty_(params.repetition_penalty > 0 ? params.repetition_penalty : 1.0F),
      presence_penalty_(std::isfinite(params.presence_penalty) ? params.presence_penalty : 0.0F),
      frequency_penalty_(std::isfinite(params.frequency_penalty) ? params.frequency_penalty : 0.0F),
      ngram_size_(static_cast<std::size_t>(std::max(params.no_repeat_ngram_size, 0))),
      min_new_tokens_(params.ignore_eos ? 0 : static_cast<std::size_t>(std::max(params.min_new_tokens, 0))),
      vocab_size_(static_cast<std::size_t>(std::max(vocab_size, 0))) {
    for (const auto& [token, bias] : params.logit_bias) {
        if (!std::isnan(bias) && bias != 0.0F) logit_bias_.emplace_back(token, bias);
    }
    for (const auto& words : params.bad_words_ids) {
        // as in transformers, an end-of-sequence token by itself cannot be a bad word
        const bool is_eos = words.size() == 1 && std::ranges::find(params.eos_token_ids, words[0]) != params.eos_token_ids.end();
        if (!words.empty() && !is_eos) bad_words_.push_back(words);
    }
    if (min_new_tokens_ > 0) eos_token_ids_ = params.eos_token_ids;

    needs_counts_ = repetition_penalty_ != 1.0F || presence_penalty_ != 0.0F || frequency_penalty_ != 0.0F;
    needs_context_ =
        needs_counts_ || ngram_size_ > 0 || std::ranges::any_of(bad_words_, [](const auto& words) { return words.size() > 1; });
    active_ = needs_context_ || !logit_bias_.empty() || !bad_words_.empty() || !eos_token_ids_.empty();
    if (!needs_context_) return;
    prompt_size_ = prompt.size();
    context_.assign(prompt.begin(), prompt.end());
    if (repetition_penalty_ != 1.0F) {
        for (const TokenId token : prompt) add_to_counts(token, false);
    }
}

void LogitsProcessors::add_to_counts(TokenId token, bool from_output) {
    if (token < 0 || static_cast<std::size_t>(token) >= vocab_size_) return;
    counts_[token] += from_output ? 1U : 0U;
}

void LogitsProcessors::follow(std::span<const TokenId> output) {
    const std::span<const TokenId> seen = std::span<const TokenId>(context_).subspan(prompt_size_);
    if (seen.size() > output.size() || !std::equal(seen.begin(), seen.end(), output.begin())) {
        context_.resize(prompt_size_);
        counts_.clear();
        if (repetition_penalty_ != 1.0F) {
            for (const TokenId token : context_) add_to_counts(token, false);
        }
    }
    for (const TokenId token : output.subspan(context_.size() - prompt_size_)) {
        context_.push_back(token);
        if (needs_counts_) add_to_counts(token, true);
    }
}

void LogitsProcessors::penalise(std::span<float> logits) const {
    for (const auto& [token, count] : counts_) {
        float& logit = logits[static_cast<std::size_t>(token)];
        if (repetition_penalty_ != 1.0F) logit = logit < 0 ? logit * repetition_penalty_ : logit / repetition_penalty_;
        if (count > 0) logit -= static_cast<float>(count) * frequency_penalty_ + presence_penalty_;
    }
}

void LogitsProcessors::bar_repeated_ngrams(std::span<float> logits) const {
    if (context_.size() < ngram_size_) return;
    const std::size_t prefix_size = ngram_size_ - 1;
    const TokenId* const prefix = context_.data() + (context_.size() - prefix_size);
    for (std::size_t begin = 0; begin + prefix_size < context_.size(); ++begin) {
        if (std::equal(prefix, prefix + prefix_size, context_.data() + begin)) bar(logits, context_[begin + prefix_size]);
    }
}

void LogitsProcessors::bar_bad_words(std::span<float> logits) const {
    for (const auto& words : bad_words_) {
        const std::size_t prefix_size = words.size() - 1;
        if (prefix_size == 0) {
            bar(logits, words[0]);
            continue;
        }
        // transformers passes over sequences longer than the context, even where their beginning would fit
        if (words.size() > context_.size()) continue;
        if (std::equal(words.begin(), words.end() - 1, context_.end() - static_cast<std::ptrdiff_t>(prefix_size)))
            bar(logits, words.back());
    }
}

void LogitsProcessors::apply(std::span<float> logits, std::span<const TokenId> output) {
    if (!active_) return;
    logits = logits.first(std::min(logits.size(), vocab_size_));
    if (needs_context_) follow(output);
    for (const auto& [token, bias] : logit_bias_) {
        if (token >= 0 && static_cast<std::size_t>(token) < logits.size()) logits[static_cast<std::size_t>(token)] += bias;
    }
    if (needs_counts_ && logits.size() == vocab_size_) penalise(logits);
    if (ngram_size_ > 0) bar_repeated_ngrams(logits);
    bar_bad_words(logits);
    if (output.size() < min_new_tokens_) {
        for (const TokenId token : eos_token_ids_) bar(logits, token);
    }
}

}  // namespace tfserve
