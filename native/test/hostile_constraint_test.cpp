// Constraints that are made to crash the compiler or to keep it busy: all are compiled or refused, within bounds of memory and stack.
#include <string>

#include "grammar/constraint_compiler.h"
#include "grammar_support.h"

using namespace tfserve;
using namespace tfserve::testing;

namespace {

/// Why a constraint is refused; empty: it is not.
std::string why_refused(const std::string& tree) {
    const GrammarTokens tokens;
    ConstraintCompiler compiler(tokens.table(), static_cast<std::int32_t>(tokens.pieces.size()));
    try {
        compiler.compile(tree);
    } catch (const GrammarError& error) {
        return error.what();
    }
    return "";
}

std::string of_schema_text(const std::string& schema) { return R"({"type":"json_schema","schema":)" + schema + "}"; }

template <class Make>
std::string list_of(int count, const Make& make) {
    std::string list;
    for (int i = 0; i < count; ++i) list += (i > 0 ? "," : "") + make(std::to_string(i));
    return list;
}

bool says(const std::string& message, const char* part) { return message.find(part) != std::string::npos; }

}  // namespace

TEST(a_property_may_have_a_very_long_name_beside_others_that_are_open) {
    const std::string name(20000, 'a');
    CHECK_EQ(why_refused(of_schema_text(R"({"type":"object","properties":{")" + name + R"(":{}},"additionalProperties":true})")), "");
    // the other keys are still told apart from it
    const Json tree = of_schema(Json::parse(
        R"({"type":"object","properties":{"ab":{"type":"null"},"abc":{"type":"null"}},"additionalProperties":{"type":"integer"}})"));
    CHECK(fits(tree, R"({"ab":null,"a":1,"abd":2,"abcd":3,"b":4,"":5})"));
    CHECK(!fits(tree, R"({"a":1,"ab":2})"));
    CHECK(!fits(tree, R"({"abc":2})"));
}

TEST(objects_with_very_many_members_are_refused) {
    const auto member = [](const std::string& i) { return "\"" + i + "\":1"; };
    CHECK(says(why_refused(of_schema_text("{\"default\":{" + list_of(150000, member) + "}}")), "4096 members"));
    CHECK_EQ(why_refused(of_schema_text("{\"default\":[{" + list_of(4096, member) + "},{" + list_of(4096, member) + "}]}")), "");
}

TEST(long_enumerations_are_merged_and_compared) {
    const auto value = [](const std::string& i) { return i; };
    const auto other = [](const std::string& i) { return "\"" + i + "\""; };
    const std::string numbers = R"({"enum":[)" + list_of(40000, value) + "]}", texts = R"({"enum":[)" + list_of(40000, other) + "]}";
    CHECK(says(why_refused(of_schema_text(R"({"allOf":[)" + numbers + "," + texts + "]}")), "no text"));
    CHECK(says(why_refused(of_schema_text(R"({"oneOf":[)" + numbers + "," + numbers + "]}")), "told apart"));
    CHECK(says(why_refused(of_schema_text(R"({"oneOf":[)" + numbers + "," + texts + "]}")), "too large"));
}

TEST(many_copies_of_a_large_schema_are_refused) {
    const auto reference = [](const std::string& i) { return R"({"$ref":"#/$defs/a","minLength":)" + i + "}"; };
    const auto enumeration = [](int values) {
        return R"({"type":"string","enum":[)" + list_of(values, [](const std::string& i) { return "\"" + i + "\""; }) + "]}";
    };
    CHECK(says(why_refused(of_schema_text(R"({"allOf":[)" + list_of(20000, reference) + R"(],"$defs":{"a":)" + enumeration(5000) + "}}")),
               "too large"));
    std::string nested = enumeration(30000);
    for (int i = 0; i < 100; ++i) nested = R"({"type":"array","items":)" + nested + "}";
    CHECK(says(why_refused(of_schema_text(nested)), "too large"));
}

TEST(options_whose_insides_are_no_schemas_are_refused) {
    const auto option = [](const char* inside) {
        return R"({"type":"object","required":["k"],"properties":{"k":{"type":"object",)" + std::string(inside) + "}}}";
    };
    for (const char* inside :
         {R"("required":[5])", R"("required":[null],"properties":7)", R"("required":{"a":1},"additionalProperties":"x")",
          R"("enum":3,"required":7)", R"("not":{"integers":true})", R"("not":[1])"}) {
        CHECK(!why_refused(of_schema_text(R"({"oneOf":[)" + option(inside) + "," + option(inside) + "]}")).empty());
    }
}

TEST(large_unions_of_ordinary_size_are_no_attack) {
    const auto option = [](const std::string& i) {
        const auto property = [](const std::string& k) { return "\"r" + k + "\":{\"type\":\"string\"}"; };
        const auto name = [](const std::string& k) { return "\"r" + k + "\""; };
        return R"({"type":"object","required":["k",)" + list_of(20, name) + R"(],"properties":{)" + list_of(20, property) +
               R"(,"k":{"const":)" + i + "}}}";
    };
    CHECK_EQ(why_refused(of_schema_text(R"({"oneOf":[)" + list_of(100, option) + "]}")), "");
}

TEST(negations_and_conditions_that_multiply_are_refused) {
    CHECK(says(why_refused(of_schema_text(R"({"not":{"$ref":"#"}})")), "deep"));
    CHECK(says(why_refused(of_schema_text(R"({"type":"object","if":{"$ref":"#"},"then":true})")), "deep"));
    const auto property = [](const std::string& i) { return "\"p" + i + "\":{\"const\":1}"; };
    const std::string wide = R"({"properties":{)" + list_of(4000, property) + "}}";
    CHECK(says(why_refused(of_schema_text(R"({"type":"object","not":)" + wide + "}")), "too many combinations"));
    const std::string half = R"({"properties":{)" + list_of(300, property) + "}}";
    CHECK(
        says(why_refused(of_schema_text(R"({"not":{"anyOf":[)" + list_of(200, [&](const std::string&) { return half; }) + "]}}")), "too"));
    const auto condition = [](const std::string& i) {
        return R"({"if":{"required":["a)" + i + R"("]},"then":{"required":["b)" + i + R"("]}})";
    };
    CHECK(says(why_refused(of_schema_text(R"({"type":"object","allOf":[)" + list_of(40, condition) + "]}")), "too many combinations"));
    const auto needs = [](const std::string& i) { return "\"a" + i + "\":[\"b" + i + "\"]"; };
    CHECK(says(why_refused(of_schema_text(R"({"type":"object","dependentRequired":{)" + list_of(4000, needs) + "}}")), "too"));
    std::string nested = R"({"type":"string"})";
    for (int i = 0; i < 200; ++i) nested = R"({"not":)" + nested + "}";
    CHECK(says(why_refused(of_schema_text(nested)), "deep"));
}

TEST(long_lists_of_what_is_excluded_are_refused_or_compiled) {
    const auto number = [](const std::string& i) { return i; };
    const auto text = [](const std::string& i) { return "\"x" + i + "\""; };
    CHECK_EQ(why_refused(of_schema_text(R"({"type":"integer","not":{"enum":[)" + list_of(1000, number) + "]}}")), "");
    CHECK_EQ(why_refused(of_schema_text(R"({"type":"string","not":{"enum":[)" + list_of(1000, text) + "]}}")), "");
    CHECK(says(why_refused(of_schema_text(R"({"type":"integer","not":{"enum":[)" + list_of(60000, number) + "]}}")), "too"));
    CHECK(says(why_refused(of_schema_text(R"({"type":"string","not":{"enum":[)" + list_of(60000, text) + "]}}")), "too"));
}

TEST(names_and_numbers_that_take_long_to_follow_are_refused) {
    // each alone may be followed, all of them together would take minutes
    const auto pattern = [](const std::string& i) {
        return R"({"type":"object","patternProperties":{"(a|b)*a(a|b){9})" + i + R"(":true,"^c{60}":{},"b{60}$":{}}})";
    };
    CHECK(says(why_refused(of_schema_text(R"({"anyOf":[)" + list_of(1000, pattern) + "]}")), "too"));
    const auto repeated = [](const std::string& i) { return R"({"type":"string","pattern":"^x)" + i + R"([a-z]{50000}$","maxLength":2})"; };
    CHECK(says(why_refused(of_schema_text(R"({"anyOf":[)" + list_of(1000, repeated) + "]}")), "too"));
    const auto factor = [](const std::string& i) { return R"({"type":"integer","multipleOf":997,"minimum":)" + i + "}"; };
    CHECK(says(why_refused(of_schema_text(R"({"anyOf":[)" + list_of(1000, factor) + "]}")), "too"));
    const auto unique = [](const std::string& i) {
        return R"({"type":"array","uniqueItems":true,"items":{"enum":[1,2,3,4,5,6,7,8,9,1)" + i + "]}}";
    };
    CHECK(says(why_refused(of_schema_text(R"({"anyOf":[)" + list_of(1000, unique) + "]}")), "too"));
}

TEST(a_class_of_a_grammar_may_end_with_a_backslash) {
    CHECK(says(why_refused(R"({"type":"grammar","text":"root ::= [a\\"})"), "a class has no end"));
    CHECK(says(why_refused(R"({"type":"grammar","text":"root ::= a\nb ::= \"x\""})"), "which it refers to in line 1"));
}

TEST(classes_and_grammars_with_very_many_parts_are_compiled) {
    std::string members;
    for (int i = 0; i < 20000; ++i) {
        const int c = 0x4E00 + 3 * i % 0x5000;
        for (const int byte : {0xE0 | c >> 12, 0x80 | (c >> 6 & 0x3F), 0x80 | (c & 0x3F)}) members += static_cast<char>(byte);
    }
    CHECK_EQ(why_refused(R"({"type":"regex","pattern":"[)" + members + R"(]"})"), "");
    CHECK_EQ(why_refused(R"({"type":"grammar","text":"root ::= r0\n)" +
                         [] {
                             std::string rules;
                             for (int i = 0; i < 20000; ++i) rules += "r" + std::to_string(i) + R"(::=\"x\"\n)";
                             return rules;
                         }() +
                         "\"}"),
             "");
}
