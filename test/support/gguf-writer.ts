// Writes GGUF files, as the format's specification has them (version 3), from the qwen2 fixture: weights as they are, a made-up vocabulary.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { modelPath } from './goldens.js'

type Value =
  { u16: number } | { u32: number } | { i32: number } | { f32: number } | { text: string } | { texts: string[] } | { i32s: number[] }

export interface GgufTensor {
  name: string
  /** Innermost first. */
  shape: number[]
  /** ggml's number of the type: 0 float32, 8 q8_0, 30 bfloat16. */
  type: number
  data: Uint8Array
}

const alignment = 32
const number = (bytes: number, write: (buffer: Buffer) => void): Buffer => {
  const buffer = Buffer.alloc(bytes)
  write(buffer)
  return buffer
}
const u32 = (value: number) => number(4, (buffer) => buffer.writeUInt32LE(value))
const i32 = (value: number) => number(4, (buffer) => buffer.writeInt32LE(value))
const u64 = (value: number) => number(8, (buffer) => buffer.writeBigUInt64LE(BigInt(value)))
const text = (value: string) => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)])

function encoded(value: Value): Buffer {
  if ('u16' in value) return Buffer.concat([u32(2), number(2, (buffer) => buffer.writeUInt16LE(value.u16))])
  if ('u32' in value) return Buffer.concat([u32(4), u32(value.u32)])
  if ('i32' in value) return Buffer.concat([u32(5), i32(value.i32)])
  if ('f32' in value) return Buffer.concat([u32(6), number(4, (buffer) => buffer.writeFloatLE(value.f32))])
  if ('text' in value) return Buffer.concat([u32(8), text(value.text)])
  if ('texts' in value) return Buffer.concat([u32(9), u32(8), u64(value.texts.length), ...value.texts.map(text)])
  return Buffer.concat([u32(9), u32(5), u64(value.i32s.length), ...value.i32s.map(i32)])
}

export function writeGguf(path: string, metadata: Record<string, Value>, tensors: readonly GgufTensor[]): void {
  const padded = (size: number) => Math.ceil(size / alignment) * alignment
  const parts = [Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(Object.keys(metadata).length)]
  for (const [key, value] of Object.entries(metadata)) parts.push(text(key), encoded(value))
  let offset = 0
  for (const { name, shape, type, data } of tensors) {
    parts.push(text(name), u32(shape.length), ...shape.map(u64), u32(type), u64(offset))
    offset += padded(data.length)
  }
  const header = Buffer.concat(parts)
  const data = tensors.map((tensor) => Buffer.concat([tensor.data, Buffer.alloc(padded(tensor.data.length) - tensor.data.length)]))
  writeFileSync(path, Buffer.concat([header, Buffer.alloc(padded(header.length) - header.length), ...data]))
}

const names: Record<string, string> = {
  'model.embed_tokens.weight': 'token_embd.weight',
  'model.norm.weight': 'output_norm.weight',
  input_layernorm: 'attn_norm',
  post_attention_layernorm: 'ffn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
}

function ggufName(name: string): string {
  const layer = /^model\.layers\.(\d+)\.(.*)\.(weight|bias)$/.exec(name)
  return layer ? `blk.${layer[1]}.${names[layer[2]!]}.${layer[3]}` : names[name]!
}

/** The weights of the qwen2 fixture: matrices in bfloat16, vectors in float32. */
export function qwen2Tensors(): GgufTensor[] {
  const file = readFileSync(join(modelPath('qwen2'), 'model.safetensors'))
  const size = Number(file.readBigUInt64LE(0))
  const header = JSON.parse(file.subarray(8, 8 + size).toString()) as Record<string, { shape: number[]; data_offsets: [number, number] }>
  return Object.entries(header).flatMap(([name, { shape, data_offsets }]) => {
    if (name === '__metadata__') return []
    const stored = file.subarray(8 + size + data_offsets[0], 8 + size + data_offsets[1])
    const tensor = { name: ggufName(name), shape: [...shape].reverse(), type: 30, data: stored as Uint8Array }
    if (shape.length > 1) return [tensor]
    const wide = Buffer.alloc(stored.length * 2)
    for (let i = 0; i < stored.length; i += 2) stored.copy(wide, i * 2 + 2, i, i + 2)
    return [{ ...tensor, type: 0, data: wide }]
  })
}

/** The numbers of the qwen2 fixture, and tokens without meaning: to be spoken to by ids. */
export function qwen2Metadata(): Record<string, Value> {
  const tokens = Array.from({ length: 1536 }, (_, id) => (id < 256 ? `<0x${id.toString(16).toUpperCase().padStart(2, '0')}>` : `t${id}`))
  return {
    'general.architecture': { text: 'qwen2' },
    'qwen2.block_count': { u32: 3 },
    'qwen2.context_length': { u32: 4096 },
    'qwen2.embedding_length': { u32: 128 },
    'qwen2.feed_forward_length': { u32: 256 },
    'qwen2.attention.head_count': { u32: 4 },
    'qwen2.attention.head_count_kv': { u32: 2 },
    'qwen2.rope.freq_base': { f32: 1e6 },
    'qwen2.attention.layer_norm_rms_epsilon': { f32: 1e-6 },
    'tokenizer.ggml.model': { text: 'llama' },
    'tokenizer.ggml.tokens': { texts: tokens },
    'tokenizer.ggml.token_type': { i32s: tokens.map((_, id) => (id < 256 ? 6 : 1)) },
    'tokenizer.ggml.eos_token_id': { u32: 1502 },
  }
}
