// Schemas against every document of a small world: the grammar takes exactly what a plain reading of the specification finds valid.
#include "grammar_support.h"

using namespace tfserve;
using namespace tfserve::testing;

namespace {

/// Every list of up to `longest` of the values, and every object of some of the names in their order with those values.
std::vector<Json> lists_of(const std::vector<Json>& values, std::size_t longest) {
    std::vector<Json> lists{Json::array()};
    for (std::size_t begin = 0, length = 0; length < longest; ++length) {
        const std::size_t end = lists.size();
        for (; begin < end; ++begin) {
            for (const Json& value : values) {
                Json list = lists[begin];
                list.push_back(value);
                lists.push_back(std::move(list));
            }
        }
    }
    return lists;
}

std::vector<Json> objects_of(const std::vector<std::string>& names, const std::vector<Json>& values) {
    std::vector<Json> objects{Json::object()};
    for (const std::string& name : names) {
        const std::size_t end = objects.size();
        for (std::size_t i = 0; i < end; ++i) {
            for (const Json& value : values) {
                Json object = objects[i];
                object[name] = value;
                objects.push_back(std::move(object));
            }
        }
    }
    return objects;
}

/// Of every document, whether the grammar takes it is whether it is valid. Returns how many are.
int agree_on(const char* text, const std::vector<Json>& documents) {
    const Json schema = Json::parse(text);
    Acceptor acceptor(of_schema(schema));
    int valid = 0;
    for (const Json& document : documents) {
        const bool expected = satisfies(schema, document, schema);
        valid += expected ? 1 : 0;
        if (!CHECK_EQ(acceptor.matches(document.dump()), expected)) std::cout << text << " " << document.dump() << "\n";
    }
    if (!CHECK(valid > 0 && valid < static_cast<int>(documents.size()))) std::cout << text << "\n";
    return valid;
}

}  // namespace

TEST(objects_are_taken_exactly_where_they_are_valid) {
    const std::vector<Json> objects = objects_of({"a", "b", "cc"}, {1, 12, "x", "yy", true, nullptr});
    for (
        const char* text : {
            R"({"type":"object","properties":{"a":true,"b":true,"cc":true},"not":{"required":["a","cc"]}})",
            R"({"type":"object","properties":{"a":true,"b":true,"cc":true},"not":{"properties":{"a":{"type":["string","integer"]}}}})",
            R"({"type":"object","properties":{"a":true,"b":true,"cc":true},"not":{"anyOf":[{"required":["a"]},{"properties":{"b":{"const":1}},"required":["b"]}]}})",
            R"({"type":"object","properties":{"a":true,"b":{"not":{"enum":[1,"x",null]}},"cc":{"not":{"minimum":5}}}})",
            R"({"type":"object","properties":{"a":true,"b":true,"cc":true},"if":{"properties":{"a":{"const":1}},"required":["a"]},"then":{"required":["b"]},"else":{"properties":{"cc":{"type":"string"}}}})",
            R"({"type":"object","properties":{"a":true,"b":true,"cc":true},"if":{"required":["a"]},"else":{"required":["b"]}})",
            R"({"type":"object","properties":{"a":true,"b":true,"cc":true},"dependentRequired":{"a":["b"],"b":["cc"]}})",
            R"({"type":"object","properties":{"a":true,"b":true,"cc":true},"dependentSchemas":{"a":{"properties":{"b":{"type":"string"}}},"b":false}})",
            R"({"type":"object","patternProperties":{"^[ab]$":{"type":"integer"},"b|c":{"not":{"const":12}}},"additionalProperties":false})",
            R"({"type":"object","properties":{"a":{"multipleOf":4}},"patternProperties":{"^[ab]$":{"type":"integer"}},"additionalProperties":{"type":"string","minLength":2}})",
            R"({"type":"object","propertyNames":{"maxLength":1},"additionalProperties":{"type":["integer","string"]}})",
            R"({"type":"object","propertyNames":{"not":{"enum":["b"]}},"additionalProperties":true})",
            R"({"type":"object","propertyNames":{"enum":["a","b","cc"],"maxLength":1,"not":{"const":"b"}}})",
            R"({"type":"object","propertyNames":{"enum":["a","b","cc"],"pattern":"a|c"}})",
            R"({"type":"object","propertyNames":{"enum":["a","cc"]},"patternProperties":{"c":{"type":"null"}},"additionalProperties":true})",
            R"({"type":"object","allOf":[{"patternProperties":{"a":{"type":"integer"}}},{"patternProperties":{"a":{"minimum":5},"c":true}}],"additionalProperties":true,"not":{"required":["b"]}})",
        }) {
        agree_on(text, objects);
    }
}

TEST(arrays_are_taken_exactly_where_they_are_valid) {
    const std::vector<Json> lists = lists_of({1, 2, 30, "x", true, nullptr}, 4);
    for (
        const char* text : {
            R"({"type":"array","items":{"enum":[1,2,"x",true]},"uniqueItems":true})",
            R"({"type":"array","items":{"anyOf":[{"const":30},{"type":["null","boolean"]},{"enum":[1,2],"not":{"const":2}}]},"uniqueItems":true,"minItems":2,"maxItems":3})",
            R"({"type":"array","contains":{"type":"string"}})",
            R"({"type":"array","contains":{"type":"integer"},"minContains":2,"maxItems":3})",
            R"({"type":"array","items":{"type":["integer","null"]},"contains":{"minimum":10},"minContains":1,"maxContains":2})",
            R"({"type":"array","contains":{"enum":[1,"x"]},"minContains":0,"maxContains":1,"minItems":2})",
            R"({"type":"array","allOf":[{"contains":{"const":1},"minContains":0},{"contains":{"const":1},"maxContains":2}]})",
            R"({"type":"array","allOf":[{"contains":{"const":1}},{"minContains":0},{"maxContains":0}]})",
        }) {
        agree_on(text, lists);
    }
}

TEST(numbers_are_taken_exactly_where_they_are_multiples) {
    std::vector<Json> integers, numbers;
    for (int i = -300; i <= 1300; ++i) {
        integers.emplace_back(i);
        numbers.push_back(i % 100 == 0 ? Json(i / 100) : Json(i / 100.0));
    }
    for (const char* text : {R"({"type":"integer","multipleOf":3})", R"({"type":"integer","multipleOf":64,"minimum":-200})",
                             R"({"type":"integer","multipleOf":250,"maximum":1001})", R"({"type":"integer","multipleOf":1.5})",
                             R"({"type":"integer","multipleOf":997})", R"({"allOf":[{"type":"integer","multipleOf":4},{"multipleOf":6}]})",
                             R"({"type":"integer","not":{"enum":[0,7,-100,1234]}})"}) {
        agree_on(text, integers);
    }
    for (const char* text :
         {R"({"type":"number","multipleOf":0.02})", R"({"type":"number","multipleOf":0.1,"minimum":-1.05,"maximum":8.25})",
          R"({"type":"number","multipleOf":2})", R"({"type":"number","multipleOf":0.75,"exclusiveMaximum":3})",
          R"({"type":"number","not":{"enum":[0,0.5,-2,1.25]}})", R"({"type":"number","multipleOf":0.997})"}) {
        agree_on(text, numbers);
    }
}

TEST(numbers_that_are_not_whole_are_no_integers) {
    std::vector<Json> values{"a", nullptr, true};
    for (int i = -500; i <= 500; i += 5) values.push_back(i % 100 == 0 ? Json(i / 100) : Json(i / 100.0));
    for (const char* text : {
             R"({"not":{"type":"integer"}})",
             R"({"type":["number","null"],"not":{"type":["integer","string"]}})",
             R"({"type":["number","string"],"if":{"type":"integer"},"then":{"minimum":2},"else":{"maximum":1}})",
             R"({"enum":[1,1.5,-2,"a"],"not":{"type":"integer"}})",
             R"({"oneOf":[{"type":"integer","minimum":0},{"not":{"type":"integer"}}]})",
         }) {
        agree_on(text, values);
    }
    // 1.5 would be of both
    CHECK(refusal(of_schema(Json::parse(R"({"oneOf":[{"type":"number"},{"not":{"type":"integer"}}]})"))).find("told apart") !=
          std::string::npos);
}

TEST(every_factor_is_followed_where_a_bound_is_missing) {
    for (const char* bounds : {R"()", R"(,"minimum":0)", R"(,"minimum":50000)", R"(,"maximum":-200000000000000)"}) {
        for (const char* type : {"integer", "number"}) {
            for (const char* factor : {"0.125", "0.75", "0.997", "13", "64", "97", "501", "997", "1000"}) {
                const std::string text = R"({"type":")" + std::string(type) + R"(","multipleOf":)" + factor + bounds + "}";
                if (!CHECK_EQ(refusal(of_schema(Json::parse(text))), "")) std::cout << text << "\n";
            }
        }
    }
}
