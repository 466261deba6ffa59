// Finds stop strings in a text that arrives in pieces.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tfserve {

/// An Aho-Corasick automaton over bytes and the text that it holds back. Which stop string wins depends on the whole text
/// alone, never on how it was cut into pieces: the one that begins first; of those that begin at the same place the one that ends
/// first; of equal strings the first of the list. A stop string inside a longer one that began earlier therefore waits until
/// the longer one is completed or ruled out.
class StopMatcher {
   public:
    /// Empty strings are passed over. Time and memory: linear in the length of all strings together.
    explicit StopMatcher(const std::vector<std::string>& stop);

    /// Takes more text and appends to `sent` what no stop string can begin in any more. Returns the index of the stop string that was
    /// found, or -1; after that the matcher takes nothing.
    std::int32_t push(std::string_view text, std::string& sent);
    /// The end of the text: what could only have begun a stop string is sent after all. Returns as push() does.
    std::int32_t finish(std::string& sent);

   private:
    static constexpr std::uint32_t kRoot = 0;
    static constexpr std::uint32_t kNone = UINT32_MAX;

    struct Node {
        std::uint32_t first_child = kNone;
        std::uint32_t next_sibling = kNone;
        std::uint32_t fallback = kRoot;  ///< the longest proper suffix that is a node too
        std::uint32_t depth = 0;         ///< bytes from the root
        std::int32_t stop = -1;          ///< the longest stop string that ends here
        std::uint32_t stop_length = 0;
        unsigned char byte = 0;  ///< on the edge from its parent
    };

    std::uint32_t child(std::uint32_t node, unsigned char byte) const;
    std::uint32_t step(std::uint32_t node, unsigned char byte) const;
    void add(const std::string& word, std::int32_t index);
    void link();
    std::int32_t end_at_match(std::string& sent);

    std::vector<Node> nodes_;
    std::uint32_t node_ = kRoot;
    std::string held_;             ///< from the earliest place where a stop string may begin or has begun
    std::int32_t match_ = -1;      ///< the best so far; waits for an earlier one
    std::size_t match_begin_ = 0;  ///< in `held_`
    bool done_ = false;
};

}  // namespace tfserve
