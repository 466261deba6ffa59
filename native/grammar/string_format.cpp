#include "grammar/string_format.h"

#include <utility>

namespace tfserve {

namespace {

// 1000 to 2999: years that every calendar library takes; the 29th of February in leap years only
#define TFSERVE_DATE                                                                                                               \
    "(?:[12]\\d{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))|" \
    "(?:[12]\\d(?:0[48]|[2468][048]|[13579][26])|(?:12|16|20|24|28)00)-02-29)"
#define TFSERVE_TIME "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,6})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)"
#define TFSERVE_OCTET "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define TFSERVE_HEX "[0-9a-fA-F]"
#define TFSERVE_GROUP TFSERVE_HEX "{1,4}"
// the last label begins with a letter: a host that ends with a number would be read as an address
#define TFSERVE_HOST "(?:[A-Za-z0-9]{1,20}(?:-[A-Za-z0-9]{1,20})?\\.){0,8}[A-Za-z][A-Za-z0-9]{0,20}"
#define TFSERVE_PATH_CHAR "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%" TFSERVE_HEX "{2})"

constexpr std::pair<std::string_view, std::string_view> kFormats[] = {
    {"date", TFSERVE_DATE},
    {"time", TFSERVE_TIME},
    {"date-time", TFSERVE_DATE "T" TFSERVE_TIME},
    {"duration", "P(?:\\d{1,4}D(?:T\\d{1,4}[HMS])?|T\\d{1,4}(?:H(?:\\d{1,2}M)?(?:\\d{1,2}S)?|M(?:\\d{1,2}S)?|S))"},
    {"uuid", TFSERVE_HEX "{8}-" TFSERVE_HEX "{4}-" TFSERVE_HEX "{4}-" TFSERVE_HEX "{4}-" TFSERVE_HEX "{12}"},
    {"email", "[A-Za-z0-9_]{1,20}(?:[.+-][A-Za-z0-9_]{1,20}){0,2}@(?:[A-Za-z0-9]{1,20}(?:-[A-Za-z0-9]{1,20})?\\.){1,4}[A-Za-z]{2,10}"},
    {"ipv4", "(?:" TFSERVE_OCTET "\\.){3}" TFSERVE_OCTET},
    {"ipv6",
     "(?:" TFSERVE_GROUP ":){7}" TFSERVE_GROUP "|::(?:" TFSERVE_GROUP "(?::" TFSERVE_GROUP "){0,5})?|" TFSERVE_GROUP "::(?:" TFSERVE_GROUP
     "(?::" TFSERVE_GROUP "){0,4})?|" TFSERVE_GROUP ":" TFSERVE_GROUP "::(?:" TFSERVE_GROUP "(?::" TFSERVE_GROUP "){0,3})?"},
    {"hostname", TFSERVE_HOST},
    {"uri", "[a-z][a-z0-9]{1,9}://" TFSERVE_HOST "(?::[1-9]\\d{0,3})?(?:/" TFSERVE_PATH_CHAR "*)*(?:\\?(?:" TFSERVE_PATH_CHAR
            "|[/?])*)?(?:#(?:" TFSERVE_PATH_CHAR "|[/?])*)?"},
};

}  // namespace

std::optional<std::string_view> string_format(std::string_view name) {
    for (const auto& [known, pattern] : kFormats) {
        if (known == name) return pattern;
    }
    return std::nullopt;
}

}  // namespace tfserve
