// Sets of Unicode characters, and the byte sequences that UTF-8 writes them as.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace tfserve {

inline constexpr char32_t kLastCharacter = 0x10FFFF;

/// A set of Unicode scalar values: surrogates are never members, whatever is added.
class CharSet {
   public:
    struct Range {
        char32_t first, last;  ///< both included
        friend bool operator==(const Range&, const Range&) = default;
    };

    CharSet() = default;
    CharSet(std::initializer_list<Range> ranges);
    /// In any order; they may overlap.
    explicit CharSet(std::vector<Range> ranges);
    /// Every character.
    static CharSet all();
    /// The ASCII characters of a string.
    static CharSet of(std::string_view characters);

    void add(char32_t first, char32_t last);
    void add(const CharSet& other);
    CharSet complement() const;
    CharSet without(const CharSet& other) const;
    CharSet both(const CharSet& other) const;
    bool contains(char32_t c) const;
    bool empty() const { return ranges_.empty(); }
    /// Sorted, disjoint, not adjacent.
    const std::vector<Range>& ranges() const { return ranges_; }

   private:
    void normalise();

    std::vector<Range> ranges_;
};

/// A range for each byte: every choice of bytes within them is the UTF-8 of one character.
struct ByteRange {
    std::uint8_t first, last;
    friend auto operator<=>(const ByteRange&, const ByteRange&) = default;
};
using ByteSequence = std::vector<ByteRange>;

/// Sequences that together spell exactly the set's characters, each once.
std::vector<ByteSequence> utf8_sequences(const CharSet& set);

/// Decodes the character at `position` of valid UTF-8 and moves past it. A byte that begins no character counts as U+FFFD.
char32_t next_character(std::string_view text, std::size_t& position);

}  // namespace tfserve
