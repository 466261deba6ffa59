#include "grammar/char_set.h"

#include <algorithm>
#include <utility>

namespace tfserve {

namespace {

constexpr char32_t kFirstSurrogate = 0xD800, kLastSurrogate = 0xDFFF;

int utf8_length(char32_t c) { return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4; }

constexpr char32_t kLastOfLength[] = {0, 0x7F, 0x7FF, 0xFFFF, kLastCharacter};

std::uint8_t utf8_byte(char32_t c, int length, int index) {
    if (length == 1) return static_cast<std::uint8_t>(c);
    const auto bits = static_cast<std::uint8_t>(c >> (6 * (length - 1 - index)));
    if (index > 0) return static_cast<std::uint8_t>(0x80 | (bits & 0x3F));
    constexpr std::uint8_t kLead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    return static_cast<std::uint8_t>(kLead[length] | bits);
}

/// Characters of one length. Ranges are cut until all continuation bytes behind the first that differs are free.
void add_sequences(char32_t first, char32_t last, std::vector<ByteSequence>& sequences) {
    const int length = utf8_length(first);
    for (int free_bytes = 1; free_bytes < length; ++free_bytes) {
        const char32_t low_bits = (char32_t{1} << (6 * free_bytes)) - 1;
        if ((first & ~low_bits) == (last & ~low_bits)) continue;
        if ((first & low_bits) != 0) {
            add_sequences(first, first | low_bits, sequences);
            add_sequences((first | low_bits) + 1, last, sequences);
            return;
        }
        if ((last & low_bits) != low_bits) {
            add_sequences(first, (last & ~low_bits) - 1, sequences);
            add_sequences(last & ~low_bits, last, sequences);
            return;
        }
    }
    ByteSequence sequence;
    for (int i = 0; i < length; ++i) sequence.push_back({utf8_byte(first, length, i), utf8_byte(last, length, i)});
    sequences.push_back(std::move(sequence));
}

}  // namespace

CharSet::CharSet(std::initializer_list<Range> ranges) : ranges_(ranges) { normalise(); }

CharSet::CharSet(std::vector<Range> ranges) : ranges_(std::move(ranges)) { normalise(); }

CharSet CharSet::all() { return {{0, kLastCharacter}}; }

CharSet CharSet::of(std::string_view characters) {
    CharSet set;
    for (const char c : characters) set.add(static_cast<unsigned char>(c), static_cast<unsigned char>(c));
    return set;
}

void CharSet::add(char32_t first, char32_t last) {
    ranges_.push_back({first, last});
    normalise();
}

void CharSet::add(const CharSet& other) {
    ranges_.insert(ranges_.end(), other.ranges_.begin(), other.ranges_.end());
    normalise();
}

void CharSet::normalise() {
    std::vector<Range> whole;
    for (const Range& range : ranges_) {
        const char32_t last = std::min(range.last, kLastCharacter);
        if (range.first > last) continue;
        // surrogates stand for no character
        if (range.first < kFirstSurrogate) whole.push_back({range.first, std::min<char32_t>(last, kFirstSurrogate - 1)});
        if (last > kLastSurrogate) whole.push_back({std::max<char32_t>(range.first, kLastSurrogate + 1), last});
    }
    std::ranges::sort(whole, {}, &Range::first);
    ranges_.clear();
    for (const Range& range : whole) {
        if (!ranges_.empty() && range.first <= ranges_.back().last + 1) {
            ranges_.back().last = std::max(ranges_.back().last, range.last);
        } else {
            ranges_.push_back(range);
        }
    }
}

CharSet CharSet::complement() const {
    CharSet set;
    char32_t next = 0;
    for (const Range& range : ranges_) {
        if (range.first > next) set.ranges_.push_back({next, range.first - 1});
        next = range.last + 1;
    }
    if (next <= kLastCharacter) set.ranges_.push_back({next, kLastCharacter});
    set.normalise();
    return set;
}

CharSet CharSet::both(const CharSet& other) const {
    CharSet set;
    for (const Range& a : ranges_) {
        for (const Range& b : other.ranges_) {
            if (a.first <= b.last && b.first <= a.last) set.ranges_.push_back({std::max(a.first, b.first), std::min(a.last, b.last)});
        }
    }
    set.normalise();
    return set;
}

CharSet CharSet::without(const CharSet& other) const { return both(other.complement()); }

bool CharSet::contains(char32_t c) const {
    return std::ranges::any_of(ranges_, [c](const Range& range) { return c >= range.first && c <= range.last; });
}

std::vector<ByteSequence> utf8_sequences(const CharSet& set) {
    std::vector<ByteSequence> sequences;
    for (const CharSet::Range& range : set.ranges()) {
        char32_t first = range.first;
        while (first <= range.last) {
            const char32_t last = std::min(range.last, kLastOfLength[utf8_length(first)]);
            add_sequences(first, last, sequences);
            first = last + 1;
        }
    }
    return sequences;
}

char32_t next_character(std::string_view text, std::size_t& position) {
    constexpr char32_t kReplacement = 0xFFFD;
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byte(position);
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
    if (length == 0 || text.size() - position < length) {
        ++position;
        return kReplacement;
    }
    char32_t c = length == 1 ? lead : lead & (0x7FU >> length);
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(position + i) & 0xC0) != 0x80) {
            ++position;
            return kReplacement;
        }
        c = c << 6 | (byte(position + i) & 0x3FU);
    }
    position += length;
    return c;
}

}  // namespace tfserve
