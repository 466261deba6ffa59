#include "grammar/constraint_compiler.h"

#include <algorithm>
#include <utility>

#include "grammar/constraint_tree.h"
#include "grammar/grammar_builder.h"
#include "grammar/grammar_error.h"

namespace tfserve {

namespace {

constexpr std::size_t kMaxEntries = 32;
constexpr std::size_t kMaxTextBytes = std::size_t{4} << 20;

}  // namespace

ConstraintCompiler::ConstraintCompiler(std::shared_ptr<const TokenTable> tokens, std::int32_t vocab_size, std::size_t max_memory)
    : tokens_(std::move(tokens)), vocab_size_(vocab_size), max_memory_(max_memory) {}

std::shared_ptr<const GrammarVocabulary> ConstraintCompiler::vocabulary() {
    std::call_once(made_, [this] { vocabulary_ = std::make_shared<const GrammarVocabulary>(tokens_, vocab_size_); });
    return vocabulary_;
}

std::shared_ptr<const ConstraintSource> ConstraintCompiler::find(const std::string& json) {
    const std::lock_guard lock(mutex_);
    const auto it = by_text_.find(json);
    if (it == by_text_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, it->second);
    trim();
    return it->second->second;
}

std::shared_ptr<const ConstraintSource> ConstraintCompiler::compile(const std::string& json) {
    if (auto known = find(json)) return known;
    GrammarBuilder builder(tokens_.get());
    const ExprId root = constraint_expression(builder, tokens_.get(), json);
    auto compiled = std::make_shared<const CompiledConstraint>(builder.build(root), vocabulary());
    if (!compiled->has_first_token()) throw GrammarError("the model's vocabulary cannot write what the constraint asks for");

    const std::lock_guard lock(mutex_);
    if (by_text_.contains(json)) return compiled;  // another thread was faster
    entries_.emplace_front(json, compiled);
    by_text_.emplace(entries_.front().first, entries_.begin());
    text_bytes_ += json.size();
    trim();
    return compiled;
}

void ConstraintCompiler::trim() {
    // each grows while outputs follow it
    std::size_t memory = 0, kept = 0;
    for (const Entry& entry : entries_) {
        memory += entry.second->memory();
        if (kept > 0 && memory > max_memory_) break;
        ++kept;
    }
    while (entries_.size() > std::min(kept, kMaxEntries) || (text_bytes_ > kMaxTextBytes && entries_.size() > 1)) {
        text_bytes_ -= entries_.back().first.size();
        by_text_.erase(entries_.back().first);
        entries_.pop_back();
    }
}

}  // namespace tfserve
