// Constraints of one model, compiled and remembered.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "grammar/compiled_constraint.h"
#include "sampling/token_constraint.h"
#include "text/token_table.h"

namespace tfserve {

/// Thread safe. Equal constraints are compiled once while they are remembered; sequences keep theirs for as long as they need it.
class ConstraintCompiler {
   public:
    /// `max_memory`: bytes that what is remembered may take; the last one is kept whatever it takes.
    ConstraintCompiler(std::shared_ptr<const TokenTable> tokens, std::int32_t vocab_size, std::size_t max_memory = std::size_t{128} << 20);

    /// `json`: a tree as src/engine/constraint.ts describes it. May take some tens of milliseconds. Throws GrammarError.
    std::shared_ptr<const ConstraintSource> compile(const std::string& json);

   private:
    using Entry = std::pair<std::string, std::shared_ptr<const CompiledConstraint>>;

    std::shared_ptr<const GrammarVocabulary> vocabulary();
    std::shared_ptr<const ConstraintSource> find(const std::string& json);
    /// Forgets the oldest ones until the rest is within the bounds.
    void trim();

    const std::shared_ptr<const TokenTable> tokens_;
    const std::int32_t vocab_size_;
    const std::size_t max_memory_;
    std::once_flag made_;
    std::shared_ptr<const GrammarVocabulary> vocabulary_;  // made when it is first needed

    std::mutex mutex_;          // guards what follows
    std::list<Entry> entries_;  // the last used first
    std::unordered_map<std::string_view, std::list<Entry>::iterator> by_text_;
    std::size_t text_bytes_ = 0;
};

}  // namespace tfserve
