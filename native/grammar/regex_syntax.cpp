#include "grammar/regex_syntax.h"

#include <string>
#include <vector>

#include "grammar/grammar_error.h"

namespace tfserve {

namespace {

constexpr std::uint32_t kMaxCount = 65536;
constexpr int kMaxNesting = 200;

class RegexParser {
   public:
    RegexParser(GrammarBuilder& builder, std::string_view pattern, RegexMatch match, const CharWriter& chars)
        : builder_(builder), pattern_(pattern), match_(match), chars_(chars) {}

    ExprId parse() {
        const ExprId expr = alternatives(0);
        if (!at_end()) fail("unmatched ')'");
        return expr;
    }

   private:
    [[noreturn]] void fail(const std::string& what) const {
        throw GrammarError("the regular expression has " + what + " at position " + std::to_string(position_));
    }
    bool at_end() const { return position_ >= pattern_.size(); }
    char peek(std::size_t ahead = 0) const { return position_ + ahead < pattern_.size() ? pattern_[position_ + ahead] : '\0'; }
    bool take(std::string_view text) {
        if (!pattern_.substr(position_).starts_with(text)) return false;
        position_ += text.size();
        return true;
    }

    ExprId anything() { return builder_.repeat(chars_(CharSet::all()), 0); }

    ExprId alternatives(int depth) {
        if (depth > kMaxNesting) fail("too many nested groups");
        std::vector<ExprId> options;
        do {
            options.push_back(alternative(depth));
        } while (take("|"));
        return builder_.any_of(std::move(options));
    }

    // ^ and $ are known at the ends of the whole pattern's alternatives only: elsewhere they would make most patterns match nothing
    ExprId alternative(int depth) {
        std::vector<ExprId> parts;
        const bool from_start = depth == 0 && take("^");
        if (depth == 0 && match_ == RegexMatch::search && !from_start) parts.push_back(anything());
        bool to_end = false;
        while (!at_end() && peek() != '|' && peek() != ')') {
            if (peek() == '^') fail("an anchor '^' that is not at its beginning");
            if (peek() == '$') {
                ++position_;
                if (depth > 0 || !(at_end() || peek() == '|')) fail("an anchor '$' that is not at its end");
                to_end = true;
                break;
            }
            parts.push_back(quantified(depth));
        }
        if (depth == 0 && match_ == RegexMatch::search && !to_end) parts.push_back(anything());
        return builder_.sequence(std::move(parts));
    }

    ExprId quantified(int depth) {
        ExprId item = atom(depth);
        for (int count = 0;; ++count) {
            std::uint32_t min = 0, max = kNoLimit;
            if (take("*")) {
            } else if (take("+")) {
                min = 1;
            } else if (take("?")) {
                max = 1;
            } else if (!braces(min, max)) {
                return item;
            }
            if (count > 0) fail("a quantifier behind a quantifier");
            if (!take("?") && peek() == '+') fail("a possessive quantifier, which is not supported,");  // lazy ones match the same texts
            item = builder_.repeat(item, min, max);
        }
    }

    /// {m}, {m,} or {m,n}; anything else behind a brace is the brace itself.
    bool braces(std::uint32_t& min, std::uint32_t& max) {
        const std::size_t begin = position_;
        if (!take("{")) return false;
        const auto lowest = number();
        if (lowest && take("}")) {
            min = max = *lowest;
            return true;
        }
        if (lowest && take(",")) {
            const auto highest = number();
            if (take("}")) {
                min = *lowest;
                max = highest.value_or(kNoLimit);
                if (max < min) fail("a quantifier whose limits are exchanged");
                return true;
            }
        }
        position_ = begin;
        return false;
    }

    std::optional<std::uint32_t> number() {
        if (peek() < '0' || peek() > '9') return std::nullopt;
        std::uint32_t value = 0;
        while (peek() >= '0' && peek() <= '9') {
            value = 10 * value + static_cast<std::uint32_t>(peek() - '0');
            if (value > kMaxCount) fail("a count above " + std::to_string(kMaxCount));
            ++position_;
        }
        return value;
    }

    ExprId atom(int depth) {
        if (take("(")) return group(depth);
        if (take("[")) return chars_(char_class());
        if (take(".")) return chars_(CharSet{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}.complement());
        if (take("\\")) {
            if (peek() == 'b' || peek() == 'B') fail("a word boundary, which is not supported,");
            return chars_(escape());
        }
        if (peek() == '*' || peek() == '+' || peek() == '?') fail("a quantifier behind nothing");
        const char32_t c = next_character(pattern_, position_);
        return chars_(CharSet{{c, c}});
    }

    ExprId group(int depth) {
        if (take("?")) {
            if (take("P<") || (peek() == '<' && peek(1) != '=' && peek(1) != '!' && take("<"))) {
                while (!at_end() && peek() != '>') ++position_;
                if (!take(">")) fail("a group's name without an end");
            } else if (!take(":")) {
                fail("a group of a kind that is not supported");
            }
        }
        const ExprId expr = alternatives(depth + 1);
        if (!take(")")) fail("a group without an end");
        return expr;
    }

    std::uint32_t hex(int digits) {
        std::uint32_t value = 0;
        for (int i = 0; i < digits; ++i) {
            const char c = peek();
            const int digit = c >= '0' && c <= '9'   ? c - '0'
                              : c >= 'a' && c <= 'f' ? c - 'a' + 10
                              : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                     : -1;
            if (digit < 0) fail("an incomplete escape");
            value = 16 * value + static_cast<std::uint32_t>(digit);
            ++position_;
        }
        return value;
    }

    char32_t unicode_escape() {
        if (take("{")) {
            std::uint32_t value = 0;
            while (!at_end() && peek() != '}') {
                value = 16 * value + hex(1);
                if (value > kLastCharacter) fail("an escape that stands for no character");
            }
            if (!take("}")) fail("an incomplete escape");
            return value;
        }
        const std::uint32_t high = hex(4);
        if (high >= 0xD800 && high < 0xDC00 && take("\\u")) {
            const std::uint32_t low = hex(4);
            if (low >= 0xDC00 && low < 0xE000) return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
        }
        if (high >= 0xD800 && high < 0xE000) fail("an escape that stands for no character");
        return high;
    }

    /// Behind a backslash.
    CharSet escape() {
        if (at_end()) fail("a backslash at its end");
        const char c = peek();
        if (const auto set = regex_class(static_cast<unsigned char>(c))) {
            ++position_;
            return *set;
        }
        if (static_cast<unsigned char>(c) < 0x80 && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')) {
            ++position_;
            return CharSet::of({&c, 1});
        }
        char32_t one = 0;
        switch (c) {
            case 'n': one = '\n'; break;
            case 'r': one = '\r'; break;
            case 't': one = '\t'; break;
            case 'f': one = '\f'; break;
            case 'v': one = '\v'; break;
            case '0': one = 0; break;
            case 'x':
                ++position_;
                one = hex(2);
                return {{one, one}};
            case 'u':
                ++position_;
                one = unicode_escape();
                return {{one, one}};
            default:
                if (c >= '1' && c <= '9') fail("a back reference, which is not supported,");
                fail("an escape that is not supported");
        }
        ++position_;
        if (c == '0' && peek() >= '0' && peek() <= '9') fail("an escape that is not supported");
        return {{one, one}};
    }

    /// One member of a class: a character, which may begin a range, or a set.
    CharSet class_member(bool& single) {
        single = true;
        if (!take("\\")) {
            const char32_t c = next_character(pattern_, position_);
            return {{c, c}};
        }
        if (take("b")) return {{'\b', '\b'}};
        const CharSet set = escape();
        single = set.ranges().size() == 1 && set.ranges().front().first == set.ranges().front().last;
        return set;
    }

    CharSet char_class() {
        const bool negated = take("^");
        std::vector<CharSet::Range> ranges;
        while (!take("]")) {
            if (at_end()) fail("a class without an end");
            bool single = false;
            const CharSet first = class_member(single);
            if (single && peek() == '-' && peek(1) != ']' && peek(1) != '\0') {
                ++position_;
                const CharSet last = class_member(single);
                if (!single) fail("a range that ends with a set");
                if (last.ranges().front().first < first.ranges().front().first) fail("a range whose ends are exchanged");
                ranges.push_back({first.ranges().front().first, last.ranges().front().first});
            } else {
                ranges.insert(ranges.end(), first.ranges().begin(), first.ranges().end());
            }
        }
        const CharSet set(std::move(ranges));
        return negated ? set.complement() : set;
    }

    GrammarBuilder& builder_;
    std::string_view pattern_;
    RegexMatch match_;
    const CharWriter& chars_;
    std::size_t position_ = 0;
};

}  // namespace

std::optional<CharSet> regex_class(char32_t letter) {
    const CharSet digits{{'0', '9'}};
    const CharSet words{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    const CharSet spaces{{'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
                         {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
    switch (letter) {
        case 'd': return digits;
        case 'D': return digits.complement();
        case 'w': return words;
        case 'W': return words.complement();
        case 's': return spaces;
        case 'S': return spaces.complement();
        default: return std::nullopt;
    }
}

ExprId regex_expression(GrammarBuilder& builder, std::string_view pattern, RegexMatch match, const CharWriter& chars) {
    return RegexParser(builder, pattern, match, chars).parse();
}

}  // namespace tfserve
