// JSON as expressions: the pieces that schemas are made of.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string_view>

#include "grammar/grammar_builder.h"

namespace tfserve {

/// flexible: where JSON allows whitespace, nothing, a space, or one line break and its indent; compact: nothing.
enum class JsonWhitespace { flexible, compact };

/// Each rule is made when it is first used. Whitespace stands behind '{', '[', ',' and ':' and before '}' and ']', and is bounded, so
/// that a model cannot go on with it for ever.
class JsonRules {
   public:
    JsonRules(GrammarBuilder& builder, JsonWhitespace whitespace) : builder_(builder), whitespace_(whitespace) {}

    ExprId space();
    /// Any string, with every escape; surrogates only in pairs.
    ExprId string();
    ExprId string_of_length(std::uint32_t min, std::uint32_t max);
    /// What stands between the quotes.
    ExprId string_content(std::uint32_t min, std::uint32_t max);
    /// One character out of a set, as it stands within a string: the shortest escape where it needs one.
    ExprId string_char(const CharSet& set);
    ExprId integer();
    /// Up to 15 digits on each side of the point, exponents of up to two digits: every reader finds it finite.
    ExprId number();
    ExprId boolean();
    ExprId null();
    ExprId value();
    ExprId object();
    ExprId array();
    /// A value as it is: minimal escapes, members in their order.
    ExprId literal(const nlohmann::ordered_json& value);
    /// '{', members that are not empty, '}'; or, with `may_be_empty`, nothing between.
    ExprId braced(std::string_view braces, ExprId content, bool may_be_empty);
    /// What stands between two members or elements.
    ExprId comma();
    /// A member: key (an expression for a whole string) and value.
    ExprId member(ExprId key, ExprId value);
    /// A key that is none of `names`, written without escapes: an escaped one could be one of them after all.
    ExprId other_key(const std::vector<std::string>& names);

   private:
    ExprId any_char();
    template <class Make>
    ExprId once(std::optional<RuleId>& rule, const Make& make);

    GrammarBuilder& builder_;
    JsonWhitespace whitespace_;
    std::optional<RuleId> space_, string_, char_, integer_, number_, value_, object_, array_;
};

}  // namespace tfserve
