#include "grammar/compiled_constraint.h"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <string_view>
#include <utility>

namespace tfserve {

namespace {

using State = Automaton::State;
using LeadingSpace = TokenTable::LeadingSpace;

/// Tokens that can be taken back.
constexpr std::size_t kMaxRollback = 64;
/// Bytes of masks kept for states of one automaton.
constexpr std::size_t kMaxMaskBytes = std::size_t{4} << 20;

using Mask = std::vector<std::uint64_t>;

/// Nodes of a subtree from which on it pays to ask whether it can be taken as a whole.
constexpr std::uint32_t kWorthAsking = 12;

void set_bit(Mask& mask, TokenId token) {
    mask[static_cast<std::size_t>(token) / 64] |= std::uint64_t{1} << (static_cast<std::size_t>(token) % 64);
}

/// By group of bytes: the state that all bytes of the group lead to, or kDead where they differ.
using GroupSteps = std::array<State, TokenTrie::kGroups>;

GroupSteps group_steps(Automaton& automaton, State state) {
    GroupSteps steps;
    std::uint8_t seen = 0;
    for (unsigned byte = 0; byte < 256; ++byte) {
        const std::uint8_t group = TokenTrie::group_of(static_cast<std::uint8_t>(byte));
        State& step = steps[static_cast<std::size_t>(std::countr_zero(group))];
        const State next = automaton.next(state, static_cast<Symbol>(byte));
        if ((seen & group) == 0) {
            step = next;
        } else if (step != next) {
            step = Automaton::kDead;
        }
        seen |= group;
    }
    return steps;
}

/// An automaton and what is remembered of its states.
struct Workings {
    explicit Workings(const std::shared_ptr<const Grammar>& grammar) : automaton(grammar) {}
    Automaton automaton;
    std::unordered_map<State, std::shared_ptr<const Mask>> masks;  // the first token of a text under its own key
    std::unordered_map<State, std::shared_ptr<const Mask>> first_masks;
    std::vector<std::optional<GroupSteps>> steps;  // by state
};

}  // namespace

struct CompiledConstraint::Shared {
    Shared(Grammar compiled, std::shared_ptr<const GrammarVocabulary> tokens)
        : grammar(std::make_shared<const Grammar>(std::move(compiled))),
          vocabulary(std::move(tokens)),
          workings(std::make_shared<Workings>(grammar)) {
        for (std::size_t i = 0; i < grammar->named_tokens.size(); ++i)
            named.emplace(grammar->named_tokens[i], static_cast<Symbol>(kFirstNamed + i));
    }

    Symbol symbol_of_special(TokenId token) const {
        const auto it = named.find(token);
        return it == named.end() ? kOtherSpecial : it->second;
    }

    /// The state behind the bytes of a token. `first`: no text has come before it.
    State after(Automaton& automaton, State state, TokenId token, bool first) const {
        if (vocabulary->table->is_special(token)) return automaton.next(state, symbol_of_special(token));
        std::string_view bytes = vocabulary->table->bytes(token);
        const LeadingSpace rule = first ? vocabulary->trie.leading_space() : LeadingSpace::kept;
        if (rule == LeadingSpace::strip_one && bytes.starts_with(' ')) bytes.remove_prefix(1);
        for (const char c : bytes) {
            if (rule == LeadingSpace::drop_in_first_token && c == ' ') continue;
            state = automaton.next(state, static_cast<unsigned char>(c));
            if (state == Automaton::kDead) break;
        }
        return state;
    }

    /// Whether all texts of `length` bytes out of the groups can follow, because all bytes of them always lead to one state.
    bool takes_all(Workings& work, State state, std::uint8_t groups, unsigned length) const {
        for (; length > 0; --length) {
            if (state >= work.steps.size()) work.steps.resize(state + 1);
            if (!work.steps[state]) work.steps[state] = group_steps(work.automaton, state);
            const GroupSteps& steps = *work.steps[state];
            const State next = steps[static_cast<std::size_t>(std::countr_zero(groups))];
            if (next == Automaton::kDead) return false;
            for (unsigned rest = groups & (groups - 1U); rest != 0; rest &= rest - 1) {
                if (steps[static_cast<std::size_t>(std::countr_zero(rest))] != next) return false;
            }
            if (next == state) return true;
            state = next;
        }
        return true;
    }

    Mask make_mask(Workings& work, State from, bool first) const {
        const TokenTrie& trie = vocabulary->trie;
        Automaton& automaton = work.automaton;
        Mask mask(mask_words(trie.vocab_size()), 0);
        for (const TokenId token : trie.special()) {
            if (automaton.next(from, symbol_of_special(token)) != Automaton::kDead) set_bit(mask, token);
        }
        const std::vector<TokenTrie::Node>& nodes = trie.nodes();
        const std::vector<TokenId>& tokens = trie.tokens();
        const auto allow = [&](std::uint32_t begin, std::uint32_t end) {
            for (std::uint32_t i = begin; i < end; ++i) set_bit(mask, tokens[i]);
        };
        const LeadingSpace rule = first ? trie.leading_space() : LeadingSpace::kept;
        std::vector<State> path(trie.longest() + 1);
        path[0] = from;
        for (std::uint32_t i = 0; i + 1 < nodes.size();) {
            const TokenTrie::Node& node = nodes[i];
            const State before = path[node.depth - 1];
            const bool dropped =
                node.byte == ' ' && (rule == LeadingSpace::drop_in_first_token || (rule == LeadingSpace::strip_one && node.depth == 1));
            const State state = dropped ? before : automaton.next(before, node.byte);
            if (state == Automaton::kDead) {
                i = node.end;
                continue;
            }
            if (node.end - i >= kWorthAsking && rule == LeadingSpace::kept && takes_all(work, state, node.groups, node.height)) {
                allow(node.first_token, nodes[node.end].first_token);
                i = node.end;
                continue;
            }
            path[node.depth] = state;
            allow(node.first_token, nodes[i + 1].first_token);
            ++i;
        }
        return mask;
    }

    /// Of all but the long tokens. Needs the lock.
    std::shared_ptr<const Mask> mask_of(Workings& work, State state, bool first) const {
        const bool apart = first && vocabulary->trie.leading_space() != LeadingSpace::kept;
        auto& masks = apart ? work.first_masks : work.masks;
        state = work.automaton.alike(state);
        const auto it = masks.find(state);
        if (it != masks.end()) return it->second;
        auto mask = std::make_shared<const Mask>(make_mask(work, state, apart));
        if ((masks.size() + 1) * mask->size() * sizeof(std::uint64_t) > kMaxMaskBytes) masks.clear();
        masks.emplace(state, mask);
        return mask;
    }

    const std::shared_ptr<const Grammar> grammar;
    const std::shared_ptr<const GrammarVocabulary> vocabulary;
    std::unordered_map<TokenId, Symbol> named;

    std::mutex mutex;  // guards what follows, and what is inside
    std::shared_ptr<Workings> workings;
};

/// Follows one output. Holds on to the automaton that its states belong to, until that is full.
class ConstraintMatcher final : public TokenConstraint {
   public:
    explicit ConstraintMatcher(std::shared_ptr<CompiledConstraint::Shared> shared) : shared_(std::move(shared)) {
        const std::lock_guard lock(shared_->mutex);
        work_ = shared_->workings;
        states_.push_back(work_->automaton.start());
        note_ends();
    }

    bool mask(std::span<std::uint64_t> words) override {
        const std::lock_guard lock(shared_->mutex);
        renew();
        const std::shared_ptr<const Mask> mask = shared_->mask_of(*work_, states_.back(), num_text_ == 0);
        const std::size_t n = std::min(words.size(), mask->size());
        std::copy_n(mask->begin(), n, words.begin());
        std::fill(words.begin() + static_cast<std::ptrdiff_t>(n), words.end(), 0);
        for (const TokenId token : shared_->vocabulary->trie.long_tokens()) {
            if (shared_->after(work_->automaton, states_.back(), token, num_text_ == 0) == Automaton::kDead) continue;
            words[static_cast<std::size_t>(token) / 64] |= std::uint64_t{1} << (static_cast<std::size_t>(token) % 64);
        }
        return std::ranges::any_of(words, [](std::uint64_t word) { return word != 0; });
    }

    bool accept(TokenId token) override {
        const std::lock_guard lock(shared_->mutex);
        const TokenTable& table = *shared_->vocabulary->table;
        if (!table.is_known(token) || (!table.is_special(token) && table.bytes(token).empty())) return false;
        renew();
        const State state = shared_->after(work_->automaton, states_.back(), token, num_text_ == 0);
        if (state == Automaton::kDead) return false;
        states_.push_back(state);
        if (states_.size() > kMaxRollback + 1) states_.pop_front();
        // special tokens are no text: the decoder's rule for the first token waits for what follows them
        if (num_text_ > 0 || !table.is_special(token)) ++num_text_;
        note_ends();
        return true;
    }

    bool rollback(std::size_t n) override {
        if (n >= states_.size()) return false;
        const std::lock_guard lock(shared_->mutex);
        states_.resize(states_.size() - n);
        num_text_ -= std::min(n, num_text_);
        note_ends();
        return true;
    }

    std::size_t max_rollback() const override { return kMaxRollback; }
    bool may_end() const override { return may_end_; }
    bool must_end() const override { return must_end_; }

   private:
    /// Leaves an automaton that has grown too large for the current one, which is made where it is the same.
    void renew() {
        if (!work_->automaton.full()) return;
        if (shared_->workings == work_) shared_->workings = std::make_shared<Workings>(shared_->grammar);
        for (State& state : states_) state = shared_->workings->automaton.adopt(work_->automaton, state);
        work_ = shared_->workings;
    }

    void note_ends() {
        may_end_ = work_->automaton.may_end(states_.back());
        must_end_ = work_->automaton.must_end(states_.back());
    }

    std::shared_ptr<CompiledConstraint::Shared> shared_;
    std::shared_ptr<Workings> work_;
    std::deque<State> states_;  // before the first token that can be taken back, then behind each
    std::size_t num_text_ = 0;  // tokens since the first that is text, that one included
    bool may_end_ = false, must_end_ = false;
};

CompiledConstraint::CompiledConstraint(Grammar grammar, std::shared_ptr<const GrammarVocabulary> vocabulary)
    : shared_(std::make_shared<Shared>(std::move(grammar), std::move(vocabulary))) {}

CompiledConstraint::~CompiledConstraint() = default;

std::unique_ptr<TokenConstraint> CompiledConstraint::start() const { return std::make_unique<ConstraintMatcher>(shared_); }

std::size_t CompiledConstraint::memory() const {
    const Grammar& g = *shared_->grammar;
    const std::size_t grammar = g.nodes.size() * sizeof(Grammar::Node) + g.symbol_edges.size() * sizeof(Grammar::SymbolEdge) +
                                g.moves.size() * sizeof(NodeId) + g.calls.size() * sizeof(Grammar::CallEdge);
    const std::lock_guard lock(shared_->mutex);
    const Workings& work = *shared_->workings;
    const std::size_t mask = mask_words(shared_->vocabulary->trie.vocab_size()) * sizeof(std::uint64_t);
    return grammar + work.automaton.memory() + (work.masks.size() + work.first_masks.size()) * mask +
           work.steps.size() * sizeof(work.steps.front());
}

bool CompiledConstraint::has_first_token() const {
    ConstraintMatcher matcher(shared_);
    std::vector<std::uint64_t> words(mask_words(shared_->vocabulary->trie.vocab_size()));
    return matcher.mask(words) || matcher.may_end();
}

}  // namespace tfserve
