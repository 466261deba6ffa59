#include "grammar/automaton.h"

#include <algorithm>

#include "grammar/grammar_error.h"

namespace tfserve {

namespace {

/// Rules within rules; what is nested deeper cannot be followed. Bounds the stacks, and the nesting of free JSON values.
constexpr std::uint32_t kMaxStack = 512;
/// Ways to read one text, at once.
constexpr std::size_t kMaxConfigs = 8192;

std::uint64_t pair_of(std::uint32_t a, std::uint32_t b) { return std::uint64_t{a} << 32 | b; }

std::uint64_t mix(std::uint64_t x) {
    x = (x ^ (x >> 31)) * 0x9e3779b97f4a7c15U;
    return x ^ (x >> 29);
}

/// A set of pairs that is cheap to empty: open addressing in a vector that keeps its room.
class PairSet {
   public:
    explicit PairSet(std::vector<std::uint64_t>& slots) : slots_(slots) { slots_.assign(64, kFree); }
    bool insert(std::uint64_t value) {
        if (2 * ++count_ > slots_.size()) grow();
        return place(value);
    }
    std::size_t size() const { return count_; }

   private:
    static constexpr std::uint64_t kFree = ~std::uint64_t{0};

    bool place(std::uint64_t value) {
        std::size_t at = mix(value) & (slots_.size() - 1);
        while (slots_[at] != kFree) {
            if (slots_[at] == value) {
                --count_;
                return false;
            }
            at = (at + 1) & (slots_.size() - 1);
        }
        slots_[at] = value;
        return true;
    }
    void grow() {
        std::vector<std::uint64_t> old(4 * slots_.size(), kFree);
        old.swap(slots_);
        for (const std::uint64_t value : old) {
            if (value != kFree) place(value);
        }
    }

    std::vector<std::uint64_t>& slots_;
    std::size_t count_ = 0;
};

}  // namespace

Automaton::Automaton(std::shared_ptr<const Grammar> grammar)
    : grammar_(std::move(grammar)), num_classes_(grammar_->representatives.size()), frames_(1) {
    states_.push_back({});
    steps_.assign(num_classes_, kDead);
    todo_.push_back({grammar_->start, 0});
    start_ = close();
}

std::size_t Automaton::memory() const {
    return steps_.size() * sizeof(State) + configs_.size() * sizeof(Config) + states_.size() * (sizeof(StateRow) + 48) +
           frames_.size() * (sizeof(Frame) + 48);
}

Automaton::StackId Automaton::push(StackId parent, NodeId returns_to) {
    const auto [it, added] = frame_ids_.try_emplace(pair_of(parent, returns_to), static_cast<StackId>(frames_.size()));
    if (added) frames_.push_back({returns_to, parent, frames_[parent].depth + 1});
    return it->second;
}

Automaton::State Automaton::close() {
    found_.clear();
    bool may_end = false;
    PairSet seen(seen_);
    const auto add = [&](NodeId node, StackId stack) {
        if (seen.insert(pair_of(node, stack))) todo_.push_back({node, stack});
    };
    std::vector<Config> begin;
    begin.swap(todo_);
    for (const Config& config : begin) add(config.node, config.stack);
    while (!todo_.empty()) {
        const Config config = todo_.back();
        todo_.pop_back();
        const Grammar::Node& node = grammar_->nodes[config.node];
        const Grammar::Node& next = grammar_->nodes[config.node + 1];
        if (node.symbols != next.symbols) found_.push_back(config);
        if (node.is_end) {
            if (config.stack == 0) {
                may_end = true;
            } else {
                add(frames_[config.stack].returns_to, frames_[config.stack].parent);
            }
        }
        for (std::uint32_t i = node.moves; i < next.moves; ++i) add(grammar_->moves[i], config.stack);
        for (std::uint32_t i = node.calls; i < next.calls; ++i) {
            const Grammar::CallEdge& call = grammar_->calls[i];
            // the last call of a rule returns to where the rule returns to: recursion at the end of a rule needs no stack
            if (grammar_->only_ends(call.returns_to)) {
                add(call.entry, config.stack);
            } else if (frames_[config.stack].depth < kMaxStack) {
                add(call.entry, push(config.stack, call.returns_to));
            }
        }
        if (seen.size() > kMaxConfigs) {
            todo_.clear();
            throw GrammarError("the constraint is too ambiguous: a text can be read in more than " + std::to_string(kMaxConfigs) + " ways");
        }
    }
    std::ranges::sort(found_);
    return found_.empty() && !may_end ? kDead : intern(found_, may_end);
}

Automaton::State Automaton::intern(const std::vector<Config>& configs, bool may_end) {
    std::uint64_t hash = may_end ? 1 : 0;
    for (const Config& config : configs) hash = mix(hash ^ pair_of(config.node, config.stack)) + 0x632be59bd9b4e019U;
    const auto [first, last] = state_ids_.equal_range(hash);
    for (auto it = first; it != last; ++it) {
        const StateRow& row = states_[it->second];
        if (row.may_end == may_end &&
            std::equal(configs.begin(), configs.end(), configs_.begin() + row.begin, configs_.begin() + row.end)) {
            return it->second;
        }
    }
    if (memory() > kLargest) throw GrammarError("the constraint is too complex to be followed");
    const auto id = static_cast<State>(states_.size());
    const auto begin = static_cast<std::uint32_t>(configs_.size());
    configs_.insert(configs_.end(), configs.begin(), configs.end());
    states_.push_back({begin, static_cast<std::uint32_t>(configs_.size()), may_end});
    state_ids_.emplace(hash, id);
    steps_.resize(steps_.size() + num_classes_, kUnknown);
    return id;
}

Automaton::State Automaton::compute(State state, std::uint16_t symbol_class) {
    const Symbol symbol = grammar_->representatives[symbol_class];
    todo_.clear();
    const StateRow row = states_[state];
    for (std::uint32_t i = row.begin; i < row.end; ++i) {
        const Config config = configs_[i];
        const std::uint32_t last = grammar_->nodes[config.node + 1].symbols;
        for (std::uint32_t edge = grammar_->nodes[config.node].symbols; edge < last; ++edge) {
            const Grammar::SymbolEdge& e = grammar_->symbol_edges[edge];
            if (e.first <= symbol && symbol <= e.last) todo_.push_back({e.target, config.stack});
        }
    }
    const State target = todo_.empty() ? kDead : close();
    steps_[state * num_classes_ + symbol_class] = target;
    return target;
}

template <class Map>
Automaton::State Automaton::translate(const Automaton& other, State state, const Map& map) {
    if (state == kDead) return kDead;
    const StateRow row = other.states_[state];
    found_.clear();
    std::vector<NodeId> returns;
    for (std::uint32_t i = row.begin; i < row.end; ++i) {
        const Config config = other.configs_[i];
        returns.clear();
        for (StackId at = config.stack; at != 0; at = other.frames_[at].parent) returns.push_back(other.frames_[at].returns_to);
        StackId stack = 0;
        for (auto it = returns.rbegin(); it != returns.rend(); ++it) stack = push(stack, map(*it));
        found_.push_back({map(config.node), stack});
    }
    std::ranges::sort(found_);
    found_.erase(std::unique(found_.begin(), found_.end()), found_.end());
    return intern(found_, row.may_end);
}

Automaton::State Automaton::adopt(const Automaton& other, State state) {
    return translate(other, state, [](NodeId node) { return node; });
}

Automaton::State Automaton::alike(State state) {
    const auto it = alike_.find(state);
    if (it != alike_.end()) return it->second;
    const State same = translate(*this, state, [this](NodeId node) { return grammar_->nodes[node].alike; });
    alike_.emplace(state, same);
    return same;
}

}  // namespace tfserve
