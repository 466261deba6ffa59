#include "grammar/constraint_tree.h"

#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "grammar/ebnf_syntax.h"
#include "grammar/free_text.h"
#include "grammar/grammar_error.h"
#include "grammar/json_schema.h"
#include "grammar/pattern_languages.h"

namespace tfserve {

namespace {

using Json = SchemaJson;

constexpr std::size_t kMaxText = std::size_t{2} << 20;
constexpr int kMaxJsonDepth = 300;
/// Of one object: each is looked for among all others.
constexpr std::size_t kMaxMembers = 4096;
constexpr int kMaxTreeDepth = 32;
constexpr std::uint32_t kMaxRepeat = 65536;

Json parse(std::string_view text) {
    if (text.size() > kMaxText) throw GrammarError("the constraint is longer than 2 MiB");
    std::vector<std::size_t> members;  // of the objects that are open
    const auto bounded = [&members](int depth, Json::parse_event_t event, Json&) {
        if (event == Json::parse_event_t::object_start) members.push_back(0);
        if (event == Json::parse_event_t::object_end) members.pop_back();
        if (event == Json::parse_event_t::key && ++members.back() > kMaxMembers)
            throw GrammarError("an object in the constraint has more than " + std::to_string(kMaxMembers) + " members");
        if (depth > kMaxJsonDepth)
            throw GrammarError("the constraint is nested more than " + std::to_string(kMaxJsonDepth) + " levels deep");
        return true;
    };
    try {
        return Json::parse(text, bounded);
    } catch (const Json::exception&) {
        throw GrammarError("the constraint is not valid JSON");
    }
}

class TreeReader {
   public:
    TreeReader(GrammarBuilder& builder, const TokenTable* tokens) : builder_(builder), tokens_(tokens) {}

    ExprId read(const Json& node, int depth) {
        if (depth > kMaxTreeDepth) throw GrammarError("the constraint is nested too deep");
        if (!node.is_object()) throw GrammarError("a constraint must be an object");
        const std::string type = text(node, "type");
        if (type == "json_schema") return schema_expression(builder_, field(node, "schema"), whitespace(node));
        if (type == "json_object") return schema_expression(builder_, Json{{"type", "object"}}, whitespace(node));
        if (type == "regex") {
            const std::string pattern = text(node, "pattern");
            const CharWriterFor chars = [](GrammarBuilder& builder) -> CharWriter {
                return [&builder](const CharSet& set) { return builder.chars(set); };
            };
            return languages_expression(builder_, pattern_languages(pattern, RegexMatch::whole, chars));
        }
        if (type == "grammar") return ebnf_expression(builder_, text(node, "text"));
        if (type == "literal") return builder_.literal(text(node, "text"));
        if (type == "sequence") return builder_.sequence(list(node, "parts", depth));
        if (type == "any_of") return builder_.any_of(list(node, "options", depth));
        if (type == "repeat") return repeat(node, depth);
        if (type == "free_text") return free_text(builder_, tokens_, {{}, words(node, "without")});
        if (type == "text_until") {
            FreeText text{words(node, "literals"), words(node, "without")};
            if (text.until.empty()) throw GrammarError("'literals' of a constraint must not be empty");
            return free_text(builder_, tokens_, text);
        }
        throw GrammarError("a constraint has the type '" + type.substr(0, 64) + "', which is not known");
    }

   private:
    static const Json& field(const Json& node, const char* name) {
        const auto it = node.find(name);
        if (it == node.end()) throw GrammarError("a constraint lacks '" + std::string(name) + "'");
        return *it;
    }
    static std::string text(const Json& node, const char* name) {
        const Json& value = field(node, name);
        if (!value.is_string()) throw GrammarError("'" + std::string(name) + "' of a constraint must be a string");
        return value.get<std::string>();
    }
    static const Json& array(const Json& node, const char* name) {
        const Json& value = field(node, name);
        if (!value.is_array()) throw GrammarError("'" + std::string(name) + "' of a constraint must be a list");
        return value;
    }
    /// None where there is no such field.
    static std::vector<std::string> words(const Json& node, const char* name) {
        std::vector<std::string> result;
        if (!node.contains(name)) return result;
        for (const Json& word : array(node, name)) {
            if (!word.is_string()) throw GrammarError("'" + std::string(name) + "' of a constraint must be strings");
            result.push_back(word.get<std::string>());
        }
        return result;
    }
    static std::uint32_t count(const Json& value) {
        if (!value.is_number_unsigned() || value > kMaxRepeat) {
            throw GrammarError("the counts of a repeated constraint must be whole numbers up to " + std::to_string(kMaxRepeat));
        }
        return value.get<std::uint32_t>();
    }
    static JsonWhitespace whitespace(const Json& node) {
        if (!node.contains("whitespace") || node["whitespace"] == "flexible") return JsonWhitespace::flexible;
        if (node["whitespace"] == "compact") return JsonWhitespace::compact;
        throw GrammarError("'whitespace' of a constraint must be 'flexible' or 'compact'");
    }

    std::vector<ExprId> list(const Json& node, const char* name, int depth) {
        std::vector<ExprId> parts;
        for (const Json& part : array(node, name)) parts.push_back(read(part, depth + 1));
        return parts;
    }

    ExprId repeat(const Json& node, int depth) {
        const std::uint32_t min = count(field(node, "min"));
        const std::uint32_t max = field(node, "max").is_null() ? kNoLimit : count(field(node, "max"));
        const ExprId item = builder_.shared(read(field(node, "item"), depth + 1));
        if (min > max) throw GrammarError("the counts of a repeated constraint are exchanged");
        if (!node.contains("separator")) return builder_.repeat(item, min, max);
        if (max == 0) return builder_.empty();
        const ExprId next = builder_.sequence({builder_.shared(read(node["separator"], depth + 1)), item});
        const ExprId all = builder_.sequence({item, builder_.repeat(next, min > 0 ? min - 1 : 0, max == kNoLimit ? kNoLimit : max - 1)});
        return min == 0 ? builder_.optional(all) : all;
    }

    GrammarBuilder& builder_;
    const TokenTable* tokens_;
};

}  // namespace

ExprId constraint_expression(GrammarBuilder& builder, const TokenTable* tokens, std::string_view json) {
    return TreeReader(builder, tokens).read(parse(json), 0);
}

}  // namespace tfserve
