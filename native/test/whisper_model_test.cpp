// The model on graphs against the plain loops, on random checkpoints of odd sizes.
#include "speech/whisper_model.h"

#include <algorithm>
#include <random>

#include "loader/load_error.h"
#include "speech/kernels/linear_kernel.h"
#include "testing.h"
#include "whisper_checkpoint.h"

namespace tfserve::speech {

using namespace testing;

namespace {

struct World {
    WhisperConfig config;
    PlainTensors tensors;
    TemporaryDirectory directory;

    explicit World(WhisperConfig config = odd_config(), bool bf16 = false) : config(config), tensors(random_whisper(config, 7)) {
        directory.write("config.json", whisper_config_json(config));
        directory.write("model.safetensors", safetensors_of(tensors, bf16));
    }
    std::unique_ptr<WhisperModel> load(WhisperModelOptions options = {}) const {
        options.path = directory.path();
        options.threads = 2;
        return WhisperModel::load(options, {});
    }
    PlainWhisper plain() const { return {config, tensors}; }
    std::vector<float> mel(std::uint64_t seed) const {
        std::mt19937_64 random(seed);
        std::normal_distribution<float> normal(0, 0.7f);
        std::vector<float> values(static_cast<std::size_t>(config.num_mel_bins) * static_cast<std::size_t>(config.mel_frames()));
        for (float& value : values) value = normal(random);
        return values;
    }
};

std::vector<DecodeRow> rows_of(std::int32_t slot, const std::vector<TokenId>& tokens, std::int32_t position = 0) {
    std::vector<DecodeRow> rows;
    for (TokenId token : tokens) rows.push_back({slot, token, position++, true});
    return rows;
}

double largest_difference(std::span<const float> got, const PlainWhisper::Matrix& wanted) {
    double largest = 0;
    std::size_t at = 0;
    for (const auto& row : wanted) {
        for (double value : row) largest = std::max(largest, std::abs(static_cast<double>(got[at++]) - value));
    }
    return at == got.size() ? largest : 1e9;
}

WhisperModelOptions exact() {
    WhisperModelOptions options;
    options.float32_cells = true;
    return options;
}

}  // namespace

TEST(whisper_computes_what_plain_loops_compute) {
    const World world;
    const auto sound = world.plain().encode(world.mel(1));
    const std::vector<TokenId> tokens = {3, 66, 0, 12, 5, 5, 31, 8};
    const auto logits = world.plain().decode(tokens, sound);
    const tf_linear_kernel* kernels[4];
    for (int i = 0; i < tf_linear_list(kernels, 4); ++i) {
        for (const bool float32_cells : {true, false}) {
            WhisperModelOptions options;
            options.kernel = kernels[i]->name;
            options.float32_cells = float32_cells;
            const auto model = world.load(options);
            CHECK_EQ(model->info().dtype, "float32");
            model->reserve(0);
            std::vector<float> encoded, got;
            CHECK_EQ(model->encode(0, world.mel(1), {}, &encoded), RunStatus::done);
            CHECK(largest_difference(encoded, sound) < 2e-4);
            model->decode(rows_of(0, tokens), got);
            CHECK(largest_difference(got, logits) < (float32_cells ? 5e-4 : 2e-2));
        }
    }
}

TEST(whisper_weights_in_two_bytes_lose_nothing_that_they_hold) {
    const World world(odd_config(), true);
    const auto model = world.load(exact());
    CHECK_EQ(model->info().dtype, "bfloat16");
    model->reserve(0);
    std::vector<float> encoded, got;
    model->encode(0, world.mel(2), {}, &encoded);
    const auto sound = world.plain().encode(world.mel(2));
    CHECK(largest_difference(encoded, sound) < 2e-4);
    model->decode(rows_of(0, {1, 2, 3}), got);
    CHECK(largest_difference(got, world.plain().decode({1, 2, 3}, sound)) < 5e-4);
}

TEST(whisper_with_an_output_matrix_of_its_own) {
    WhisperConfig config = odd_config();
    config.tie_word_embeddings = false;
    const World world(config);
    const auto model = world.load(exact());
    model->reserve(0);
    std::vector<float> got;
    model->encode(0, world.mel(3), {});
    model->decode(rows_of(0, {9, 4}), got);
    CHECK(largest_difference(got, world.plain().decode({9, 4}, world.plain().encode(world.mel(3)))) < 5e-4);
}

TEST(whisper_decodes_many_slots_as_it_decodes_each) {
    const World world;
    WhisperModelOptions options = exact();
    options.max_slots = 5;
    const auto model = world.load(options);
    const std::vector<std::vector<TokenId>> prompts = {{1, 2, 3, 4, 5, 6, 7}, {60}, {10, 11}, {20, 21, 22}, {30, 31, 32, 33}};
    std::vector<PlainWhisper::Matrix> sounds;
    for (std::int32_t slot = 0; slot < 5; ++slot) {
        model->reserve(slot);
        model->encode(slot, world.mel(10 + static_cast<std::uint64_t>(slot)), {});
        sounds.push_back(world.plain().encode(world.mel(10 + static_cast<std::uint64_t>(slot))));
    }
    // prompts in one batch, some of their rows without logits, then one token each in another order
    std::vector<DecodeRow> rows;
    for (std::int32_t slot = 0; slot < 5; ++slot) {
        for (DecodeRow row : rows_of(slot, prompts[static_cast<std::size_t>(slot)])) {
            row.logits = row.position == 0;
            rows.push_back(row);
        }
    }
    std::vector<float> got;
    model->decode(rows, got);
    const auto width = static_cast<std::size_t>(world.config.vocab_size);
    REQUIRE(got.size() == 5 * width);
    for (std::size_t slot = 0; slot < 5; ++slot) {
        const auto wanted = world.plain().decode({prompts[slot][0]}, sounds[slot]);
        CHECK(largest_difference(std::span(got).subspan(slot * width, width), wanted) < 5e-4);
    }
    rows.clear();
    for (std::int32_t slot : {3, 0, 4, 1, 2})
        rows.push_back({slot, 50 + slot, static_cast<std::int32_t>(prompts[static_cast<std::size_t>(slot)].size()), true});
    model->decode(rows, got);
    REQUIRE(got.size() == 5 * width);
    for (std::size_t i = 0; i < 5; ++i) {
        const auto slot = static_cast<std::size_t>(rows[i].slot);
        std::vector<TokenId> tokens = prompts[slot];
        tokens.push_back(rows[i].token);
        const PlainWhisper::Matrix wanted = {world.plain().decode(tokens, sounds[slot]).back()};
        CHECK(largest_difference(std::span(got).subspan(i * width, width), wanted) < 5e-4);
    }
}

TEST(whisper_tells_where_its_heads_look) {
    const World world;
    const auto model = world.load(exact());
    model->reserve(0);
    model->encode(0, world.mel(4), {});
    const std::vector<TokenId> tokens = {2, 4, 6, 8, 10};
    const std::vector<DecoderHead> heads = {{2, 1}, {0, 0}, {2, 0}};  // not in the order of layers
    std::vector<float> weights;
    CHECK_EQ(model->cross_attention(0, tokens, heads, {}, weights), RunStatus::done);
    std::map<std::pair<std::int32_t, std::int32_t>, PlainWhisper::Matrix> wanted;
    world.plain().decode(tokens, world.plain().encode(world.mel(4)), &wanted);
    const std::size_t plane = tokens.size() * static_cast<std::size_t>(world.config.max_source_positions);
    REQUIRE(weights.size() == heads.size() * plane);
    for (std::size_t i = 0; i < heads.size(); ++i) {
        CHECK(largest_difference(std::span(weights).subspan(i * plane, plane), wanted.at(heads[i])) < 1e-4);
    }
}

TEST(whisper_encodes_end_when_asked) {
    const World world;
    const auto model = world.load(exact());
    model->reserve(0);
    std::vector<float> first, second;
    CHECK_EQ(model->encode(0, world.mel(5), {}, &first), RunStatus::done);
    int asked = 0;
    CHECK_EQ(model->encode(0, world.mel(6), [&] { return ++asked > 5; }), RunStatus::aborted);
    CHECK(asked > 5);
    std::vector<float> weights;
    CHECK_EQ(model->cross_attention(
                 0, std::vector<TokenId>{1}, std::vector<DecoderHead>{{0, 0}}, [] { return true; }, weights),
             RunStatus::aborted);
    // nothing of it stays
    CHECK_EQ(model->encode(0, world.mel(5), {}, &second), RunStatus::done);
    CHECK(first == second);
}

TEST(whisper_slots_are_bounded_by_their_memory) {
    const World world;
    const std::uint64_t each = world.load()->info().bytes_per_slot;
    CHECK_EQ(each, static_cast<std::uint64_t>((41 + 30) * 3 * 2 * 24 * 2));  // cells x layers x keys and values x width x bytes
    WhisperModelOptions options;
    options.slot_memory = 3 * each + 1;
    CHECK_EQ(world.load(options)->info().slots, 3);
    options.slot_memory = each - 1;
    CHECK_THROWS(world.load(options), LoadError);
    options.slot_memory = 0;
    options.max_slots = 2;
    CHECK_EQ(world.load(options)->info().slots, 2);
}

TEST(whisper_models_that_compute_with_more_memory_than_there_is_are_refused) {
    const World world;
    WhisperModelOptions options;
    options.compute_memory = 1 << 20;
    CHECK_EQ(world.load(options)->info().slots, 8);
    options.compute_memory = 1 << 10;
    CHECK_THROWS(world.load(options), LoadError);
    // a few hundred kilobytes of weights that ask for half a gigabyte in an encode
    WhisperConfig config = odd_config();
    config.d_model = 6;
    config.encoder_layers = 1;
    config.max_source_positions = 1 << 13;
    config.encoder_ffn_dim = 1 << 14;
    options.compute_memory = std::uint64_t{1} << 29;
    CHECK_THROWS(World(config).load(options), LoadError);
    // and in a pass over all tokens of a window
    config.max_source_positions = 41;
    config.encoder_ffn_dim = 50;
    config.max_target_positions = 1 << 13;
    config.decoder_ffn_dim = 1 << 14;
    CHECK_THROWS(World(config).load(options), LoadError);
}

}  // namespace tfserve::speech
