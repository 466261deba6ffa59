#include "speech/decoding_rules.h"

#include <cmath>
#include <limits>
#include <set>
#include <string>

#include "random_rows.h"
#include "speech_fixtures.h"
#include "testing.h"

using namespace tfserve;
using namespace tfserve::rows;
using namespace tfserve::speech;

namespace {

/// Whether a token may come next: the rules in words, one token at a time, but for the comparison of times with text.
bool naive_allowed(int id, const DecodingRules& rules, const std::vector<TokenId>& output) {
    for (const TokenId token : rules.suppress) {
        if (token == id) return false;
    }
    for (const TokenId token : rules.begin_suppress) {
        if (token == id && output.empty()) return false;
    }
    if (!rules.timestamps) return true;
    const TimestampRules& times = *rules.timestamps;
    const auto is_time = [&](TokenId token) { return token >= times.begin; };
    if (id == times.no_timestamps) return false;
    if (output.empty()) return is_time(id) && (!times.max_initial_index || id <= times.begin + *times.max_initial_index);
    const std::size_t size = output.size();
    const bool opened_or_paired = is_time(output[size - 1]) && (size == 1 || is_time(output[size - 2]));
    const bool closed = is_time(output[size - 1]) && !opened_or_paired;
    if (opened_or_paired && is_time(id)) return false;
    if (closed && id < rules.eos) return false;
    TokenId latest = times.begin - 1;
    for (const TokenId token : output) {
        if (is_time(token)) latest = token;
    }
    if (is_time(id) && (closed ? id < latest : id <= latest)) return false;
    return true;
}

std::vector<float> naive_rules(std::vector<float> row, const DecodingRules& rules, const std::vector<TokenId>& output) {
    for (std::size_t id = 0; id < row.size(); ++id) {
        if (std::isnan(row[id]) || !naive_allowed(static_cast<int>(id), rules, output)) row[id] = -kInf;
    }
    if (!rules.timestamps) return row;
    long double times = 0;
    long double best_text = 0;
    for (std::size_t id = 0; id < row.size(); ++id) {
        const long double weight = std::exp(static_cast<long double>(row[id]));
        if (static_cast<TokenId>(id) >= rules.timestamps->begin) {
            times += weight;
        } else {
            best_text = std::max(best_text, weight);
        }
    }
    if (times > best_text) {
        for (std::size_t id = 0; id < row.size() && static_cast<TokenId>(id) < rules.timestamps->begin; ++id) row[id] = -kInf;
    }
    return row;
}

}  // namespace

TEST(decoding_rules_are_those_of_transformers) {
    const auto& goldens = fixtures::speech_goldens();
    const auto& vocabulary = goldens.at("vocabulary");
    const TokenId begin = vocabulary.at("begin");
    for (const auto& golden : goldens.at("rules")) {
        std::vector<float> row(vocabulary.at("size").get<std::size_t>());
        for (std::size_t i = 0; i < row.size(); ++i) {
            const auto mixed = (i * 7919 + golden.at("seed").get<std::size_t>() * 104729) % 2003;
            row[i] = static_cast<float>(mixed) / 128 - 8 + (static_cast<TokenId>(i) >= begin ? golden.at("shift").get<float>() : 0);
        }
        DecodingRules rules;
        rules.suppress = golden.at("suppress").get<std::vector<TokenId>>();
        rules.begin_suppress = golden.at("begin_suppress").get<std::vector<TokenId>>();
        rules.eos = vocabulary.at("eos");
        if (golden.contains("timestamps")) rules.timestamps = TimestampRules{begin, vocabulary.at("no_timestamps"), {}};
        if (golden.contains("max_initial_index")) rules.timestamps->max_initial_index = golden.at("max_initial_index").get<int>();
        const auto before = row;
        apply_decoding_rules(row, rules, golden.at("output").get<std::vector<TokenId>>());
        std::string kept;
        for (std::size_t i = 0; i < row.size(); ++i) {
            kept += row[i] == -kInf ? '0' : '1';
            CHECK(row[i] == -kInf || row[i] == before[i]);
        }
        CHECK_EQ(kept, golden.at("kept").get<std::string>());
    }
}

TEST(decoding_rules_match_a_naive_reading) {
    Rng rng(11);
    for (int round = 0; round < 3000; ++round) {
        const int size = pick(rng, 1, 60);
        DecodingRules rules;
        rules.suppress = random_tokens(rng, pick(rng, 0, 5), size);
        rules.begin_suppress = random_tokens(rng, pick(rng, 0, 3), size);
        rules.eos = pick(rng, 0, size);
        if (pick(rng, 0, 3) != 0) {
            rules.timestamps = TimestampRules{pick(rng, rules.eos, size), pick(rng, 0, size - 1), {}};
            if (pick(rng, 0, 1) == 0) rules.timestamps->max_initial_index = pick(rng, 0, size);
        }
        std::vector<float> row = random_row(rng, static_cast<std::size_t>(size));
        for (float& logit : row) logit = std::fmod(logit, 20.0F);
        const auto output = random_tokens(rng, pick(rng, 0, 6), size);
        const auto expected = naive_rules(row, rules, output);
        apply_decoding_rules(row, rules, output);
        CHECK_EQ(row, expected);
    }
}

TEST(decoding_rules_stay_inside_the_row) {
    constexpr int kLargest = std::numeric_limits<int>::max();
    constexpr int kLeast = std::numeric_limits<int>::min();
    for (const int wild : {kLeast, -1, 0, 4, 5, kLargest}) {
        for (const int other : {kLeast, -1, 0, 4, 5, kLargest}) {
            DecodingRules rules;
            rules.suppress = rules.begin_suppress = {wild, other};
            rules.eos = other;
            rules.timestamps = TimestampRules{wild, other, kLargest};
            for (const std::vector<TokenId>& output :
                 std::vector<std::vector<TokenId>>{{}, {wild}, {other, wild}, {kLargest, 1, kLargest}}) {
                std::vector<float> row(5, 1.0F);
                apply_decoding_rules(row, rules, output);
                for (const float logit : row) CHECK(logit == 1.0F || logit == -kInf);
                apply_decoding_rules({}, rules, output);
            }
        }
    }
}

TEST(decoding_rules_take_rows_without_any_finite_logit) {
    DecodingRules rules;
    rules.eos = 3;
    rules.timestamps = TimestampRules{5, 4, {}};
    for (const float all : {-kInf, kNan}) {
        std::vector<float> row(8, all);
        apply_decoding_rules(row, rules, std::vector<TokenId>{5, 1});
        CHECK_EQ(row, std::vector<float>(8, -kInf));
    }
    std::vector<float> row{0, 0, 0, 0, 0, kInf, 0, 0};
    apply_decoding_rules(row, rules, {});
    CHECK_EQ(row[5], kInf);
}
