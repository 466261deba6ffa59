// What a name of --quantization makes of a model's tensors.
#include "loader/quantization.h"

#include <set>
#include <string>

#include "loader/target_types.h"
#include "planned_checkpoint.h"
#include "testing.h"

using namespace tfserve;
using namespace tfserve::testing;

namespace {

const QuantizationScheme& scheme(const char* name) {
    const QuantizationScheme* found = find_quantization(name);
    REQUIRE(found != nullptr);
    return *found;
}

BlockType type_in(const char* name, const char* tensor, std::int64_t width = 4096, std::int32_t layers = 32, bool tied = false) {
    return quantized_type(scheme(name), tensor, width, layers, tied);
}

}  // namespace

TEST(quantization_names_are_unique_and_listed) {
    std::set<std::string> names;
    for (const QuantizationScheme& each : quantization_schemes()) {
        CHECK(names.insert(each.name).second);
        CHECK(contains(quantization_names(), each.name));
        CHECK_EQ(find_quantization(each.name), &each);
    }
    CHECK(find_quantization("q9_0") == nullptr);
    CHECK(find_quantization("") == nullptr);
}

TEST(quantization_leaves_alone_what_is_no_matrix_of_weights) {
    for (const QuantizationScheme& each : quantization_schemes()) {
        for (const char* name :
             {"output_norm.weight", "blk.0.attn_norm.weight", "blk.0.attn_q_norm.weight", "blk.0.ffn_gate_inp.weight",
              "blk.0.ffn_gate_inp_shexp.weight", "blk.0.attn_q.bias", "blk.0.ffn_gate_exps.bias", "blk.0.attn_sinks.weight",
              "blk.0.exp_probs_b.bias", "blk.0.layer_output_scale.weight", "rope_freqs.weight", "per_layer_model_proj.weight",
              "blk.0.ssm_conv1d.weight", "blk.x.attn_q.weight", "blk.0attn_q.weight", "blk..attn_q.weight", ".weight", "weight", ""}) {
            CHECK_EQ(quantized_type(each, name, 4096, 32, true), BlockType::none);
        }
    }
}

TEST(quantization_of_one_type_is_of_that_type) {
    for (const char* tensor :
         {"token_embd.weight", "output.weight", "blk.0.attn_q.weight", "blk.31.attn_v.weight", "blk.9.attn_output.weight",
          "blk.9.ffn_down_exps.weight", "blk.9.ffn_up.weight", "per_layer_token_embd.weight"}) {
        CHECK_EQ(type_in("q8_0", tensor), BlockType::q8_0);
        CHECK_EQ(type_in("q6_k", tensor), BlockType::q6_k);
    }
    CHECK_EQ(type_in("q4_0", "blk.3.ffn_down.weight"), BlockType::q4_0);
    CHECK_EQ(type_in("q4_0", "token_embd.weight"), BlockType::q4_0);
    CHECK_EQ(type_in("q4_0", "output.weight"), BlockType::q6_k);
}

TEST(a_tied_embedding_has_the_type_of_an_output) {
    for (const QuantizationScheme& each : quantization_schemes()) {
        CHECK_EQ(quantized_type(each, "token_embd.weight", 4096, 32, true), each.output);
        CHECK_EQ(quantized_type(each, "token_embd.weight", 4096, 32, false), each.most);
    }
}

TEST(the_middle_mixtures_give_more_bits_where_they_matter) {
    int better = 0;
    for (int layer = 0; layer < 32; ++layer) {
        const std::string at = "blk." + std::to_string(layer) + ".";
        const BlockType value = type_in("q4_k_m", (at + "attn_v.weight").c_str());
        CHECK_EQ(type_in("q4_k_m", (at + "ffn_down.weight").c_str()), value);
        CHECK_EQ(type_in("q4_k_m", (at + "ffn_down_exps.weight").c_str()), value);
        CHECK_EQ(type_in("q4_k_m", (at + "attn_qkv.weight").c_str()), value);
        CHECK_EQ(type_in("q4_k_m", (at + "attn_k.weight").c_str()), BlockType::q4_k);
        CHECK_EQ(type_in("q4_k_m", (at + "ffn_gate.weight").c_str()), BlockType::q4_k);
        CHECK_EQ(type_in("q5_k_m", (at + "attn_v.weight").c_str()), value == BlockType::q6_k ? BlockType::q6_k : BlockType::q5_k);
        CHECK_EQ(type_in("q4_k_s", (at + "attn_v.weight").c_str()), layer < 4 ? BlockType::q5_k : BlockType::q4_k);
        CHECK_EQ(type_in("q3_k_l", (at + "attn_v.weight").c_str()), BlockType::q5_k);
        if (value == BlockType::q6_k) ++better;
        if (layer < 4 || layer >= 28) CHECK_EQ(value, BlockType::q6_k);
    }
    CHECK_EQ(better, 16);  // the first 4, the last 4, and 8 of the 24 between
}

TEST(mxfp4_is_for_feed_forward_parts) {
    CHECK_EQ(type_in("mxfp4", "blk.0.ffn_down_exps.weight"), BlockType::mxfp4);
    CHECK_EQ(type_in("mxfp4", "blk.0.ffn_gate.weight"), BlockType::mxfp4);
    CHECK_EQ(type_in("mxfp4", "blk.0.attn_v.weight"), BlockType::q8_0);
    CHECK_EQ(type_in("mxfp4", "output.weight"), BlockType::q8_0);
}

TEST(rows_that_no_block_fits_take_shorter_blocks_or_stay) {
    for (const QuantizationScheme& each : quantization_schemes()) {
        for (const char* tensor : {"output.weight", "blk.0.attn_v.weight", "blk.0.attn_q.weight", "blk.0.ffn_down.weight"}) {
            bool fallback = true;
            const BlockType fitting = quantized_type(each, tensor, 512, 32, false, &fallback);
            CHECK(!fallback);
            const BlockType shorter = quantized_type(each, tensor, 576, 32, false, &fallback);
            CHECK_EQ(block_width(shorter), 32);
            CHECK_EQ(fallback, block_width(fitting) == 256);
            CHECK_EQ(quantized_type(each, tensor, 100, 32, false, &fallback), BlockType::none);
            CHECK(fallback);
        }
    }
    CHECK_EQ(type_in("q4_k_m", "blk.5.attn_q.weight", 96), BlockType::q5_0);
    CHECK_EQ(type_in("q5_k_m", "blk.5.attn_q.weight", 96), BlockType::q5_1);
    CHECK_EQ(type_in("q6_k", "blk.5.attn_q.weight", 96), BlockType::q8_0);
    CHECK_EQ(type_in("q2_k", "blk.5.attn_q.weight", 96), BlockType::iq4_nl);
}

TEST(types_of_a_whole_plan) {
    const Planned planned(config_json("LlamaForCausalLM"), decoder_shapes(false, false, false, false));
    LoadOptions options;
    const TargetTypes plain = target_types(planned.plan.tensors, options, 2);
    CHECK_EQ(plain.main_type, "bfloat16");
    CHECK_EQ(plain.note, "");

    // hidden 48 and ffn 80 fit no block at all: everything stays as it is, and the note says so
    options.quantization = find_quantization("q4_k_m");
    const TargetTypes kept = target_types(planned.plan.tensors, options, 2);
    CHECK(kept.types == plain.types);
    CHECK_EQ(kept.bytes, plain.bytes);
    CHECK(contains(kept.note, "15 of 15 matrices"));
    CHECK(contains(kept.note, "bfloat16"));

    options.dtype = WeightType::float32;
    CHECK_EQ(target_types(planned.plan.tensors, options, 2).main_type, "float32");
}
