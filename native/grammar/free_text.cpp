#include "grammar/free_text.h"

#include <algorithm>
#include <array>
#include <deque>
#include <map>

#include "grammar/grammar_error.h"

namespace tfserve {

namespace {

constexpr std::size_t kMaxLength = 4096;

enum class Found : std::uint8_t { nothing, end, barred };

/// Which words end with the text so far (Aho and Corasick's automaton): a state is the longest end of the text that begins a word.
class WordFinder {
   public:
    using State = std::uint32_t;

    explicit WordFinder(const FreeText& text) : rows_(1) {
        for (const std::string& word : text.until) add(word, Found::end);
        for (const std::string& word : text.without) add(word, Found::barred);
        // breadth first: what a state lacks it has from the state of its longest proper end
        std::deque<std::pair<State, State>> todo;  // a state, and that of its longest proper end
        for (const State next : rows_[0].next) {
            if (next != 0) todo.emplace_back(next, 0);
        }
        while (!todo.empty()) {
            const auto [state, shorter] = todo.front();
            todo.pop_front();
            rows_[state].found = std::max(rows_[state].found, rows_[shorter].found);
            for (std::size_t byte = 0; byte < 256; ++byte) {
                State& next = rows_[state].next[byte];
                if (next == 0) {
                    next = rows_[shorter].next[byte];
                } else {
                    todo.emplace_back(next, rows_[shorter].next[byte]);
                }
            }
        }
    }

    std::size_t size() const { return rows_.size(); }
    State next(State state, unsigned char byte) const { return rows_[state].next[byte]; }
    Found found(State state) const { return rows_[state].found; }

   private:
    struct Row {
        std::array<State, 256> next{};
        Found found = Found::nothing;
    };

    void add(const std::string& word, Found found) {
        State at = 0;
        for (const char c : word) {
            State& next = rows_[at].next[static_cast<unsigned char>(c)];
            if (next == 0) {
                next = static_cast<State>(rows_.size());
                at = next;
                rows_.emplace_back();
            } else {
                at = next;
            }
        }
        rows_[at].found = std::max(rows_[at].found, found);
    }

    std::vector<Row> rows_;
};

}  // namespace

ExprId free_text(GrammarBuilder& builder, const TokenTable* tokens, const FreeText& text) {
    std::vector<std::string> words = text.until;
    words.insert(words.end(), text.without.begin(), text.without.end());
    if (words.empty()) return builder.repeat(builder.symbols(0, kLastSymbol), 0);
    std::size_t length = 0;
    for (const std::string& word : words) {
        if (word.empty()) throw GrammarError("a literal that is looked for in free text must not be empty");
        length += word.size();
    }
    if (length > kMaxLength)
        throw GrammarError("the literals of free text must not be longer than " + std::to_string(kMaxLength) + " bytes in all");
    const WordFinder finder(text);

    struct Special {
        std::string_view text;
        Symbol symbol;
    };
    std::vector<Special> specials;  // that have a part in a word; all others leave no word begun
    for (TokenId id = 0; tokens != nullptr && id < tokens->size(); ++id) {
        const std::string_view spelled = tokens->bytes(id);
        if (!tokens->is_special(id) || spelled.empty()) continue;
        const bool matters = std::ranges::any_of(words, [&](const std::string& word) {
            return word.find(spelled) != std::string::npos || spelled.find(word) != std::string_view::npos;
        });
        if (matters) specials.push_back({spelled, builder.symbol_of(id)});
    }
    std::ranges::sort(specials, {}, &Special::symbol);

    std::vector<RuleId> rules;
    for (std::size_t state = 0; state < finder.size(); ++state) rules.push_back(builder.new_rule());
    const auto behind = [&](WordFinder::State state) {
        return finder.found(state) == Found::end ? builder.empty() : builder.call(rules[state]);
    };
    for (WordFinder::State state = 0; state < finder.size(); ++state) {
        if (finder.found(state) != Found::nothing) continue;
        std::vector<ExprId> options;
        if (text.until.empty()) options.push_back(builder.empty());
        const auto add = [&](unsigned first, unsigned last, WordFinder::State target) {
            if (first <= last && finder.found(target) != Found::barred)
                options.push_back(
                    builder.sequence({builder.symbols(static_cast<Symbol>(first), static_cast<Symbol>(last)), behind(target)}));
        };
        for (unsigned first = 0, last = 0; first < 256; first = last + 1) {
            const WordFinder::State target = finder.next(state, static_cast<unsigned char>(first));
            for (last = first; last < 255 && finder.next(state, static_cast<unsigned char>(last + 1)) == target;) ++last;
            add(first, last, target);
        }
        unsigned next = kOtherSpecial;
        for (const auto& [spelled, symbol] : specials) {
            add(next, symbol - 1U, 0);
            next = symbol + 1U;
            WordFinder::State target = state;
            std::size_t read = 0;
            while (read < spelled.size() && finder.found(target) == Found::nothing)
                target = finder.next(target, static_cast<unsigned char>(spelled[read++]));
            // one that goes on behind a word's end cannot be cut
            if (read == spelled.size() || finder.found(target) == Found::barred) add(symbol, symbol, target);
        }
        add(next, kLastSymbol, 0);
        builder.define(rules[state], builder.any_of(std::move(options)));
    }
    return builder.call(rules[0]);
}

}  // namespace tfserve
