// Copies of the embedded model with one file that is broken, hostile or not there.
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { modelPath } from './goldens.js'

type Json = Record<string, unknown>
type Make = (path: string, original: Buffer) => void

/** What becomes of one file of the model. */
export interface HostileCase {
  name: string
  file: string
  make: Make
  /** Part of the error; undefined: the model loads all the same. */
  error: RegExp | undefined
}

const write =
  (content: string | Buffer): Make =>
  (path) =>
    writeFileSync(path, content)
const json =
  (change: (value: Json) => unknown): Make =>
  (path, original) =>
    writeFileSync(path, JSON.stringify(change(JSON.parse(original.toString()) as Json)))
/** The file with these keys. */
const keys = (values: Json): Make => json((value) => ({ ...value, ...values }))
const fifo: Make = (path) => execFileSync('mkfifo', [path])
const folder: Make = (path) => mkdirSync(path)
const missing: Make = () => undefined
const loop: Make = (path) => symlinkSync(path, path)
const device: Make = (path) => symlinkSync('/dev/zero', path)
const huge =
  (bytes: number): Make =>
  (path) => {
    writeFileSync(path, '{')
    truncateSync(path, bytes)
  }

/** A safetensors file with another header over the same data. */
const header =
  (change: (header: Record<string, Json>) => unknown, data: (bytes: Buffer) => Buffer = (bytes) => bytes): Make =>
  (path, original) => {
    const size = Number(original.readBigUInt64LE())
    const text = JSON.stringify(change(JSON.parse(original.subarray(8, 8 + size).toString()) as Record<string, Json>))
    writeFileSync(path, Buffer.concat([headerSize(BigInt(Buffer.byteLength(text))), Buffer.from(text), data(original.subarray(8 + size))]))
  }
function headerSize(size: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(size)
  return bytes
}
const stated =
  (size: bigint): Make =>
  (path, original) =>
    writeFileSync(path, Buffer.concat([headerSize(size), original.subarray(8)]))
const tensor = (name: string, change: Json): Make => header((all) => ({ ...all, [name]: { ...all[name], ...change } }))

const norm = 'model.norm.weight'
const nested = (depth: number): string => '['.repeat(depth)

const weights: Omit<HostileCase, 'file'>[] = [
  { name: 'is missing', make: missing, error: /neither model\.safetensors nor/ },
  { name: 'is empty', make: write(''), error: /is empty/ },
  { name: 'is a directory', make: folder, error: /not a regular file/ },
  { name: 'is a pipe', make: fifo, error: /not a regular file/ },
  { name: 'is a device', make: device, error: /not a regular file/ },
  { name: 'is a link to itself', make: loop, error: /neither model\.safetensors nor|links/ },
  { name: 'states no header', make: stated(0n), error: /does not start with/ },
  { name: 'states a header past its end', make: stated(50_000_000n), error: /beyond the end/ },
  { name: 'states a header of more than 100 MB', make: stated(100_000_001n), error: /states a header of 100000001 bytes/ },
  { name: 'states a header of 2^64-1 bytes', make: stated(2n ** 64n - 1n), error: /states a header of/ },
  { name: 'is text', make: write('version https://git-lfs.github.com/spec/v1\n'), error: /not a sound safetensors file/ },
  { name: 'is cut short', make: (path, original) => writeFileSync(path, original.subarray(0, -1)), error: /truncated/ },
  { name: 'has a tail', make: (path, original) => writeFileSync(path, Buffer.concat([original, Buffer.alloc(2)])), error: /describes/ },
  { name: 'has overlapping tensors', make: tensor(norm, { data_offsets: [0, 256] }), error: /overlap|does not fit its shape/ },
  { name: 'has reversed offsets', make: tensor(norm, { data_offsets: [10, 2] }), error: /ends before it starts/ },
  { name: 'has a negative dimension', make: tensor(norm, { shape: [-4] }), error: /negative number/ },
  { name: 'has a shape that overflows', make: tensor(norm, { shape: [2 ** 40, 2 ** 40] }), error: /overflows/ },
  { name: 'has an unknown dtype', make: tensor(norm, { dtype: 'Q4_K' }), error: /unknown dtype "Q4_K"/ },
  { name: 'has a dtype that does not fit', make: tensor(norm, { dtype: 'F32' }), error: /does not fit its shape/ },
  { name: 'has a dtype that is not computed with', make: tensor(norm, { dtype: 'I16' }), error: /stored as I16.*BF16, F16 and F32/ },
  {
    name: 'has another shape than config.json says',
    make: header((all) => ({ ...all, [norm]: { ...all[norm], shape: [1, ...(all[norm]!['shape'] as number[])] } })),
    error: /has the shape \[1, \d+\], but config\.json asks for/,
  },
  {
    name: 'has the tensor under another name',
    make: header(({ [norm]: moved, ...all }) => ({ ...all, 'model.other.weight': moved })),
    error: /lacks the tensor model\.norm\.weight/,
  },
]

const config: Omit<HostileCase, 'file'>[] = [
  { name: 'is missing', make: missing, error: /no config\.json/ },
  { name: 'is empty', make: write(''), error: /config\.json/ },
  { name: 'is a pipe', make: fifo, error: /config\.json is not a regular file/ },
  { name: 'is cut short', make: (path, original) => writeFileSync(path, original.subarray(0, 40)), error: /not valid JSON/ },
  { name: 'is a list', make: write('[]'), error: /not a JSON object/ },
  {
    name: 'has NaN',
    make: (path, original) => writeFileSync(path, original.toString().replace(/: *1e-\d+|: *\d+/, ': NaN')),
    error: /not valid JSON/,
  },
  { name: 'is not UTF-8', make: write(Buffer.from([0x7b, 0xff, 0xfe, 0x7d])), error: /not text in UTF-8/ },
  { name: 'is nested deeply', make: write(`{"a":${nested(100_000)}`), error: /not valid JSON|nested/ },
  {
    name: 'has a deep value',
    make: (path, original) => writeFileSync(path, original.toString().replace('{', `{"a":${nested(60)}${']'.repeat(60)},`)),
    error: /nested too deeply/,
  },
  { name: 'is larger than a config is', make: huge(65 * 2 ** 20), error: /larger than/ },
  { name: 'names no architecture', make: keys({ architectures: undefined }), error: /architectures is missing/ },
  { name: 'names an architecture that is no text', make: keys({ architectures: [7] }), error: /not a list with a class name/ },
  {
    name: 'names an unknown architecture',
    make: keys({ architectures: ['NopeForCausalLM'] }),
    error: /"NopeForCausalLM" cannot be loaded directly.*GGUF/,
  },
  { name: 'names an architecture with a path', make: keys({ architectures: ['../../etc/passwd\n'] }), error: /cannot be loaded directly/ },
  { name: 'has a negative size', make: keys({ hidden_size: -64 }), error: /hidden_size is not a whole number/ },
  { name: 'has a size of zero', make: keys({ hidden_size: 0 }), error: /hidden_size is not a whole number/ },
  { name: 'has a huge size', make: keys({ hidden_size: 1e18 }), error: /hidden_size is not a whole number/ },
  { name: 'has a size in text', make: keys({ hidden_size: '64' }), error: /hidden_size is not a whole number/ },
  { name: 'has half a layer', make: keys({ num_hidden_layers: 1.5 }), error: /num_hidden_layers is not a whole number/ },
  { name: 'has a billion layers', make: keys({ num_hidden_layers: 1e9 }), error: /num_hidden_layers is not a whole number/ },
  { name: 'has more layers than the weights', make: keys({ num_hidden_layers: 500, layer_types: undefined }), error: /lacks the tensor/ },
  { name: 'has heads that do not divide', make: keys({ num_attention_heads: 7, num_key_value_heads: 3 }), error: /not a multiple/ },
  { name: 'has an odd head', make: keys({ head_dim: 33 }), error: /head_dim \(33\) is not an even number/ },
  { name: 'has wide heads', make: keys({ head_dim: 65536, num_attention_heads: 4096, num_key_value_heads: 4096 }), error: /beyond/ },
  { name: 'has a vocabulary of 2^31', make: keys({ vocab_size: 2 ** 31 }), error: /vocab_size is not a whole number/ },
  { name: 'has an unknown activation', make: keys({ hidden_act: 'relu6' }), error: /hidden_act "relu6" is not supported/ },
  {
    name: 'has an unknown rope',
    make: keys({ rope_scaling: { rope_type: 'magic' }, rope_parameters: undefined }),
    error: /rope type "magic"/,
  },
  {
    name: 'has rope parameters that are a list',
    make: keys({ rope_scaling: undefined, rope_parameters: [1] }),
    error: /rope_parameters.* is not an object/,
  },
  {
    name: 'is quantised in an unknown way',
    make: keys({ quantization_config: { quant_method: 'bitnet' } }),
    error: /quantised by "bitnet"/,
  },
]

const tokenizer: Omit<HostileCase, 'file'>[] = [
  { name: 'is missing', make: missing, error: /neither a tokenizer\.json nor a tokenizer\.model/ },
  { name: 'is empty', make: write(''), error: /tokenizer\.json cannot be read as a tokenizer/ },
  { name: 'is a pipe', make: fifo, error: /not a regular file/ },
  { name: 'is a directory', make: folder, error: /not a regular file/ },
  { name: 'is a device', make: device, error: /not a regular file/ },
  { name: 'is a gigabyte', make: huge(2 ** 30), error: /larger than 256 MiB/ },
  { name: 'is a list', make: write('[]'), error: /tokenizer\.json/ },
  { name: 'is an empty object', make: write('{}'), error: /tokenizer\.json/ },
  {
    name: 'is not UTF-8',
    make: (path, original) => writeFileSync(path, Buffer.concat([original.subarray(0, 20), Buffer.from([0xff]), original.subarray(20)])),
    error: /tokenizer\.json/,
  },
  { name: 'is nested deeply', make: write(`{"model":${nested(100_000)}`), error: /tokenizer\.json/ },
  { name: 'has no model', make: keys({ model: undefined }), error: /tokenizer\.json/ },
  {
    name: 'has a model of another type',
    make: json((value) => ({
      ...value,
      model: {
        type: 'WordPiece',
        vocab: { '[UNK]': 0 },
        unk_token: '[UNK]',
        continuing_subword_prefix: '##',
        max_input_chars_per_word: 100,
      },
    })),
    error: /known are BPE and Unigram/,
  },
  {
    name: 'has a vocabulary that is a list of numbers',
    make: json((value) => ({ ...value, model: { ...(value['model'] as Json), vocab: [1, 2] } })),
    error: /tokenizer\.json/,
  },
  {
    name: 'has a negative id',
    make: json((value) => ({ ...value, model: { ...(value['model'] as Json), vocab: { a: -1 }, merges: [] } })),
    error: /tokenizer\.json/,
  },
  {
    name: 'has an id of 2^31',
    make: json((value) => ({ ...value, model: { ...(value['model'] as Json), vocab: { a: 2 ** 31 }, merges: [] } })),
    error: /negative or beyond/,
  },
  {
    name: 'has an empty vocabulary',
    make: json((value) => ({ ...value, added_tokens: [], model: { ...(value['model'] as Json), vocab: {}, merges: [] } })),
    error: /no vocabulary/,
  },
  {
    name: 'has merges of what there is not',
    make: json((value) => ({ ...value, model: { ...(value['model'] as Json), merges: ['qq zz'] } })),
    error: /cannot be read as a tokenizer/,
  },
  {
    name: 'has merges that are numbers',
    make: json((value) => ({ ...value, model: { ...(value['model'] as Json), merges: [1] } })),
    error: /cannot be read as a tokenizer/,
  },
  { name: 'has an added token that is none', make: keys({ added_tokens: [{ id: 'x' }] }), error: /tokenizer\.json/ },
  { name: 'has an unknown decoder', make: keys({ decoder: { type: 'Magic' } }), error: /tokenizer\.json/ },
  { name: 'has no decoder', make: keys({ decoder: null }), error: /tokenizer\.json has no decoder/ },
  { name: 'has an unknown pre-tokenizer', make: keys({ pre_tokenizer: { type: 'Magic' } }), error: /cannot be read as a tokenizer/ },
  {
    name: 'has a regular expression that is none',
    make: keys({ pre_tokenizer: { type: 'Split', pattern: { Regex: '(((' }, behavior: 'Isolated', invert: false } }),
    error: /cannot be read as a tokenizer/,
  },
]

const others: HostileCase[] = [
  { file: 'tokenizer_config.json', name: 'is a pipe', make: fifo, error: /not a regular file/ },
  {
    file: 'tokenizer_config.json',
    name: 'is cut short',
    make: (path, original) => writeFileSync(path, original.subarray(0, 100)),
    error: /tokenizer_config\.json is not valid JSON/,
  },
  {
    file: 'tokenizer_config.json',
    name: 'has a template that is a number',
    make: keys({ chat_template: 7 }),
    error: /chat_template in tokenizer_config\.json/,
  },
  {
    file: 'tokenizer_config.json',
    name: 'has added tokens that are text',
    make: keys({ added_tokens_decoder: { a: 'b' } }),
    error: /added_tokens_decoder/,
  },
  {
    file: 'tokenizer_config.json',
    name: 'has special tokens that are numbers',
    make: keys({ bos_token: 7, eos_token: [] }),
    error: undefined,
  },
  { file: 'generation_config.json', name: 'is a pipe', make: fifo, error: /not a regular file/ },
  { file: 'generation_config.json', name: 'is a list', make: write('[1]'), error: /generation_config\.json is not a JSON object/ },
  { file: 'generation_config.json', name: 'is missing', make: missing, error: undefined },
  { file: 'chat_template.jinja', name: 'is a pipe', make: fifo, error: /not a regular file/ },
  { file: 'chat_template.jinja', name: 'is huge', make: huge(2 ** 30), error: /larger than 4 MiB/ },
  { file: 'chat_template.jinja', name: 'is not UTF-8', make: write(Buffer.from([0xc3, 0x28])), error: /not text in UTF-8/ },
  { file: 'model.safetensors.index.json', name: 'is beside the one file', make: write('{}'), error: undefined },
]

export const hostileCases: HostileCase[] = [
  ...weights.map((each) => ({ file: 'model.safetensors', ...each })),
  ...config.map((each) => ({ file: 'config.json', ...each })),
  ...tokenizer.map((each) => ({ file: 'tokenizer.json', ...each })),
  ...others,
]

const files = ['config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']

/** Makes the model of a case in `directory`. */
export function makeHostile(directory: string, { file, make }: Pick<HostileCase, 'file' | 'make'>): void {
  const source = modelPath('tfserve-demo')
  mkdirSync(directory)
  for (const name of files) if (name !== file) symlinkSync(join(source, name), join(directory, name))
  make(join(directory, file), files.includes(file) ? readFileSync(join(source, file)) : Buffer.alloc(0))
}
