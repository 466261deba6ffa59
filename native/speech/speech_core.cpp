#include "speech/speech_core.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "speech/alignment.h"

namespace tfserve::speech {

namespace {

/// Rows of one step of the decoder: long prompts are computed in pieces, so that those who write do not wait long.
constexpr std::size_t kMaxStepRows = 256;
constexpr std::int32_t kMaxMedianWidth = 127;
/// Probabilities that one alignment may look at: 2 GiB, and all heads of the largest model over a whole window.
constexpr std::uint64_t kMaxAlignValues = std::uint64_t{1} << 29;

const std::vector<TokenId>& tokens_of(const SpeechOp& op) {
    if (const auto* decode = std::get_if<DecodeOp>(&op)) return decode->prompt;
    return std::get<ScoreOp>(op).tokens;
}

}  // namespace

std::optional<std::string> objection(const SpeechOp& op, const WhisperConfig& config) {
    const auto known = [&](const std::vector<TokenId>& tokens) {
        return std::ranges::all_of(tokens, [&](TokenId id) { return id >= 0 && id < config.vocab_size; });
    };
    const auto fits = [&](std::size_t tokens) { return tokens > 0 && tokens <= static_cast<std::size_t>(config.max_target_positions); };
    const std::string no_such_token = "A token is not of the model's vocabulary.";
    const std::string too_long =
        "The tokens do not fit into the " + std::to_string(config.max_target_positions) + " that the decoder sees.";
    if (const auto* encode = std::get_if<EncodeOp>(&op)) {
        const auto wanted = static_cast<std::size_t>(config.num_mel_bins) * static_cast<std::size_t>(config.mel_frames());
        if (encode->mel.size() != wanted) {
            return "The spectrogram has " + std::to_string(encode->mel.size()) + " values in place of " + std::to_string(wanted) + ".";
        }
        if (!std::ranges::all_of(encode->mel, [](float x) { return std::isfinite(x); }))
            return "The spectrogram has values that are not finite.";
    } else if (const auto* decode = std::get_if<DecodeOp>(&op)) {
        if (!known(decode->prompt)) return no_such_token;
        if (decode->prompt.empty() || decode->max_new_tokens < 1) return "A prompt and room for an answer are needed.";
        if (!fits(decode->prompt.size() + static_cast<std::size_t>(decode->max_new_tokens))) return too_long;
        if (!(decode->choice.temperature >= 0) || !std::isfinite(decode->choice.temperature)) return "The temperature is out of range.";
        if (decode->choice.top_logprobs < 0 || decode->choice.top_logprobs > kMaxSpeechTopLogprobs) return "top_logprobs is out of range.";
        if (const auto& silence = decode->no_speech) {
            const bool inside = silence->position >= 0 && static_cast<std::size_t>(silence->position) < decode->prompt.size();
            if (!inside || !known({silence->token})) return "The place of the no-speech token is out of range.";
        }
    } else if (const auto* score = std::get_if<ScoreOp>(&op)) {
        if (!known(score->tokens) || !known(score->ids)) return no_such_token;
        if (!fits(score->tokens.size())) return too_long;
        if (score->ids.size() > static_cast<std::size_t>(config.vocab_size)) return "More logits are asked for than there are.";
    } else if (const auto* align = std::get_if<AlignOp>(&op)) {
        if (!known(align->prompt) || !known(align->tokens)) return no_such_token;
        if (align->tokens.empty() || !fits(align->prompt.size() + align->tokens.size())) return too_long;
        if (align->positions < 1 || align->positions > config.max_source_positions) return "The number of positions is out of range.";
        if (align->median_width < 1 || align->median_width > kMaxMedianWidth || align->median_width % 2 == 0) {
            return "The width of the median filter is not an odd number from 1 to 127.";
        }
        const auto heads = static_cast<std::size_t>(config.decoder_layers) * static_cast<std::size_t>(config.decoder_attention_heads);
        if (align->heads.empty() || align->heads.size() > heads) return "The number of alignment heads is out of range.";
        const auto plane = (align->prompt.size() + align->tokens.size()) * static_cast<std::uint64_t>(config.max_source_positions);
        if (align->heads.size() > kMaxAlignValues / plane) return "There are too many alignment heads for a window of this length.";
        for (const auto& [layer, head] : align->heads) {
            if (layer < 0 || layer >= config.decoder_layers || head < 0 || head >= config.decoder_attention_heads) {
                return "The model has no such alignment head.";
            }
        }
    }
    return std::nullopt;
}

SpeechCore::SpeechCore(std::unique_ptr<WhisperModel> model)
    : model_(std::move(model)), slots_(static_cast<std::size_t>(model_->info().slots)) {}

bool SpeechCore::has_work() const {
    return std::ranges::any_of(slots_, [](const Slot& slot) { return !slot.tasks.empty(); });
}

bool SpeechCore::is_long(const Slot& slot) const {
    if (slot.tasks.empty()) return false;
    const SpeechOp& op = slot.tasks.front().op;
    return std::holds_alternative<EncodeOp>(op) || std::holds_alternative<AlignOp>(op);
}

void SpeechCore::submit(std::int32_t slot, std::int64_t id, SpeechOp op) {
    Task task;
    task.id = id;
    task.order = submitted_++;
    task.op = std::move(op);
    slots_[static_cast<std::size_t>(slot)].tasks.push_back(std::move(task));
}

void SpeechCore::abort(std::int32_t slot, bool release) {
    Slot& state = slots_[static_cast<std::size_t>(slot)];
    stats_.aborts += state.tasks.size();
    while (!state.tasks.empty()) {
        SpeechResult result;
        result.finish = SpeechFinish::aborted;
        finish(slot, std::move(result));
    }
    if (!release) return;
    state.encoded = false;
    model_->release(slot);
}

void SpeechCore::fail_all(const std::string& what) {
    for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
        while (!slots_[slot].tasks.empty()) {
            SpeechResult result;
            result.finish = SpeechFinish::error;
            result.error = what;
            finish(static_cast<std::int32_t>(slot), std::move(result));
        }
        slots_[slot].encoded = false;
    }
}

void SpeechCore::finish(std::int32_t slot, SpeechResult result) {
    auto& tasks = slots_[static_cast<std::size_t>(slot)].tasks;
    result.slot = slot;
    result.op = tasks.front().id;
    results_.push_back(std::move(result));
    tasks.pop_front();
}

std::int32_t SpeechCore::next_long_slot() const {
    std::int32_t oldest = -1;
    bool writing = false;
    for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
        if (slots_[slot].tasks.empty()) continue;
        if (!is_long(slots_[slot])) {
            writing = true;
        } else if (oldest < 0 || slots_[slot].tasks.front().order < slots_[static_cast<std::size_t>(oldest)].tasks.front().order) {
            oldest = static_cast<std::int32_t>(slot);
        }
    }
    return writing && decoder_is_due_ ? -1 : oldest;
}

void SpeechCore::step(const WhisperModel::Abort& abort) {
    const std::int32_t slot = next_long_slot();
    decoder_is_due_ = slot >= 0;
    if (slot < 0) return run_decoder();
    if (std::holds_alternative<EncodeOp>(slots_[static_cast<std::size_t>(slot)].tasks.front().op)) {
        run_encode(slot, abort);
    } else {
        run_align(slot, abort);
    }
}

void SpeechCore::run_encode(std::int32_t slot, const WhisperModel::Abort& abort) {
    Slot& state = slots_[static_cast<std::size_t>(slot)];
    state.encoded = false;
    model_->reserve(slot);
    const RunStatus status = model_->encode(slot, std::get<EncodeOp>(state.tasks.front().op).mel, abort);
    if (status == RunStatus::aborted) return;  // whoever asked for it ends the task
    state.encoded = true;
    ++stats_.encodes;
    SpeechResult result;
    result.finish = SpeechFinish::done;
    finish(slot, std::move(result));
}

void SpeechCore::run_align(std::int32_t slot, const WhisperModel::Abort& abort) {
    const Slot& state = slots_[static_cast<std::size_t>(slot)];
    SpeechResult result;
    if (!state.encoded) {
        result.finish = SpeechFinish::error;
        result.error = "There is nothing to align with: no window has been encoded.";
        return finish(slot, std::move(result));
    }
    const auto& op = std::get<AlignOp>(state.tasks.front().op);
    std::vector<TokenId> tokens = op.prompt;
    tokens.insert(tokens.end(), op.tokens.begin(), op.tokens.end());
    std::vector<float> weights;
    if (model_->cross_attention(slot, tokens, op.heads, abort, weights) == RunStatus::aborted) return;
    // only the answer's rows speak of time
    const auto positions = static_cast<std::size_t>(info().config.max_source_positions);
    const std::size_t answer = op.tokens.size() * positions, prompt = op.prompt.size() * positions;
    for (std::size_t head = 0; head < op.heads.size(); ++head) {
        const auto from = weights.begin() + static_cast<std::ptrdiff_t>(head * (prompt + answer) + prompt);
        std::copy(from, from + static_cast<std::ptrdiff_t>(answer), weights.begin() + static_cast<std::ptrdiff_t>(head * answer));
    }
    weights.resize(op.heads.size() * answer);
    result.values =
        align_tokens({weights, op.heads.size(), op.tokens.size(), positions}, static_cast<std::size_t>(op.positions), op.median_width);
    result.finish = SpeechFinish::done;
    stats_.prompt_tokens += tokens.size();
    finish(slot, std::move(result));
}

void SpeechCore::add_rows(std::int32_t slot, std::vector<DecodeRow>& rows, std::vector<Part>& parts) {
    Task& task = slots_[static_cast<std::size_t>(slot)].tasks.front();
    const std::vector<TokenId>& prompt = tokens_of(task.op);
    const std::size_t known = prompt.size() + task.output.size(), room = kMaxStepRows - rows.size();
    const std::size_t end = std::min(known, task.computed + room);
    const auto* decode = std::get_if<DecodeOp>(&task.op);
    Part part{slot};
    for (std::size_t at = task.computed; at < end; ++at) {
        const TokenId token = at < prompt.size() ? prompt[at] : task.output[at - prompt.size()];
        const bool silence = decode != nullptr && decode->no_speech && at == static_cast<std::size_t>(decode->no_speech->position);
        part.no_speech = part.no_speech || silence;
        part.last = at + 1 == known;
        rows.push_back({slot, token, static_cast<std::int32_t>(at), silence || part.last});
    }
    if (task.computed < prompt.size()) stats_.prompt_tokens += std::min(end, prompt.size()) - task.computed;
    task.computed = end;
    parts.push_back(part);
}

void SpeechCore::run_decoder() {
    std::vector<DecodeRow> rows;
    std::vector<Part> parts;
    const std::size_t first = first_slot_++ % slots_.size();
    for (std::size_t i = 0; i < slots_.size() && rows.size() < kMaxStepRows; ++i) {
        const std::size_t slot = (first + i) % slots_.size();
        if (slots_[slot].tasks.empty() || is_long(slots_[slot])) continue;
        if (!slots_[slot].encoded) {
            SpeechResult result;
            result.finish = SpeechFinish::error;
            result.error = "There is nothing to decode: no window has been encoded.";
            finish(static_cast<std::int32_t>(slot), std::move(result));
            continue;
        }
        add_rows(static_cast<std::int32_t>(slot), rows, parts);
    }
    if (rows.empty()) return;
    model_->decode(rows, logits_);
    ++stats_.steps;
    std::span<float> logits = logits_;
    for (const Part& part : parts) advance(slots_[static_cast<std::size_t>(part.slot)].tasks.front(), part, logits);
}

void SpeechCore::advance(Task& task, const Part& part, std::span<float>& logits) {
    const auto width = static_cast<std::size_t>(info().config.vocab_size);
    const auto next_row = [&] {
        const std::span<float> row = logits.first(width);
        logits = logits.subspan(width);
        return row;
    };
    auto* decode = std::get_if<DecodeOp>(&task.op);
    SpeechResult result;
    if (part.no_speech) {
        const bool same_row = part.last && static_cast<std::size_t>(decode->no_speech->position) + 1 == decode->prompt.size();
        const std::span<float> row = same_row ? logits.first(width) : next_row();
        const double logit = static_cast<double>(row[static_cast<std::size_t>(decode->no_speech->token)]);
        task.no_speech_prob = std::exp(logit - log_sum_exp(row));
        if (!std::isfinite(task.no_speech_prob)) task.no_speech_prob = 0;  // of logits that are no numbers: no silence was heard
    }
    if (!part.last) return;
    const std::span<float> row = next_row();
    if (decode == nullptr) {
        for (TokenId id : std::get<ScoreOp>(task.op).ids) result.values.push_back(static_cast<double>(row[static_cast<std::size_t>(id)]));
        result.finish = SpeechFinish::done;
        if (!std::ranges::all_of(result.values, [](double value) { return std::isfinite(value); })) {
            result.values.clear();
            result.finish = SpeechFinish::error;
            result.error = "The model's output is not a number.";
        }
        return finish(part.slot, std::move(result));
    }
    try {
        ChosenToken chosen = choose_token(row, decode->rules, task.output, decode->choice);
        task.output.push_back(chosen.id);
        task.logprobs += static_cast<double>(chosen.rules_logprob);
        ++stats_.output_tokens;
        if (chosen.id == decode->rules.eos) {
            result.finish = SpeechFinish::eos;
        } else if (task.output.size() == static_cast<std::size_t>(decode->max_new_tokens)) {
            result.finish = SpeechFinish::length;
        }
        result.tokens.push_back(std::move(chosen));
    } catch (const std::runtime_error& error) {
        result.finish = SpeechFinish::error;
        result.error = error.what();
    }
    if (result.finish != SpeechFinish::none) {
        result.avg_logprob = task.output.empty() ? 0 : task.logprobs / static_cast<double>(task.output.size());
        result.no_speech_prob = task.no_speech_prob;
        return finish(part.slot, std::move(result));
    }
    result.slot = part.slot;
    result.op = task.id;
    results_.push_back(std::move(result));
}

SpeechStats SpeechCore::stats() const {
    SpeechStats stats = stats_;
    for (const Slot& slot : slots_) {
        if (slot.tasks.empty()) continue;
        ++stats.running;
        stats.waiting += static_cast<std::int32_t>(slot.tasks.size()) - 1;
    }
    return stats;
}

}  // namespace tfserve::speech
