"""make_hybrid.py OUT.gguf [WINDOW]: a tiny LFM2 with random weights, two convolution and two attention layers (with a window)."""

import sys

import gguf
import numpy as np

VOCAB, HIDDEN, FFN, HEAD, HEADS, HEADS_KV, CONV = 320, 64, 96, 16, 4, 2, 3
ATTENDS = [False, True, False, True]

random = np.random.default_rng(7)
out = gguf.GGUFWriter(sys.argv[1], "lfm2")
out.add_tokenizer_model("no_vocab")
out.add_vocab_size(VOCAB)
out.add_context_length(4096)
out.add_embedding_length(HIDDEN)
out.add_block_count(len(ATTENDS))
out.add_feed_forward_length(FFN)
out.add_head_count(HEADS)
out.add_head_count_kv([HEADS_KV if attends else 0 for attends in ATTENDS])
out.add_layer_norm_rms_eps(1e-5)
out.add_key_length(HEAD)
out.add_value_length(HEAD)
out.add_rope_dimension_count(HEAD)
out.add_rope_freq_base(10000.0)
out.add_shortconv_l_cache(CONV)
if len(sys.argv) > 2:
    out.add_sliding_window(int(sys.argv[2]))


def matrix(name, rows, columns):
    out.add_tensor(name, (random.standard_normal((rows, columns)) * 0.15).astype(np.float32))


def norm(name, size):
    out.add_tensor(name, (1 + 0.1 * random.standard_normal(size)).astype(np.float32))


matrix("token_embd.weight", VOCAB, HIDDEN)
norm("token_embd_norm.weight", HIDDEN)
for i, attends in enumerate(ATTENDS):
    block = f"blk.{i}."
    norm(block + "attn_norm.weight", HIDDEN)
    norm(block + "ffn_norm.weight", HIDDEN)
    matrix(block + "ffn_gate.weight", FFN, HIDDEN)
    matrix(block + "ffn_up.weight", FFN, HIDDEN)
    matrix(block + "ffn_down.weight", HIDDEN, FFN)
    if attends:
        norm(block + "attn_q_norm.weight", HEAD)
        norm(block + "attn_k_norm.weight", HEAD)
        matrix(block + "attn_q.weight", HEADS * HEAD, HIDDEN)
        matrix(block + "attn_k.weight", HEADS_KV * HEAD, HIDDEN)
        matrix(block + "attn_v.weight", HEADS_KV * HEAD, HIDDEN)
        matrix(block + "attn_output.weight", HIDDEN, HEADS * HEAD)
    else:
        matrix(block + "shortconv.conv.weight", HIDDEN, CONV)
        matrix(block + "shortconv.in_proj.weight", 3 * HIDDEN, HIDDEN)
        matrix(block + "shortconv.out_proj.weight", HIDDEN, HIDDEN)
out.write_header_to_file()
out.write_kv_data_to_file()
out.write_tensors_to_file()
out.close()
