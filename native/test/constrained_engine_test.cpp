// Constraints through the engine: whatever the logits are, every complete output fits; preemption, choices and limits change nothing.
#include <algorithm>
#include <map>
#include <string>

#include "engine/engine_core.h"
#include "engine/stand_in_runner.h"
#include "grammar/constraint_compiler.h"
#include "grammar_support.h"

using namespace tfserve;
using namespace tfserve::testing;

namespace {

const GrammarTokens& vocabulary() {
    static const GrammarTokens tokens;
    return tokens;
}

struct World {
    explicit World(int pages = 400, int seqs = 16) {
        StandInOptions options;
        options.capabilities.block_size = 4;
        options.capabilities.groups = {{pages, 0}};
        options.capabilities.max_num_seqs = seqs;
        options.capabilities.max_batch_tokens = 64;
        options.capabilities.max_model_len = 300;
        options.capabilities.vocab_size = static_cast<std::int32_t>(vocabulary().pieces.size());
        options.read_history = true;
        core = std::make_unique<EngineCore>(std::make_unique<StandInRunner>(options), vocabulary().table(), EngineConfig{});
    }

    static std::shared_ptr<const ConstraintSource> compiled(const Json& tree) {
        static ConstraintCompiler compiler(vocabulary().table(), static_cast<std::int32_t>(vocabulary().pieces.size()));
        return compiler.compile(tree.dump());
    }

    EngineRequest request(SequenceId id, const Json& tree) const {
        EngineRequest request;
        request.id = id;
        request.prompt = {static_cast<TokenId>(id % 100), 1, 2};
        request.constraint = compiled(tree);
        request.sampling.do_sample = true;
        request.sampling.temperature = 5;
        request.sampling.seed = id;
        request.sampling.max_new_tokens = 250;
        request.sampling.eos_token_ids = {vocabulary().eos()};
        return request;
    }

    struct Output {
        std::string text;
        std::vector<TokenId> tokens;
        FinishReason reason = FinishReason::none;
        std::string error;
    };
    std::map<std::pair<SequenceId, int>, Output> run() {
        std::map<std::pair<SequenceId, int>, Output> outputs;
        for (int steps = 0; core->has_work() && steps < 20000; ++steps) {
            core->step();
            for (const Delta& delta : core->deltas()) {
                Output& output = outputs[{delta.id, delta.choice}];
                CHECK(output.reason == FinishReason::none);
                output.text += delta.text;
                output.tokens.insert(output.tokens.end(), delta.tokens.begin(), delta.tokens.end());
                output.reason = delta.finish_reason;
                output.error = delta.error;
            }
            core->deltas().clear();
        }
        CHECK(!core->has_work());
        return outputs;
    }

    std::unique_ptr<EngineCore> core;
};

const Json kSchema = {{"type", "object"},
                      {"properties",
                       {{"name", {{"type", "string"}, {"maxLength", 6}}},
                        {"n", {{"type", "integer"}, {"minimum", -5}, {"maximum", 500}}},
                        {"list", {{"type", "array"}, {"items", {{"enum", {"a", "b", nullptr}}}}, {"maxItems", 3}}}}},
                      {"required", {"name", "n"}}};

bool is_valid(const std::string& text) {
    const Json value = Json::parse(text, nullptr, false);
    return !value.is_discarded() && satisfies(kSchema, value, kSchema);
}

}  // namespace

TEST(every_output_fits_its_constraint_whatever_the_logits_are) {
    World world;
    for (SequenceId id = 1; id <= 40; ++id) {
        EngineRequest request = world.request(id, of_schema(kSchema));
        request.sampling.do_sample = id % 2 == 0;
        if (id % 3 == 0) request.sampling.repetition_penalty = 1.5F;
        if (id % 5 == 0) request.sampling.min_new_tokens = 200;  // the end of the text is stronger
        if (id % 7 == 0) request.sampling.no_repeat_ngram_size = 1;
        if (id % 8 == 0) request.sampling.bad_words_ids = {{vocabulary().id("{")}, {vocabulary().id("{\"")}, {vocabulary().id("\"")}};
        if (id % 9 == 0) request.sampling.logit_bias = {{vocabulary().eos(), 100.0F}};
        if (id % 4 == 0) request.sampling.ignore_eos = true;
        request.sampling.want_logprobs = id % 6 == 0;
        world.core->submit(std::move(request));
    }
    const auto outputs = world.run();
    CHECK_EQ(outputs.size(), 40U);
    for (const auto& [key, output] : outputs) {
        CHECK(output.reason == FinishReason::stop);
        if (!CHECK(is_valid(output.text))) std::cout << key.first << ": " << output.text << "\n";
        // with an end-of-sequence token, unless those are ignored
        CHECK_EQ(output.tokens.back() == vocabulary().eos(), key.first % 4 != 0);
    }
}

TEST(preemption_changes_nothing_in_constrained_outputs) {
    const auto run = [](int pages) {
        World world(pages);
        for (SequenceId id = 1; id <= 12; ++id) world.core->submit(world.request(id, of_schema(kSchema)));
        const auto outputs = world.run();
        return std::pair(outputs, world.core->stats().preemptions);
    };
    const auto [roomy, none] = run(800);
    const auto [tight, some] = run(40);
    CHECK_EQ(none, 0U);
    CHECK(some > 0);
    for (const auto& [key, output] : roomy) {
        CHECK(tight.at(key).tokens == output.tokens);
        CHECK(is_valid(output.text));
    }
}

TEST(every_choice_follows_the_constraint_by_itself) {
    World world;
    EngineRequest request = world.request(1, of_schema(kSchema));
    request.n = 6;
    world.core->submit(std::move(request));
    const auto outputs = world.run();
    std::set<std::string> texts;
    for (const auto& [key, output] : outputs) {
        CHECK(is_valid(output.text));
        texts.insert(output.text);
    }
    CHECK_EQ(outputs.size(), 6U);
    CHECK(texts.size() > 1);
}

TEST(limits_cut_and_stop_strings_end_a_constrained_output) {
    World world;
    EngineRequest cut = world.request(1, of_schema({{"type", "string"}, {"minLength", 200}}));
    cut.sampling.max_new_tokens = 5;
    EngineRequest stopped = world.request(2, of_schema(kSchema));
    stopped.sampling.stop = {"\"n\""};
    world.core->submit(std::move(cut));
    world.core->submit(std::move(stopped));
    const auto outputs = world.run();
    CHECK(outputs.at({1, 0}).reason == FinishReason::length);
    CHECK_EQ(outputs.at({1, 0}).tokens.size(), 5U);
    CHECK(outputs.at({2, 0}).reason == FinishReason::stop);
    CHECK(outputs.at({2, 0}).text.starts_with("{"));
    CHECK(outputs.at({2, 0}).text.find("\"n\"") == std::string::npos);
}

TEST(an_empty_output_is_an_end_and_nothing_to_say_is_an_error) {
    World world;
    // without an end-of-sequence token the end is found before a token is chosen
    for (const int n : {1, 3}) {
        EngineRequest empty = world.request(static_cast<SequenceId>(n), {{"type", "literal"}, {"text", ""}});
        empty.n = n;
        empty.sampling.ignore_eos = true;
        world.core->submit(std::move(empty));
    }
    const auto outputs = world.run();
    CHECK_EQ(outputs.size(), 4U);
    for (const auto& [key, output] : outputs) {
        CHECK(output.reason == FinishReason::stop);
        CHECK(output.tokens.empty());
    }

    // a vocabulary that knows the first letter and not the second
    const auto table = TokenTable::from_pieces({"a", "<eos>"}, {false, true}, false);
    ConstraintCompiler compiler(table, 2);
    StandInOptions options;
    options.capabilities.groups = {{10, 0}};
    options.capabilities.max_num_seqs = 2;
    options.capabilities.max_batch_tokens = 8;
    options.capabilities.max_model_len = 100;
    options.capabilities.vocab_size = 2;
    world.core = std::make_unique<EngineCore>(std::make_unique<StandInRunner>(options), table, EngineConfig{});
    EngineRequest stuck;
    stuck.id = 9;
    stuck.prompt = {0};
    stuck.constraint = compiler.compile(R"({"type":"literal","text":"ab"})");
    stuck.sampling.max_new_tokens = 9;
    stuck.sampling.eos_token_ids = {1};
    world.core->submit(std::move(stuck));
    const auto output = world.run().at({9, 0});
    CHECK(output.reason == FinishReason::error);
    CHECK_EQ(output.text, std::string("a"));
    CHECK(output.error.find("vocabulary") != std::string::npos);
}

TEST(log_probabilities_are_of_the_model_not_of_the_constraint) {
    const auto run = [](bool constrained) {
        World world;
        EngineRequest request = world.request(1, of_schema(true));
        if (!constrained) request.constraint = nullptr;
        request.sampling.want_logprobs = true;
        request.sampling.top_logprobs = 3;
        request.sampling.max_new_tokens = 1;
        world.core->submit(std::move(request));
        for (int i = 0; world.core->has_work() && i < 10; ++i) world.core->step();
        return world.core->deltas().front().logprobs.front();
    };
    const SampledToken free = run(false), bound = run(true);
    REQUIRE(free.top_logprobs.size() == 3 && bound.top_logprobs.size() == 3);
    for (std::size_t i = 0; i < 3; ++i) {
        CHECK_EQ(free.top_logprobs[i].token, bound.top_logprobs[i].token);
        CHECK_EQ(free.top_logprobs[i].logprob, bound.top_logprobs[i].logprob);
    }
}
