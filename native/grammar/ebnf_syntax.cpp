#include "grammar/ebnf_syntax.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "grammar/grammar_error.h"
#include "grammar/regex_syntax.h"

namespace tfserve {

namespace {

constexpr std::uint32_t kMaxCount = 65536;
constexpr int kMaxNesting = 200;

bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-'; }

class EbnfParser {
   public:
    EbnfParser(GrammarBuilder& builder, std::string_view text) : builder_(builder), text_(text) {}

    ExprId parse() {
        for (skip_space(); !at_end(); skip_space()) {
            const std::string name = take_name();
            if (name.empty()) fail("a rule's name is expected");
            skip_space();
            if (!take("::=")) fail("'::=' is expected behind the name of a rule");
            Rule& rule = rule_of(name);
            if (rule.defined) fail("the rule '" + name + "' is defined twice");
            rule.defined = true;
            builder_.define(rule.id, alternatives(0));
        }
        for (const auto& [name, rule] : rules_) {
            if (!rule.defined)
                throw GrammarError("the grammar has no rule '" + name + "', which it refers to in line " +
                                   std::to_string(line_at(rule.begin)));
        }
        const auto root = rules_.find("root");
        if (root == rules_.end()) throw GrammarError("the grammar has no rule 'root'");
        return builder_.call(root->second.id);
    }

   private:
    struct Rule {
        RuleId id;
        bool defined = false;
        std::size_t begin = 0;  // where it is met first
    };

    long line_at(std::size_t position) const {
        return 1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(std::min(position, text_.size())), '\n');
    }
    [[noreturn]] void fail(const std::string& what) const {
        throw GrammarError("line " + std::to_string(line_at(position_)) + " of the grammar: " + what);
    }
    bool at_end() const { return position_ >= text_.size(); }
    char peek() const { return at_end() ? '\0' : text_[position_]; }
    bool take(std::string_view part) {
        if (!text_.substr(position_).starts_with(part)) return false;
        position_ += part.size();
        return true;
    }
    void skip_space() {
        while (!at_end()) {
            if (peek() == '#') {
                while (!at_end() && peek() != '\n') ++position_;
            } else if (peek() == ' ' || peek() == '\t' || peek() == '\r' || peek() == '\n') {
                ++position_;
            } else {
                return;
            }
        }
    }
    std::string take_name() {
        const std::size_t begin = position_;
        while (is_name(peek())) ++position_;
        return std::string(text_.substr(begin, position_ - begin));
    }
    /// A name that '::=' follows begins the next rule.
    bool at_rule() {
        const std::size_t begin = position_;
        const bool named = !take_name().empty();
        skip_space();
        const bool result = named && text_.substr(position_).starts_with("::=");
        position_ = begin;
        return result;
    }
    Rule& rule_of(const std::string& name) {
        const auto it = rules_.find(name);
        return it != rules_.end() ? it->second : rules_.emplace(name, Rule{builder_.new_rule(), false, position_}).first->second;
    }

    ExprId alternatives(int depth) {
        if (depth > kMaxNesting) fail("there are too many nested groups");
        std::vector<ExprId> options;
        do {
            options.push_back(sequence(depth));
        } while (take("|"));
        return builder_.any_of(std::move(options));
    }

    ExprId sequence(int depth) {
        std::vector<ExprId> parts;
        for (skip_space(); !at_end() && peek() != '|' && peek() != ')' && !at_rule(); skip_space()) parts.push_back(item(depth));
        return builder_.sequence(std::move(parts));
    }

    ExprId item(int depth) {
        ExprId expr = atom(depth);
        for (;;) {
            if (take("*")) {
                expr = builder_.repeat(expr, 0);
            } else if (take("+")) {
                expr = builder_.repeat(expr, 1);
            } else if (take("?")) {
                expr = builder_.optional(expr);
            } else if (take("{")) {
                expr = counted(expr);
            } else {
                return expr;
            }
        }
    }

    ExprId counted(ExprId expr) {
        skip_space();
        const std::uint32_t min = peek() == ',' ? 0 : number();
        std::uint32_t max = min;
        skip_space();
        if (take(",")) {
            skip_space();
            max = peek() == '}' ? kNoLimit : number();
            skip_space();
        }
        if (!take("}")) fail("'}' is expected behind a count");
        if (max < min) fail("a count's limits are exchanged");
        return builder_.repeat(expr, min, max);
    }

    std::uint32_t number() {
        if (peek() < '0' || peek() > '9') fail("a count is expected");
        std::uint32_t value = 0;
        for (; peek() >= '0' && peek() <= '9'; ++position_) {
            value = 10 * value + static_cast<std::uint32_t>(peek() - '0');
            if (value > kMaxCount) fail("a count is above " + std::to_string(kMaxCount));
        }
        return value;
    }

    ExprId atom(int depth) {
        if (take("\"")) return builder_.literal(quoted());
        if (take("(")) {
            const ExprId expr = alternatives(depth + 1);
            if (!take(")")) fail("')' is missing");
            return expr;
        }
        if (take(".")) return builder_.chars(CharSet::all());
        if (peek() == '[') return char_class();
        const std::string name = take_name();
        if (name.empty()) fail("a literal, a class, a group or the name of a rule is expected");
        return builder_.call(rule_of(name).id);
    }

    std::string quoted() {
        std::string result;
        while (!take("\"")) {
            if (at_end() || peek() == '\n') fail("a literal has no end");
            if (!take("\\")) {
                result += text_[position_++];
                continue;
            }
            const char c = at_end() ? '\0' : text_[position_++];
            switch (c) {
                case 'n': result += '\n'; break;
                case 'r': result += '\r'; break;
                case 't': result += '\t'; break;
                case '"':
                case '\\':
                case '\'':
                case '[':
                case ']': result += c; break;
                case 'x': append(result, hex(2)); break;
                case 'u': append(result, hex(4)); break;
                case 'U': append(result, hex(8)); break;
                default: fail("a literal has an escape that is not known");
            }
        }
        return result;
    }

    char32_t hex(int digits) {
        char32_t value = 0;
        for (int i = 0; i < digits; ++i, ++position_) {
            const char c = peek();
            const int digit = c >= '0' && c <= '9'   ? c - '0'
                              : c >= 'a' && c <= 'f' ? c - 'a' + 10
                              : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                     : -1;
            if (digit < 0) fail("an escape is incomplete");
            value = 16 * value + static_cast<char32_t>(digit);
        }
        if (value > kLastCharacter || (value >= 0xD800 && value < 0xE000)) fail("an escape stands for no character");
        return value;
    }

    static void append(std::string& text, char32_t c) {
        const auto byte = [&](char32_t value) { text += static_cast<char>(value); };
        if (c < 0x80) return byte(c);
        if (c < 0x800) {
            byte(0xC0 | c >> 6);
        } else if (c < 0x10000) {
            byte(0xE0 | c >> 12);
            byte(0x80 | (c >> 6 & 0x3F));
        } else {
            byte(0xF0 | c >> 18);
            byte(0x80 | (c >> 12 & 0x3F));
            byte(0x80 | (c >> 6 & 0x3F));
        }
        byte(0x80 | (c & 0x3F));
    }

    /// A class is a regular expression's.
    ExprId char_class() {
        const std::size_t begin = position_++;
        while (!at_end() && peek() != ']') position_ = std::min(position_ + (peek() == '\\' ? 2 : 1), text_.size());
        if (!take("]")) fail("a class has no end");
        const CharWriter chars = [this](const CharSet& set) { return builder_.chars(set); };
        try {
            return regex_expression(builder_, text_.substr(begin, position_ - begin), RegexMatch::whole, chars);
        } catch (const GrammarError& error) {
            fail(std::string("a class is not valid: ") + error.what());
        }
    }

    GrammarBuilder& builder_;
    std::string_view text_;
    std::size_t position_ = 0;
    std::map<std::string, Rule> rules_;
};

}  // namespace

ExprId ebnf_expression(GrammarBuilder& builder, std::string_view text) { return EbnfParser(builder, text).parse(); }

}  // namespace tfserve
