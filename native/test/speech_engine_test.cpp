// The speech engine: operations of slots side by side, their results, aborts, and what is refused.
#include "speech/speech_engine.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "speech/alignment.h"
#include "speech/speech_core.h"
#include "testing.h"
#include "whisper_checkpoint.h"

namespace tfserve::speech {

using namespace testing;

namespace {

constexpr TokenId kEos = 60;

struct World {
    WhisperConfig config = odd_config();
    PlainTensors tensors = random_whisper(config, 7);
    TemporaryDirectory directory;
    std::unique_ptr<SpeechEngine> engine;
    std::mutex mutex;
    std::condition_variable woken;
    bool awake = false;
    bool held = false;                           ///< the engine's thread waits where it wakes us
    std::map<std::int64_t, SpeechResult> ended;  // by operation, with all its tokens
    std::map<std::int64_t, std::vector<ChosenToken>> tokens;
    std::vector<std::int64_t> order;  // of the results

    explicit World(std::int32_t slots = 4, const std::function<void(PlainTensors&)>& change = {}) {
        if (change) change(tensors);
        directory.write("config.json", whisper_config_json(config));
        directory.write("model.safetensors", safetensors_of(tensors));
        WhisperModelOptions options;
        options.path = directory.path();
        options.threads = 2;
        options.max_slots = slots;
        options.float32_cells = true;
        engine = std::make_unique<SpeechEngine>(
            WhisperModel::load(options, {}),
            [this] {
                std::unique_lock lock(mutex);
                awake = true;
                woken.notify_all();
                woken.wait(lock, [this] { return !held; });
            },
            [](std::string_view) {});
    }
    ~World() { engine.reset(); }

    void hold(bool wanted) {
        const std::lock_guard lock(mutex);
        held = wanted;
        woken.notify_all();
    }

    std::vector<float> mel(std::uint64_t seed) const {
        std::mt19937_64 random(seed);
        std::normal_distribution<float> normal(0, 0.7f);
        std::vector<float> values(static_cast<std::size_t>(config.num_mel_bins) * static_cast<std::size_t>(config.mel_frames()));
        for (float& value : values) value = normal(random);
        return values;
    }
    DecodeOp decode(std::vector<TokenId> prompt, std::int32_t most = 8) const {
        DecodeOp op;
        op.prompt = std::move(prompt);
        op.max_new_tokens = most;
        op.rules.eos = kEos;
        return op;
    }
    void submit(std::int32_t slot, std::int64_t id, SpeechOp op) {
        const auto problem = engine->submit(slot, id, std::move(op));
        CHECK_EQ(problem.value_or(""), "");
    }
    /// Waits until all of these have ended.
    void wait(const std::vector<std::int64_t>& ids) {
        const auto done = [&] { return std::ranges::all_of(ids, [&](std::int64_t id) { return ended.contains(id); }); };
        while (!done()) {
            {
                std::unique_lock lock(mutex);
                if (!woken.wait_for(lock, std::chrono::seconds(60), [this] { return awake; })) break;
                awake = false;
            }
            for (SpeechResult& result : engine->take()) {
                order.push_back(result.op);
                for (ChosenToken& token : result.tokens) tokens[result.op].push_back(token);
                if (result.finish != SpeechFinish::none) ended[result.op] = std::move(result);
            }
        }
        REQUIRE(done());
    }
    std::vector<TokenId> ids(std::int64_t op) {
        std::vector<TokenId> all;
        for (const ChosenToken& token : tokens[op]) all.push_back(token.id);
        return all;
    }
    /// Greedy answers by the plain loops, and the mean log probability of their tokens.
    std::pair<std::vector<TokenId>, double> plain_answer(std::uint64_t sound_seed, std::vector<TokenId> prompt, std::size_t most,
                                                         const std::vector<TokenId>& suppress = {}) const {
        const PlainWhisper plain(config, tensors);
        const auto sound = plain.encode(mel(sound_seed));
        std::vector<TokenId> answer;
        double sum = 0;
        while (answer.size() < most && (answer.empty() || answer.back() != kEos)) {
            auto row = plain.decode(prompt, sound).back();
            for (TokenId id : suppress) row[static_cast<std::size_t>(id)] = -INFINITY;
            const auto best = std::ranges::max_element(row);
            double total = 0;
            for (double logit : row) total += std::exp(logit - *best);
            sum -= std::log(total);
            answer.push_back(static_cast<TokenId>(best - row.begin()));
            prompt.push_back(answer.back());
        }
        return {answer, sum / static_cast<double>(answer.size())};
    }
};

}  // namespace

TEST(speech_engine_writes_what_plain_loops_write) {
    World world;
    std::vector<std::int64_t> all;
    for (std::int32_t i = 0; i < 4; ++i) {
        const std::int32_t slot = world.engine->open();
        CHECK_EQ(slot, i);
        world.submit(slot, 10 + i, EncodeOp{world.mel(20 + static_cast<std::uint64_t>(i))});
        DecodeOp op = world.decode({1, 2 + i, 3}, 6 + i);
        op.rules.suppress = {7, 8};
        op.choice.top_logprobs = 3;
        world.submit(slot, 20 + i, op);
        all.insert(all.end(), {10 + i, 20 + i});
    }
    CHECK_EQ(world.engine->open(), -1);
    world.wait(all);
    for (std::int32_t i = 0; i < 4; ++i) {
        CHECK_EQ(world.ended[10 + i].finish, SpeechFinish::done);
        const auto [answer, mean] =
            world.plain_answer(20 + static_cast<std::uint64_t>(i), {1, 2 + i, 3}, static_cast<std::size_t>(6 + i), {7, 8});
        CHECK_EQ(world.ids(20 + i), answer);
        CHECK(std::abs(world.ended[20 + i].avg_logprob - mean) < 1e-3);
        CHECK_EQ(world.ended[20 + i].finish, answer.back() == kEos ? SpeechFinish::eos : SpeechFinish::length);
        for (const ChosenToken& token : world.tokens[20 + i]) {
            REQUIRE(token.top.size() == 3);
            CHECK(token.top[0].logprob >= token.top[1].logprob && token.top[1].logprob >= token.top[2].logprob);
            CHECK(token.logprob <= token.top[0].logprob);
            CHECK(token.rules_logprob >= token.logprob);  // fewer tokens share what there is
        }
    }
    // slots were decoded together: no more steps than the longest answer and the turns before it
    CHECK(world.engine->stats().steps < 6 + 7 + 8 + 9);
    CHECK_EQ(world.engine->stats().encodes, 4);
}

TEST(speech_engine_scores_and_hears_silence) {
    World world;
    const std::int32_t slot = world.engine->open();
    world.submit(slot, 1, EncodeOp{world.mel(1)});
    world.submit(slot, 2, ScoreOp{{4, 5, 6}, {0, 66, 9}});
    DecodeOp op = world.decode({4, 5, 6}, 2);
    op.no_speech = NoSpeech{9, 0};
    world.submit(slot, 3, op);
    op.no_speech = NoSpeech{9, 2};  // the row that the first token is chosen from
    world.submit(slot, 4, op);
    world.wait({1, 2, 3, 4});
    const PlainWhisper plain(world.config, world.tensors);
    const auto logits = plain.decode({4, 5, 6}, plain.encode(world.mel(1)));
    const std::vector<std::size_t> ids = {0, 66, 9};
    REQUIRE(world.ended[2].values.size() == 3);
    for (std::size_t i = 0; i < 3; ++i) CHECK(std::abs(world.ended[2].values[i] - logits.back()[ids[i]]) < 1e-3);
    const auto probability = [&](std::size_t row) {
        double sum = 0;
        for (double logit : logits[row]) sum += std::exp(logit - logits[row][9]);
        return 1 / sum;
    };
    CHECK(std::abs(world.ended[3].no_speech_prob - probability(0)) < 1e-4);
    CHECK(std::abs(world.ended[4].no_speech_prob - probability(2)) < 1e-4);
    CHECK_EQ(world.ids(3), world.ids(4));
}

TEST(speech_engine_tells_when_a_model_computes_no_numbers) {
    World world(1, [](PlainTensors& tensors) { tensors.at("model.decoder.layer_norm.bias").values[3] = NAN; });
    const std::int32_t slot = world.engine->open();
    world.submit(slot, 1, EncodeOp{world.mel(1)});
    world.submit(slot, 2, ScoreOp{{4, 5, 6}, {0, 66, 9}});
    DecodeOp op = world.decode({4, 5, 6}, 2);
    op.no_speech = NoSpeech{9, 0};
    world.submit(slot, 3, op);
    world.submit(slot, 4, AlignOp{{1, 2}, {3, 4}, 30, {{1, 0}}, 3});
    world.wait({1, 2, 3, 4});
    for (const std::int64_t id : {2, 3}) {
        CHECK_EQ(world.ended[id].finish, SpeechFinish::error);
        CHECK_EQ(world.ended[id].error, "The model's output is not a number.");
        CHECK(world.ended[id].values.empty());
        CHECK_EQ(world.ended[id].no_speech_prob, 0);
    }
    CHECK_EQ(world.ended[4].values.size(), 2);
}

TEST(speech_engine_aligns) {
    World world;
    const std::int32_t slot = world.engine->open();
    world.submit(slot, 1, EncodeOp{world.mel(1)});
    const AlignOp op{{1, 2}, {3, 4, 5, 6}, 30, {{1, 0}, {2, 1}}, 3};
    world.submit(slot, 2, op);
    world.wait({1, 2});
    const PlainWhisper plain(world.config, world.tensors);
    std::map<std::pair<std::int32_t, std::int32_t>, PlainWhisper::Matrix> weights;
    plain.decode({1, 2, 3, 4, 5, 6}, plain.encode(world.mel(1)), &weights);
    std::vector<float> values;
    for (const auto& head : op.heads) {
        for (std::size_t row = 2; row < 6; ++row) {
            for (double value : weights[head][row]) values.push_back(static_cast<float>(value));
        }
    }
    CHECK_EQ(world.ended[2].values, align_tokens({values, 2, 4, 41}, 30, 3));
}

TEST(speech_engine_draws_the_same_whatever_runs_beside) {
    World world;
    const auto sampled = [&](std::uint64_t seed) {
        DecodeOp op = world.decode({1, 2, 3}, 12);
        op.choice.temperature = 1;
        op.choice.seed = seed;
        return op;
    };
    const std::int32_t slot = world.engine->open(), other = world.engine->open();
    world.submit(slot, 1, EncodeOp{world.mel(1)});
    world.submit(slot, 2, sampled(5));
    world.wait({1, 2});
    world.submit(other, 3, EncodeOp{world.mel(2)});
    world.submit(other, 4, world.decode({9}, 20));
    world.submit(slot, 5, sampled(5));
    world.submit(slot, 6, sampled(6));
    world.wait({3, 4, 5, 6});
    CHECK_EQ(world.ids(2), world.ids(5));
    CHECK(world.ids(2) != world.ids(6));
}

TEST(speech_engine_aborts) {
    World world(2);
    const std::int32_t slot = world.engine->open(), other = world.engine->open();
    world.hold(true);
    world.submit(other, 100, EncodeOp{world.mel(2)});
    world.submit(other, 101, world.decode({1}, 29));
    world.wait({100});  // and stays there
    for (std::int64_t id = 1; id <= 3; ++id) world.submit(slot, id, EncodeOp{world.mel(1)});
    world.engine->abort(slot);
    world.hold(false);
    world.wait({101, 1, 2, 3});
    for (std::int64_t id = 1; id <= 3; ++id) CHECK_EQ(world.ended[id].finish, SpeechFinish::aborted);
    CHECK(world.ended[101].finish == SpeechFinish::length || world.ended[101].finish == SpeechFinish::eos);
    // the slot goes on
    world.submit(slot, 20, EncodeOp{world.mel(1)});
    world.submit(slot, 21, world.decode({1, 2, 3}, 5));
    world.wait({20, 21});
    CHECK_EQ(world.ids(21), world.plain_answer(1, {1, 2, 3}, 5).first);
    // a slot that is closed with work in it ends that work and is free again
    world.hold(true);
    world.submit(slot, 30, EncodeOp{world.mel(1)});
    world.wait({30});
    world.submit(slot, 31, world.decode({1}, 29));
    world.engine->close(slot);
    world.hold(false);
    world.wait({31});
    CHECK_EQ(world.ended[31].finish, SpeechFinish::aborted);
    std::int32_t again = -1;
    for (int i = 0; i < 1000 && again < 0; ++i) {
        again = world.engine->open();
        if (again < 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    CHECK_EQ(again, slot);
    // and remembers nothing
    world.submit(again, 40, world.decode({1}, 5));
    world.wait({40});
    CHECK_EQ(world.ended[40].finish, SpeechFinish::error);
}

TEST(speech_engine_ends_with_work_under_way) {
    World world;
    for (std::int64_t id = 0; id < 4; ++id) {
        const std::int32_t slot = world.engine->open();
        world.submit(slot, 2 * id, EncodeOp{world.mel(1)});
        world.submit(slot, 2 * id + 1, world.decode({1}, 29));
    }
    world.engine.reset();
    CHECK(true);  // it joined
}

TEST(speech_engine_refuses_what_can_never_be) {
    World world;
    const std::int32_t slot = world.engine->open();
    const auto refused = [&](SpeechOp op, std::int32_t in = 0) { return world.engine->submit(in, 1, std::move(op)).has_value(); };
    CHECK_EQ(slot, 0);
    CHECK(refused(world.decode({1}), 1));  // not open
    CHECK(refused(world.decode({1}), -1));
    CHECK(refused(world.decode({1}), 99));
    CHECK(refused(EncodeOp{std::vector<float>(10)}));
    std::vector<float> mel = world.mel(1);
    mel[3] = NAN;
    CHECK(refused(EncodeOp{mel}));
    CHECK(refused(world.decode({})));
    CHECK(refused(world.decode({-1})));
    CHECK(refused(world.decode({67})));
    CHECK(refused(world.decode({1}, 30)));  // one more than the decoder sees
    CHECK(refused(world.decode({1}, 0)));
    CHECK(refused(world.decode({1}, INT32_MAX)));
    DecodeOp op = world.decode({1});
    op.no_speech = NoSpeech{1, 1};
    CHECK(refused(op));
    op.no_speech = NoSpeech{67, 0};
    CHECK(refused(op));
    CHECK(refused(ScoreOp{{}, {1}}));
    CHECK(refused(ScoreOp{{1}, {67}}));
    CHECK(refused(ScoreOp{std::vector<TokenId>(31, 1), {1}}));
    CHECK_EQ(objection(ScoreOp{{1}, std::vector<TokenId>(67, 1)}, world.config).value_or(""), "");
    CHECK(refused(ScoreOp{{1}, std::vector<TokenId>(68, 1)}));
    const AlignOp align{{1}, {2}, 10, {{0, 0}}, 7};
    const auto changed = [&](auto change) {
        AlignOp bad = align;
        change(bad);
        return refused(bad);
    };
    CHECK(changed([](AlignOp& bad) { bad.tokens.clear(); }));
    CHECK(changed([](AlignOp& bad) { bad.positions = 42; }));
    CHECK(changed([](AlignOp& bad) { bad.positions = 0; }));
    CHECK(changed([](AlignOp& bad) { bad.heads.clear(); }));
    CHECK(changed([](AlignOp& bad) { bad.heads[0] = {3, 0}; }));
    CHECK(changed([](AlignOp& bad) { bad.heads[0] = {0, 2}; }));
    CHECK(changed([](AlignOp& bad) { bad.median_width = 6; }));
    // more probabilities than memory should be asked for, though each number is in range
    WhisperConfig wide;
    wide.vocab_size = wide.d_model = wide.decoder_attention_heads = 4096;
    wide.decoder_layers = 2;
    AlignOp all{{}, std::vector<TokenId>(448, 1), 1500, {}, 7};
    all.heads.assign(640, {1, 4095});
    CHECK_EQ(objection(all, wide).value_or(""), "");
    all.heads.assign(800, {1, 4095});
    CHECK(objection(all, wide).has_value());
    // a slot's queue is bounded
    int taken = 0;
    while (!world.engine->submit(slot, 1000 + taken, EncodeOp{world.mel(1)}) && taken < 1000) ++taken;
    CHECK(taken >= 16 && taken < 1000);
}

}  // namespace tfserve::speech
