#include "grammar/regular_set.h"

#include <map>
#include <memory>

#include "grammar/automaton.h"
#include "grammar/grammar_error.h"

namespace tfserve {

namespace {

constexpr std::size_t kMaxStates = 20000;
constexpr unsigned kBytes = 256;

/// Where every language is; kDead for one that cannot match any more.
using Position = std::vector<Automaton::State>;

class Product {
   public:
    /// `payer`: bears the cost.
    Product(GrammarBuilder& builder, GrammarBuilder& payer, const std::vector<RegularLanguage>& languages)
        : builder_(builder), payer_(payer), languages_(languages) {
        for (const RegularLanguage& language : languages) automata_.push_back(automaton_of(payer, language));
    }

    /// Some text has been found to end, once run.
    bool has_text() const { return has_text_; }

    ExprId run() {
        Position start;
        for (const Automaton& automaton : automata_) start.push_back(automaton.start());
        const RuleId first = rule_of(start);
        while (!todo_.empty()) {
            const auto at = todo_.back();
            todo_.pop_back();
            define(at->first, at->second);
        }
        return builder_.call(first);
    }

   private:
    RuleId rule_of(const Position& position) {
        const auto [it, added] = rules_.try_emplace(position, 0);
        if (!added) return it->second;
        if (rules_.size() > kMaxStates) throw GrammarError("what must hold for one text together is too complex");
        it->second = builder_.new_rule();
        todo_.push_back(it);
        return it->second;
    }

    bool is_lost(const Position& position) const {
        for (std::size_t i = 0; i < position.size(); ++i) {
            if (!languages_[i].excluded && position[i] == Automaton::kDead) return true;
        }
        return false;
    }

    Position step(const Position& position, unsigned byte) {
        Position next = position;
        for (std::size_t i = 0; i < next.size(); ++i) next[i] = automata_[i].next(next[i], static_cast<Symbol>(byte));
        return next;
    }

    void define(const Position& position, RuleId rule) {
        payer_.spend(kBytes * position.size());
        std::vector<ExprId> options;
        bool ends = true;
        for (std::size_t i = 0; i < position.size(); ++i) ends = ends && automata_[i].may_end(position[i]) != languages_[i].excluded;
        if (ends) options.push_back(builder_.empty());
        has_text_ = has_text_ || ends;
        for (unsigned first = 0, last = 0; first < kBytes; first = last + 1) {
            const Position next = step(position, first);
            for (last = first; last + 1 < kBytes && step(position, last + 1) == next;) ++last;
            if (is_lost(next)) continue;
            const ExprId read = builder_.symbols(static_cast<Symbol>(first), static_cast<Symbol>(last));
            options.push_back(builder_.sequence({read, builder_.call(rule_of(next))}));
        }
        builder_.define(rule, builder_.any_of(std::move(options)));
    }

    GrammarBuilder& builder_;
    GrammarBuilder& payer_;
    const std::vector<RegularLanguage>& languages_;
    std::vector<Automaton> automata_;
    std::map<Position, RuleId> rules_;
    std::vector<std::map<Position, RuleId>::iterator> todo_;
    bool has_text_ = false;
};

}  // namespace

ExprId in_all_of(GrammarBuilder& builder, const std::vector<RegularLanguage>& languages) {
    return Product(builder, builder, languages).run();
}

Automaton automaton_of(GrammarBuilder& builder, const RegularLanguage& language) {
    constexpr std::size_t kWorkOfNode = 16;
    GrammarBuilder own;
    const ExprId root = language.make(own);
    auto grammar = std::make_shared<const Grammar>(own.build(root));
    builder.spend(grammar->num_nodes() * kWorkOfNode);
    return Automaton(std::move(grammar));
}

bool have_common_text(GrammarBuilder& builder, const std::vector<RegularLanguage>& languages) {
    GrammarBuilder scratch;
    Product product(scratch, builder, languages);
    product.run();
    return product.has_text();
}

}  // namespace tfserve
