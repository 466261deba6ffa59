// The grammar as it is followed: sets of stacks, made into numbered states as they are met.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "grammar/grammar.h"

namespace tfserve {

/// Where a grammar can be after a text, over all ways to read it: a state is a set of (node, stack of return nodes), stacks and states are
/// kept once each, and every step from a state is remembered. Grows as texts are followed; whoever owns it looks at full() and begins a
/// new one. For one thread at a time.
class Automaton {
   public:
    using State = std::uint32_t;
    /// No text goes on here.
    static constexpr State kDead = 0;

    explicit Automaton(std::shared_ptr<const Grammar> grammar);

    State start() const { return start_; }
    /// Throws GrammarError when the grammar is too ambiguous to be followed.
    State next(State state, Symbol symbol) {
        const std::size_t index = state * num_classes_ + grammar_->class_of[symbol];
        return steps_[index] != kUnknown ? steps_[index] : compute(state, grammar_->class_of[symbol]);
    }
    /// The text may end here.
    bool may_end(State state) const { return states_[state].may_end; }
    /// Nothing can follow.
    bool must_end(State state) const { return states_[state].begin == states_[state].end; }

    /// The state that stands for all that cannot be told apart by a text of up to kAlikeBytes bytes, as far as that is known.
    State alike(State state);
    /// The same state of another automaton of the same grammar.
    State adopt(const Automaton& other, State state);
    /// Time to begin a new one, between two texts.
    bool full() const { return memory() > kFull; }
    /// Bytes, about.
    std::size_t memory() const;

   private:
    using StackId = std::uint32_t;  // 0: empty
    static constexpr State kUnknown = 0xFFFFFFFF;
    static constexpr std::size_t kFull = std::size_t{8} << 20;
    static constexpr std::size_t kLargest = std::size_t{64} << 20;

    struct Frame {
        NodeId returns_to;
        StackId parent;
        std::uint32_t depth;
    };
    struct Config {
        NodeId node;
        StackId stack;
        friend auto operator<=>(const Config&, const Config&) = default;
    };
    struct StateRow {
        std::uint32_t begin = 0, end = 0;  // of configs_
        bool may_end = false;
    };

    State compute(State state, std::uint16_t symbol_class);
    /// The state of everything that the configurations in todo_ reach without reading.
    State close();
    StackId push(StackId parent, NodeId returns_to);
    State intern(const std::vector<Config>& configs, bool may_end);
    /// The state of `other` with other nodes in the place of its own.
    template <class Map>
    State translate(const Automaton& other, State state, const Map& map);

    std::shared_ptr<const Grammar> grammar_;
    std::size_t num_classes_;
    std::vector<Frame> frames_;
    std::unordered_map<std::uint64_t, StackId> frame_ids_;
    std::vector<Config> configs_;
    std::vector<StateRow> states_;
    std::unordered_multimap<std::size_t, State> state_ids_;
    std::vector<State> steps_;
    std::unordered_map<State, State> alike_;
    State start_ = kDead;

    std::vector<Config> todo_, found_;  // scratch
    std::vector<std::uint64_t> seen_;
};

}  // namespace tfserve
