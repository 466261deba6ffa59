// From which files of a checkpoint its tokenizer comes, and what transformers makes of them: the tokenizer.json as it is; the same
// built anew by the class that tokenizer_config.json names; or one made of a tokenizer.model or of vocab.json and merges.txt.
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { CheckpointError, readModelFile, readModelText } from './model-file.js'
import { mergesOf, pieceTypes, readSentencePieces } from './sentencepiece.js'

/** A token that is cut out of a text before the rest is tokenised, with the names of tokenizer.json. */
export interface AddedToken {
  content: string
  single_word: boolean
  lstrip: boolean
  rstrip: boolean
  normalized: boolean
  special: boolean
}

export interface TokenizerSource {
  /** Text in the format of tokenizer.json where it is not the file itself. */
  json?: string
  /** json stands in for a tokenizer.json that the checkpoint has not: decoding needs it, too. */
  converted: boolean
  /** To be added in this order; those that are there already stay as they are. */
  added: AddedToken[]
}

const maxTokenizerBytes = 256 * 1024 * 1024
const maxAddedTokens = 100_000

const tokenShape = z
  .looseObject({
    content: z.string(),
    single_word: z.boolean().default(false),
    lstrip: z.boolean().default(false),
    rstrip: z.boolean().default(false),
    normalized: z.boolean().optional(),
    special: z.boolean().default(false),
  })
  .transform(({ content, single_word, lstrip, rstrip, normalized, special }): AddedToken => {
    return { content, single_word, lstrip, rstrip, normalized: normalized ?? !special, special }
  })
const specialToken = (content: string): AddedToken => {
  return { content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
}
const namedToken = z.union([z.string().transform(specialToken), tokenShape.transform((token) => ({ ...token, special: true }))])
const numberedTokens = z.record(z.string().regex(/^\d{1,8}$/), tokenShape)

const tokenizerJson = z.looseObject({
  added_tokens: z.array(tokenShape.and(z.looseObject({ id: z.int() }))).nullish(),
  model: z.looseObject({}),
})

const names = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'] as const

// families for which transformers does not go by the class in tokenizer_config.json
const familiesWithoutClass = new Set(['mistral', 'mixtral', 'mistral3', 'phi3', 'granite', 'olmo2', 'qwen2'])

type Config = Readonly<Record<string, unknown>>

/** The tokens that tokenizer_config.json names. @param defaults those that the class has where the file names none */
function configuredTokens(config: Config, defaults: Config = {}): AddedToken[] {
  const tokens: AddedToken[] = []
  const numbered = numberedTokens.safeParse(config['added_tokens_decoder'] ?? {})
  if (!numbered.success) throw new CheckpointError('tokenizer_config.json has an added_tokens_decoder that does not map ids to tokens.')
  const entries = Object.entries(numbered.data).sort(([a], [b]) => Number(a) - Number(b))
  if (entries.length > maxAddedTokens) throw new CheckpointError('tokenizer_config.json has too many added tokens.')
  tokens.push(...entries.map(([, token]) => token))
  const further = config['extra_special_tokens'] ?? config['additional_special_tokens']
  for (const value of [
    ...names.map((name) => (name in config ? config[name] : defaults[name])),
    ...(Array.isArray(further) ? further.slice(0, maxAddedTokens) : []),
  ]) {
    const token = namedToken.safeParse(value)
    if (token.success && !tokens.some(({ content }) => content === token.data.content)) tokens.push(token.data)
  }
  return tokens.filter(({ content }) => content !== '')
}

const isLlamaClass = (config: Config): boolean => /^LlamaTokenizer(?:Fast)?$/.test(String(config['tokenizer_class'] ?? ''))

const llamaDefaults = { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>' }

/** LlamaTokenizer of transformers 5: no normalizer, and a space before the text. */
function llamaParts(config: Config): Record<string, unknown> {
  const prefix = (config['add_prefix_space'] ?? true) === true
  const scheme = !prefix ? 'never' : config['legacy'] === true ? 'always' : 'first'
  return {
    normalizer: null,
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: scheme, split: false },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(prefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
      ],
    },
  }
}

/** GemmaTokenizer: spaces become pieces of their own. */
const gemmaParts = {
  normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
  pre_tokenizer: { type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithPrevious', invert: false },
  decoder: {
    type: 'Sequence',
    decoders: [{ type: 'Replace', pattern: { String: '▁' }, content: ' ' }, { type: 'ByteFallback' }, { type: 'Fuse' }],
  },
}

const sentencePieceModel = {
  type: 'BPE',
  dropout: null,
  unk_token: null,
  continuing_subword_prefix: null,
  end_of_word_suffix: null,
  fuse_unk: true,
  byte_fallback: true,
  ignore_merges: false,
}

/** bos and eos around a text, as tokenizer_config.json has it where there is no tokenizer.json that says so. */
function processor(config: Config, vocab: ReadonlyMap<string, number>, defaults: Config): Record<string, unknown> | null {
  const single: unknown[] = [{ Sequence: { id: 'A', type_id: 0 } }]
  const special_tokens: Record<string, unknown> = {}
  for (const [flag, name, put] of [
    ['add_bos_token', 'bos_token', (entry: unknown) => single.unshift(entry)],
    ['add_eos_token', 'eos_token', (entry: unknown) => single.push(entry)],
  ] as const) {
    const token = namedToken.safeParse(name in config ? config[name] : defaults[name])
    const id = token.success ? vocab.get(token.data.content) : undefined
    if (config[flag] !== true || !token.success || id === undefined) continue
    put({ SpecialToken: { id: token.data.content, type_id: 0 } })
    special_tokens[token.data.content] = { id: token.data.content, ids: [id], tokens: [token.data.content] }
  }
  if (single.length === 1) return null
  return { type: 'TemplateProcessing', single, pair: [...single, { Sequence: { id: 'B', type_id: 1 } }], special_tokens }
}

/** The file as LlamaTokenizer builds it anew; undefined where it is none of its kind. */
function rebuilt(text: string, config: Config): TokenizerSource | undefined {
  if (text.includes('"ByteLevel"')) return undefined
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new CheckpointError('tokenizer.json is not valid JSON.')
  }
  const file = tokenizerJson.safeParse(value)
  if (!file.success) throw new CheckpointError('tokenizer.json is not a tokenizer: it has no model, or added_tokens that are none.')
  if (file.data.model['type'] !== 'BPE') return undefined
  const own = [...(file.data.added_tokens ?? [])].sort((a, b) => a.id - b.id)
  const model = { ...file.data.model, ...sentencePieceModel }
  const { decoder } = file.data
  const json = JSON.stringify({ ...file.data, ...llamaParts(config), ...(decoder ? { decoder } : {}), model, added_tokens: [] })
  const named = configuredTokens(config, llamaDefaults)
  const first = config['added_tokens_decoder'] === undefined ? own : []
  return { json, converted: false, added: [...first, ...named.filter((token) => !first.some(({ content }) => content === token.content))] }
}

/** A tokenizer.json with the vocabulary and merges of a sentencepiece model. */
function fromSentencePiece(dir: string, config: Config): TokenizerSource | undefined {
  const name = 'tokenizer.model'
  const bytes = readModelFile(dir, name, maxTokenizerBytes)
  if (!bytes) return undefined
  const pieces = readSentencePieces(bytes, name)
  const vocab = new Map(pieces.map(({ piece }, id) => [piece, id]))
  const gemma = /^GemmaTokenizer(?:Fast)?$/.test(String(config['tokenizer_class'] ?? ''))
  const defaults = gemma ? { bos_token: '<bos>', eos_token: '<eos>', unk_token: '<unk>', pad_token: '<pad>' } : llamaDefaults
  const added = configuredTokens(config, defaults)
  for (const { piece, type } of pieces) {
    if ((type !== pieceTypes.control && type !== pieceTypes.userDefined) || added.some(({ content }) => content === piece)) continue
    added.push({ ...specialToken(piece), special: type === pieceTypes.control })
  }
  let next = vocab.size
  const added_tokens = added.map((token) => ({ id: vocab.get(token.content) ?? next++, ...token }))
  const unk_token = gemma ? '<unk>' : null
  const json = JSON.stringify({
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: added_tokens.sort((a, b) => a.id - b.id),
    ...(gemma ? gemmaParts : llamaParts(config)),
    post_processor: processor(config, vocab, defaults),
    model: { ...sentencePieceModel, unk_token, vocab: Object.fromEntries(vocab), merges: mergesOf(vocab) },
  })
  return { json, converted: true, added: [] }
}

/** What makes the tokenizer of a checkpoint directory. Throws a CheckpointError. @param modelType of config.json */
export function tokenizerSource(dir: string, config: Config, modelType: string): TokenizerSource {
  const name = 'tokenizer.json'
  if (isLlamaClass(config) && !familiesWithoutClass.has(modelType)) {
    const text = readModelText(dir, name, maxTokenizerBytes)
    const source = text === undefined ? undefined : rebuilt(text, config)
    if (source) return source
  }
  const status = statSync(join(dir, name), { throwIfNoEntry: false })
  if (status) {
    if (!status.isFile()) throw new CheckpointError(`${name} is not a regular file.`)
    if (status.size > maxTokenizerBytes) throw new CheckpointError(`${name} is larger than ${maxTokenizerBytes / 2 ** 20} MiB.`)
    return { converted: false, added: configuredTokens(config) }
  }
  const source = fromSentencePiece(dir, config)
  if (source) return source
  throw new CheckpointError('The checkpoint has neither a tokenizer.json nor a tokenizer.model: its texts cannot be tokenised.')
}
