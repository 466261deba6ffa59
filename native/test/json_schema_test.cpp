// Schemas: a table of what fits and what does not, what is refused, and random walks that always give JSON that validates.
#include <cmath>

#include "grammar_support.h"

using namespace tfserve;
using namespace tfserve::testing;

namespace {

Json schema_of(const char* text) { return Json::parse(text); }

struct Case {
    const char* schema;
    std::vector<const char*> fit;
    std::vector<const char*> do_not;
};

const std::vector<Case>& cases() {
    static const std::vector<Case> all{
        {R"({"type":"string"})", {R"("")", R"("a\n\u00e4\ud83d\ude00ä")"}, {R"("\ud83d")", "\"\n\"", R"("a)", "a", R"("\x")"}},
        {R"({"type":"string","minLength":1,"maxLength":2})", {R"("a")", R"("ä\n")", R"("😀\ud83d\ude00")"}, {R"("")", R"("abc")"}},
        {R"({"type":"string","pattern":"^[a-c]+$"})", {R"("abc")"}, {R"("")", R"("abd")"}},
        {R"({"type":"string","pattern":"b"})", {R"("abc")", R"("b")"}, {R"("ac")"}},
        {R"({"type":"string","pattern":"^\"\\\\.$"})", {R"("\"\\x")"}, {R"("\"x")", R"(""\x")"}},
        {R"({"type":"string","pattern":"^a+b?$","minLength":2,"maxLength":3})",
         {R"("aa")", R"("ab")", R"("aaa")"},
         {R"("a")", R"("b")", R"("aaab")"}},
        {R"({"type":"string","pattern":"\"","maxLength":2})", {R"("\"")", R"("é\"")"}, {R"("é")", R"("\"éé")"}},
        {R"x({"type":"string","pattern":"^(?!ab)(?=.*c)[a-c]{1,4}$"})x",
         {R"("c")", R"("acab")"},
         {R"("abc")", R"("ab")", R"("d")", R"("aaaaac")"}},
        {R"({"type":"integer"})", {"0", "-1", "123456789012345678"}, {"01", "1.0", "-", "1e3", "+1", "-0"}},
        {R"({"type":"integer","minimum":-3,"maximum":120})", {"-3", "0", "9", "10", "99", "100", "120"}, {"-4", "121", "-10", "1000"}},
        {R"({"type":"integer","exclusiveMinimum":9,"exclusiveMaximum":11})", {"10"}, {"9", "11"}},
        {R"({"type":"integer","minimum":1.5,"maximum":2.5})", {"2"}, {"1", "3"}},
        {R"({"type":"integer","minimum":5000000000000000000})",
         {"5000000000000000000", "9223372036854775807"},
         {"4999999999999999999", "5"}},
        {R"({"type":"number"})", {"0", "-0.5", "1e5", "1.25E-10"}, {".5", "1.", "1e400", "NaN", "0x1"}},
        {R"({"type":"number","minimum":0,"maximum":1})", {"0", "1", "0.5", "1.0", "0.000001"}, {"-0.1", "1.1", "1.000001", "-0", "1e0"}},
        {R"({"type":"number","exclusiveMinimum":0,"exclusiveMaximum":1})", {"0.5", "0.01"}, {"0", "1", "0.0", "1.0"}},
        {R"({"type":"number","minimum":-1.5,"maximum":20.25})",
         {"-1.5", "-1.4", "-0.3", "0", "3", "19.9", "20.25", "20.2"},
         {"-1.6", "-1.51", "20.26", "20.3", "-2", "21", "100"}},
        {R"({"type":"boolean"})", {"true", "false"}, {"True", "null"}},
        {R"({"type":["string","null"]})", {R"("a")", "null"}, {"1"}},
        {R"({"enum":["a",1,null,[1,{"b":2}]]})", {R"("a")", "1", "null", R"([1, {"b": 2}])"}, {R"("b")", "2"}},
        {R"({"type":"string","enum":["a",1]})", {R"("a")"}, {"1"}},
        {R"({"enum":["a","äb",2,3,[1],true],"minLength":2,"minimum":3,"maxItems":0})", {R"("äb")", "3", "true"}, {R"("a")", "2", "[1]"}},
        {R"({"const":{"x":"é"}})", {R"({"x":"é"})"}, {"{}"}},
        {R"({"type":"array","items":{"type":"integer"}})",
         {"[]", "[1]", "[1, 2]", "[1,2]", "[\n  1,\n  2\n]"},
         {"[1,]", "[ ,1]", R"(["a"])", "[1,  2]"}},
        {R"({"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":3})", {"[1,2]", "[1,2,3]"}, {"[1]", "[]", "[1,2,3,4]"}},
        {R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"items":false})",
         {"[]", "[1]", R"([1,"a"])"},
         {R"(["a"])", R"([1,"a",2])"}},
        {R"({"type":"array","prefixItems":[{"type":"integer"}],"minItems":2})", {R"([1,"a"])", "[1,2,null]"}, {"[1]", R"(["a",1])"}},
        {R"({"type":"array","items":[{"type":"integer"}],"additionalItems":{"type":"null"}})", {"[1,null]"}, {"[1,1]"}},
        {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"},"c":{"type":"null"}},"required":["b"]})",
         {R"({"b":""})", R"({"a":1,"b":"x"})", R"({"b":"x","c":null})", R"({"a": 1, "b": "x", "c": null})"},
         {"{}", R"({"a":1})", R"({"b":"x","a":1})", R"({"b":"x","d":1})", R"({"b":"x",})"}},
        {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}}})",
         {"{}", R"({"a":1})", R"({"b":1})", R"({"a":1,"b":1})", "{\n}"},
         {R"({"c":1})", R"({,"a":1})"}},
        {R"({"type":"object","properties":{"ab":{"type":"integer"}},"additionalProperties":{"type":"string"}})",
         {R"({"ab":1})", R"({"x":"y"})", R"({"ab":1,"abc":"y","a":"z"})", R"({"":"y"})"},
         {R"({"ab":"y"})", R"({"ab":1,"ab":"y"})", R"({"x":1})", R"({"\u0061b":"y"})"}},
        {R"({"type":"object","additionalProperties":{"type":"integer"}})", {"{}", R"({"x":1,"y":2})"}, {R"({"x":"y"})"}},
        {R"({"type":"object","required":["k"],"additionalProperties":true})", {R"({"k":1})", R"({"k":{},"l":1})"}, {"{}", R"({"l":1})"}},
        {R"({"properties":{"a":true}})", {R"({"a":[1]})"}, {"1"}},
        {R"({"anyOf":[{"type":"integer"},{"type":"string","maxLength":1}]})", {"1", R"("a")"}, {"null", R"("ab")"}},
        {R"({"oneOf":[{"type":"object","properties":{"t":{"const":"a"},"x":{"type":"integer"}},"required":["t","x"]},
                      {"type":"object","properties":{"t":{"const":"b"}},"required":["t"]}]})",
         {R"({"t":"a","x":1})", R"({"t":"b"})"},
         {R"({"t":"a"})", R"({"t":"b","x":1})"}},
        {R"({"allOf":[{"properties":{"a":{"type":"integer"}},"required":["a"]},{"properties":{"a":{"minimum":3},"b":{"type":"null"}}}]})",
         {R"({"a":3})", R"({"a":4,"b":null})"},
         {R"({"a":2})", "{}"}},
        {R"({"allOf":[{"type":["string","integer"]},{"type":["number","null"]}]})", {"1"}, {"1.5", "null", R"("a")"}},
        {R"({"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"anyOf":[{"properties":{"b":{"type":"integer"}},"required":["b"]},{"properties":{"c":{"type":"null"}},"required":["c"]}]})",
         {R"({"a":"","b":1})", R"({"a":"","c":null})"},
         {R"({"a":""})"}},
        {R"({"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/n"},{"type":"null"}]}},"required":["v","next"]}}})",
         {R"({"v":1,"next":{"v":2,"next":null}})"},
         {R"({"v":1})", R"({"v":1,"next":1})"}},
        {R"({"type":"array","items":{"$ref":"#"},"maxItems":2})", {"[]", "[[],[[]]]"}, {"[1]", "[[],[],[]]"}},
        {R"({"$ref":"#/definitions/a~1b","description":"d","definitions":{"a/b":{"type":"integer"}}})", {"1"}, {R"("a")"}},
        {R"({"type":"string","nullable":true,"title":"t","default":"x","deprecated":true,"x-order":1})", {"null", R"("a")"}, {"1"}},
        {R"({"type":"string","format":"date"})",
         {R"("2024-02-29")", R"("1999-12-31")"},
         {R"("2023-02-29")", R"("2024-13-01")", R"("24-01-01")", R"("2024-04-31")"}},
        {R"({"type":"string","format":"date-time"})",
         {R"("2024-05-06T07:08:09Z")", R"("2024-05-06T07:08:09.123+02:00")"},
         {R"("2024-05-06 07:08:09Z")", R"("2024-05-06T25:08:09Z")"}},
        {R"({"type":"string","format":"time"})", {R"("07:08:09Z")"}, {R"("7:08:09Z")", R"("07:60:09Z")"}},
        {R"({"type":"string","format":"uuid"})", {R"("123e4567-e89b-12d3-a456-426614174000")"}, {R"("123e4567e89b12d3a456426614174000")"}},
        {R"({"type":"string","format":"email"})", {R"("a.b+c@example.org")"}, {R"("a@b")", R"("@b.org")", R"(".a@b.org")"}},
        {R"({"type":"string","format":"ipv4"})",
         {R"("192.168.0.1")", R"("255.255.255.255")"},
         {R"("256.1.1.1")", R"("1.1.1")", R"("01.1.1.1")"}},
        {R"({"type":"string","format":"ipv6"})",
         {R"("::1")", R"("2001:db8:0:0:0:0:2:1")", R"("::")", R"("fe80::1")"},
         {R"("1::2::3")", R"("12345::")", R"("1:2:3")"}},
        {R"({"type":"string","format":"uri"})",
         {R"("https://example.org/a?b=c#d")", R"("ftp://h:21/x%20y")"},
         {R"("example.org")", R"("https://")", R"("https://h/%zz")"}},
        {R"({"type":"string","format":"duration"})", {R"("P3D")", R"("PT1H30M")"}, {R"("P")", R"("PT")"}},
        {R"({"type":"integer","multipleOf":7})", {"0", "7", "-14", "700"}, {"1", "8", "-15", "07", "7.0"}},
        {R"({"type":"integer","multipleOf":1200})", {"0", "1200", "-2400", "12000"}, {"120", "600", "12", "00"}},
        {R"({"type":"integer","multipleOf":5,"minimum":3,"maximum":22})", {"5", "10", "20"}, {"0", "3", "22", "25"}},
        {R"({"type":"number","multipleOf":0.01})", {"0", "1.5", "19.99", "-0.01", "7"}, {"0.001", "1.999", "1e2"}},
        {R"({"type":"number","multipleOf":0.25,"exclusiveMinimum":0,"maximum":2})",
         {"0.25", "0.5", "2", "1.75"},
         {"0", "0.2", "2.25", "0.75001"}},
        {R"({"type":"number","multipleOf":10})", {"10", "0", "-130"}, {"1", "10.5", "15"}},
        {R"({"multipleOf":2.5})", {"2.5", "5", "-7.5"}, {"2", "0.5", "\"a\""}},
        {R"({"type":"string","not":{"enum":["ab","\"",7]}})", {R"("a")", R"("abc")", R"("")"}, {R"("ab")", R"("\"")", R"("\u0061b")", "7"}},
        {R"({"type":["string","integer","boolean","null"],"not":{"enum":[12,true,null,"x"]}})",
         {"1", "120", "false", R"("xx")"},
         {"12", "true", "null", R"("x")"}},
        {R"({"type":"number","not":{"enum":[0,1.5]}})", {"1", "0.5", "1.51", "15"}, {"0", "0.0", "1.5", "1.50"}},
        {R"({"not":{"type":["string","object"]}})", {"1", "[]", "null"}, {R"("")", "{}"}},
        {R"({"type":"string","not":{"pattern":"b+c"}})", {R"("")", R"("bbac")"}, {R"("abbcd")"}},
        {R"({"type":"object","properties":{"a":true,"b":true},"not":{"required":["a","b"]}})",
         {"{}", R"({"a":1})", R"({"b":1})"},
         {R"({"a":1,"b":1})"}},
        {R"({"type":"object","additionalProperties":{"type":"integer"},"not":{"required":["a"]}})",
         {"{}", R"({"b":1})", R"({"aa":1})"},
         {R"({"a":1})", R"({"b":1,"a":2})"}},
        {R"({"enum":["a","b",1],"not":{"const":"b"}})", {R"("a")", "1"}, {R"("b")"}},
        {R"({"type":"object","properties":{"kind":{"enum":["x","y"]},"n":{"type":"integer"}},"required":["kind"],
            "if":{"properties":{"kind":{"const":"x"}}},"then":{"required":["n"]},"else":{"properties":{"n":{"maximum":3}}}})",
         {R"({"kind":"x","n":9})", R"({"kind":"y"})", R"({"kind":"y","n":3})"},
         {R"({"kind":"x"})", R"({"kind":"y","n":4})"}},
        {R"({"type":"integer","if":{"minimum":10},"then":{"multipleOf":10},"else":{"multipleOf":3}})",
         {"9", "0", "-3", "10", "20"},
         {"8", "12", "15", "5"}},
        {R"({"type":"string","if":{"minLength":2}})", {R"("")", R"("abc")"}, {"1"}},
        {R"({"type":"array","items":{"enum":["a","b","c"]},"uniqueItems":true,"minItems":1})",
         {R"(["a"])", R"(["b","a"])", R"(["c", "a", "b"])"},
         {"[]", R"(["a","a"])", R"(["a","b","a"])", R"(["d"])"}},
        {R"({"type":"array","items":{"type":["boolean","null"]},"uniqueItems":true,"maxItems":2})",
         {"[]", "[true,null]", "[false]"},
         {"[null,null]", "[true,false,null]"}},
        {R"({"type":"array","items":{"type":"string"},"uniqueItems":true,"maxItems":1})", {"[]", R"(["a"])"}, {R"(["a","b"])"}},
        {R"({"type":"array","items":{"type":"integer"},"contains":{"minimum":10},"maxItems":3})",
         {"[10]", "[1,11]", "[1,12,3]"},
         {"[]", "[1]", "[1,2,3]", "[10,1,1,1]"}},
        {R"({"type":"array","items":{"type":"integer"},"contains":{"minimum":10},"minContains":2,"maxContains":2})",
         {"[10,10]", "[1,10,2,10,3]"},
         {"[10]", "[10,10,10]", "[1,10]"}},
        {R"({"type":"array","contains":{"const":1},"minContains":0})", {"[]", "[2]", "[1]"}, {"1"}},
        {R"({"type":"object","patternProperties":{"^s_":{"type":"string"},"_i$":{"type":"integer"}},"additionalProperties":false})",
         {"{}", R"({"s_a":"x"})", R"({"a_i":1,"s_":""})"},
         {R"({"s_a":1})", R"({"a_i":"x"})", R"({"b":1})", R"({"s_i":1})", R"({"s_i":"x"})", R"({"\u0073_a":1})"}},
        {R"({"type":"object","properties":{"s_n":{"maxLength":1}},"patternProperties":{"^s_":{"type":"string"}},"additionalProperties":{"type":"null"}})",
         {R"({"s_n":"x"})", R"({"s_m":"xx","b":null})"},
         {R"({"s_n":"xx"})", R"({"s_n":1})", R"({"b":"x"})"}},
        {R"({"type":"object","propertyNames":{"pattern":"^[a-c]+$","maxLength":2},"additionalProperties":{"type":"integer"}})",
         {"{}", R"({"ab":1,"c":2})"},
         {R"({"d":1})", R"({"abc":1})", R"({"a":"x"})"}},
        {R"({"type":"object","propertyNames":{"enum":["a","b"]},"additionalProperties":{"type":"integer"},"required":["b"]})",
         {R"({"b":1})", R"({"b":1,"a":2})"},
         {R"({"a":1})", R"({"b":1,"c":1})"}},
        {R"({"type":"object","properties":{"a":true,"b":true,"c":true},"dependentRequired":{"a":["b","c"]}})",
         {"{}", R"({"b":1})", R"({"a":1,"b":1,"c":1})"},
         {R"({"a":1})", R"({"a":1,"b":1})"}},
        {R"({"type":"object","additionalProperties":true,"dependentSchemas":{"a":{"required":["b"]}},"dependencies":{"b":["c"]}})",
         {"{}", R"({"c":1})", R"({"b":1,"c":1})", R"({"a":1,"b":1,"c":1})"},
         {R"({"a":1})", R"({"a":1,"b":1})", R"({"b":1})"}},
        {"true", {"1", "{}", "[[]]", R"({"a":[true,{"b":null}]})"}, {"", "tru"}},
        {R"({"type":"object"})", {"{}", R"({"a":1})"}, {"[]", "null"}},
    };
    return all;
}

}  // namespace

TEST(schemas_take_what_fits_and_nothing_else) {
    for (const auto& [text, fit, do_not] : cases()) {
        Acceptor acceptor(of_schema(schema_of(text)));
        for (const char* json : fit) {
            if (!CHECK(acceptor.matches(json))) std::cout << text << " should take " << json << "\n";
        }
        for (const char* json : do_not) {
            if (!CHECK(!acceptor.matches(json))) std::cout << text << " should not take " << json << "\n";
        }
    }
}

TEST(what_is_not_supported_is_refused_with_keyword_and_place) {
    const std::vector<std::pair<const char*, const char*>> table{
        {R"({"properties":{"a/b":{"unevaluatedItems":false}}})", "'unevaluatedItems' at '#/properties/a~1b'"},
        {R"({"multipleOf":0})", "'multipleOf' at '#'"},
        {R"({"type":"integer","multipleOf":1001})", "'multipleOf' at '#'"},
        {R"({"type":"number","multipleOf":1e-20})", "'multipleOf' at '#'"},
        {R"({"type":"number","multipleOf":0.997,"minimum":-99999999999,"maximum":99999999999})", "the number at '#' cannot be constrained"},
        {R"({"allOf":[{"multipleOf":0.3},{"multipleOf":0.2}]})", "'multipleOf'"},
        {R"({"not":{"type":"string","format":"date"}})", "'format' at '#/not'"},
        {R"({"not":{"items":{"type":"string"}}})", "'items' at '#/not'"},
        {R"({"not":{"const":[1]}})", "'not' excludes at '#'"},
        {R"({"not":{}})", "no text"},
        {R"({"not":{"pattern":"^(?=a)b"}})", "excluded"},
        {R"({"type":"array","items":{"uniqueItems":true}})", "'uniqueItems' at '#/items'"},
        {R"({"type":"array","items":{"type":"string"},"uniqueItems":true})", "enum of up to 10 values"},
        {R"({"type":"array","contains":{"const":1},"minItems":3000,"minContains":3})", "'contains' at '#'"},
        {R"({"patternProperties":{"a":true,"b":true,"c":true,"d":true,"e":true}})", "'patternProperties'"},
        {R"x({"patternProperties":{"^(?!a)b":true}})x", "'patternProperties'"},
        {R"({"propertyNames":{"anyOf":[{"pattern":"a"},{"pattern":"b"}]}})", "'propertyNames'"},
        {R"({"allOf":[{"patternProperties":{"a":true},"additionalProperties":false},{"properties":{"b":true}}]})", "write them into one"},
        {R"({"if":{"uniqueItems":true},"then":true})", "'uniqueItems' at '#/if'"},
        {R"({"dependentRequired":{"a":"b"}})", "'dependentRequired' at '#'"},
        {R"({"$ref":"https://example.org/x"})", "at '#/$ref'"},
        {R"({"$ref":"#/$defs/none"})", "leads to no schema"},
        {R"({"type":"text"})", "'type' at '#'"},
        {R"({"type":"string","minLength":-1})", "'minLength'"},
        {R"({"type":"string","minLength":1.5})", "'minLength'"},
        {R"({"type":"string","format":"iri"})", "'iri'"},
        {R"x({"type":"string","pattern":"(?<=a)"})x", "#/pattern"},
        {R"x({"type":"string","pattern":"(a|b)*a(a|b){20}","maxLength":300})x", "too complex"},
        {R"({"enum":["a"],"pattern":"a"})", "'pattern' beside enum"},
        {R"({"anyOf":[{"oneOf":[{"type":"string"},{"enum":["a"]}]}]})", "#/anyOf/0/oneOf"},
        {R"({"oneOf":[{"properties":{"a":{"type":"string"}}},{"properties":{"b":{"type":"string"}}}]})", "use anyOf"},
        {R"({"allOf":[{"pattern":"a"},{"pattern":"b"}]})", "'pattern'"},
        {R"({"type":"object","minProperties":1})", "'minProperties'"},
        {R"({"type":"object","maxProperties":1})", "'maxProperties'"},
        {R"({"allOf":[{"$ref":"#"}]})", "no text"},
        {R"({"anyOf":[{"$ref":"#"},{"type":"null"}]})", "left-recursive"},
        {R"({"allOf":[{"$ref":"#"},{"type":"string"}]})", "deep"},
        {R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})", "no text"},
        {R"({"allOf":[{"type":"string"},{"type":"integer"}]})", "no text"},
        {R"({"required":["a"],"additionalProperties":false})", "no text"},
        {R"({"enum":[]})", "'enum'"},
        {R"({"type":"number","minimum":1e300})", "1e15"},
        {R"({"type":"integer","minimum":1e30})", "'minimum'"},
        {R"({"type":"string","maxLength":2000000000})", "too large"},
        {"false", "no text"},
    };
    for (const auto& [text, expected] : table) {
        const std::string said = refusal(of_schema(schema_of(text)));
        if (!CHECK(said.find(expected) != std::string::npos)) std::cout << text << ": " << said << "\n";
    }
}

TEST(bounds_of_numbers_hold_for_every_number_near_them) {
    std::mt19937 random(11);
    const auto draw = [&](double scale) { return std::round((static_cast<double>(random()) / 4294967296.0 - 0.5) * scale * 100) / 100; };
    for (int round = 0; round < 60; ++round) {
        const double scale = round % 3 == 0 ? 2 : round % 3 == 1 ? 40 : 3000;
        double low = draw(scale), high = draw(scale);
        if (low > high) std::swap(low, high);
        Json number = {{"type", "number"}};
        number[round % 2 == 0 ? "minimum" : "exclusiveMinimum"] = low;
        number[round % 5 == 0 ? "exclusiveMaximum" : "maximum"] = high;
        Json integer = number;
        integer["type"] = "integer";
        const bool any_number = low < high, any_integer = std::ceil(low + 1e-9) < std::floor(high);
        if (any_number) {
            Acceptor acceptor(of_schema(number));
            for (int i = 0; i < 200; ++i) {
                const double value = i % 4 == 0 ? low : i % 4 == 1 ? high : std::round((low + draw(2 * (high - low) + 2)) * 100) / 100;
                const std::string text = Json(value == 0 ? 0.0 : value).dump();
                if (text.find('e') != std::string::npos) continue;
                if (!CHECK_EQ(acceptor.matches(text), satisfies(number, value, number))) std::cout << number.dump() << " " << text << "\n";
            }
        }
        if (any_integer) {
            Acceptor acceptor(of_schema(integer));
            for (long value = static_cast<long>(low) - 3; value <= static_cast<long>(high) + 3; ++value) {
                if (!CHECK_EQ(acceptor.matches(std::to_string(value)), satisfies(integer, value, integer)))
                    std::cout << integer.dump() << " " << value << "\n";
            }
        }
    }
}

namespace {

/// A schema of supported keywords, small enough that walks come to an end.
Json random_schema(std::mt19937& random, int depth) {
    const auto pick = [&](std::initializer_list<const char*> names) { return Json(*(names.begin() + random() % names.size())); };
    switch (random() % (depth > 0 ? 18 : 9)) {
        case 0: return {{"type", "string"}, {"minLength", random() % 3}, {"maxLength", 3 + random() % 5}};
        case 1: return {{"type", "integer"}, {"minimum", static_cast<int>(random() % 200) - 150}, {"maximum", 60 + random() % 1000}};
        case 2:
            return {{"type", "number"},
                    {"exclusiveMinimum", -static_cast<double>(random() % 100) / 8},
                    {"maximum", static_cast<double>(random() % 900) / 16}};
        case 3: return {{"type", pick({"boolean", "null", "string", "number", "integer"})}};
        case 4: return {{"enum", {pick({"x", "name", "\"\n\\", "ä"}), random() % 30, nullptr, Json::array({1, {{"k", true}}})}}};
        case 5: return {{"const", pick({"a", "name"})}};
        case 6: return {{"type", "string"}, {"pattern", pick({"^[a-c]{1,3}$", "na|me", "^\\d+(\\.\\d)?$", "[\"\\\\]$"})}};
        case 7: return {{"type", pick({"integer", "number"})}, {"multipleOf", 1 + random() % 40}, {"minimum", -90}};
        case 8:
            return {{"type", {"string", "boolean", "integer"}}, {"not", {{"enum", {pick({"a", "name", "\"", ""}), true, random() % 10}}}}};
        case 13:
            return {{"type", "array"}, {"items", {{"enum", {1, "a", nullptr, "ä"}}}}, {"uniqueItems", true}, {"minItems", random() % 4}};
        case 14:
            return {{"type", "array"},
                    {"items", {{"enum", {1, "a", nullptr, "name"}}}},
                    {"contains", {{"not", {{"enum", {pick({"a", "name"}), 1}}}}}},
                    {"maxItems", 3}};
        case 15:
            return {{"type", "object"},
                    {"patternProperties",
                     {{"^n", random_schema(random, depth - 1)}, {"e$", {{"type", pick({"string", "integer", "null", "array"})}}}}},
                    {"additionalProperties", random() % 2 == 0}};
        case 16:
            return {{"type", "object"},
                    {"properties", {{"a", {{"enum", {1, 2}}}}, {"b", random_schema(random, depth - 1)}, {"c", true}}},
                    {"dependentRequired", {{"c", {"a"}}}},
                    {"if", {{"properties", {{"a", {{"const", 1}}}}}, {"required", {"a"}}}},
                    {"then", {{"required", {"b"}}}},
                    {"else", {{"not", {{"required", {"b"}}}}}}};
        case 9:
            return {
                {"type", "array"}, {"items", random_schema(random, depth - 1)}, {"minItems", random() % 2}, {"maxItems", 1 + random() % 3}};
        case 10:
            return {
                {"type", "array"}, {"prefixItems", {random_schema(random, depth - 1), random_schema(random, depth - 1)}}, {"items", false}};
        case 11: return {{"anyOf", {random_schema(random, depth - 1), random_schema(random, depth - 1)}}};
        case 12:
            return {{"allOf",
                     {{{"properties", {{"a", random_schema(random, depth - 1)}}}},
                      {{"properties", {{"b", random_schema(random, depth - 1)}}}, {"required", {"b"}}}}},
                    {"type", "object"}};
        default: {
            Json properties = Json::object(), required = Json::array();
            for (const char* name : {"name", "n", "ä\"", "a b"}) {
                if (random() % 3 == 0) continue;
                properties[name] = random_schema(random, depth - 1);
                if (random() % 2 == 0) required.push_back(name);
            }
            Json schema = {{"type", "object"}, {"properties", properties}, {"required", required}};
            if (random() % 3 == 0) schema["additionalProperties"] = random_schema(random, 0);
            return schema;
        }
    }
}

}  // namespace

TEST(random_walks_under_the_mask_always_validate) {
    const GrammarTokens tokens;
    const auto vocabulary = tokens.vocabulary();
    std::mt19937 random(2024);
    int complete = 0;
    for (int round = 0; round < 150; ++round) {
        const Json schema = random_schema(random, 3);
        Json tree = of_schema(schema);
        if (round % 4 == 0) tree["whitespace"] = "compact";
        std::shared_ptr<const CompiledConstraint> constraint;
        try {
            constraint = compile(tree, vocabulary);
        } catch (const GrammarError& error) {
            CHECK_EQ(std::string(error.what()), schema.dump());
            continue;
        }
        for (int walk = 0; walk < 6; ++walk) {
            const Walk result = random_walk(*constraint, tokens, random, 600);
            if (!result.complete) continue;
            ++complete;
            const Json value = Json::parse(result.text, nullptr, false);
            if (!CHECK(!value.is_discarded() && satisfies(schema, value, schema)))
                std::cout << schema.dump() << "\n" << result.text << "\n";
        }
    }
    CHECK(complete > 700);
}

TEST(every_fitting_text_of_the_table_satisfies_its_schema) {
    // holds the checker of the walks itself against the table
    for (const auto& [text, fit, do_not] : cases()) {
        const Json schema = schema_of(text);
        for (const char* json : fit) {
            if (!CHECK(satisfies(schema, Json::parse(json), schema))) std::cout << text << " " << json << "\n";
        }
    }
}
