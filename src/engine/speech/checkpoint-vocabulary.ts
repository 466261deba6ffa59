// Reads the vocabulary of a checkpoint directory: tokenizer.json, or vocab.json with merges.txt and added_tokens.json, and the generation config.
import { z } from 'zod'
import { CheckpointError, readModelText } from '../model-file.js'
import { bytePairs, bytesOfWritten, type TextTokens } from './byte-pairs.js'
import { languageNames } from './languages.js'
import { defaultAlignmentWidth, defaultMaxLength, type SpeechVocabulary } from './vocabulary.js'

const maxJsonBytes = 64 * 2 ** 20
const mostIds = 2 ** 20
// transformers' default for a config.json without it
const defaultVocabularySize = 51_865
// ids of OpenAI's multilingual models; those of the English ones are one less
const smallestMultilingual = 51865

const id = z.int().min(0).lt(mostIds)
const ids = z.array(id).max(mostIds)
const vocab = z.record(z.string(), id)

// of 50,000 entries, which are looked at one by one below
const words = z.custom<Readonly<Record<string, unknown>>>((value) => typeof value === 'object' && value !== null && !Array.isArray(value))

const tokenizerJson = z.looseObject({
  added_tokens: z.array(z.looseObject({ id, content: z.string() })).default([]),
  model: z.looseObject({ type: z.literal('BPE'), vocab: words, merges: z.array(z.unknown()) }),
})

// old generation configs lack most of it; config.json may have what they lack
const settings = z.looseObject({
  eos_token_id: z
    .union([
      id,
      z
        .array(id)
        .min(1)
        .transform((all) => all[0]!),
    ])
    .nullish(),
  decoder_start_token_id: id.nullish(),
  no_timestamps_token_id: id.nullish(),
  prev_sot_token_id: id.nullish(),
  is_multilingual: z.boolean().nullish(),
  lang_to_id: vocab.nullish(),
  task_to_id: vocab.nullish(),
  suppress_tokens: ids.nullish(),
  begin_suppress_tokens: ids.nullish(),
  max_initial_timestamp_index: z.int().min(0).nullish(),
  alignment_heads: z
    .array(z.tuple([z.int().min(0), z.int().min(0)]))
    .max(4096)
    .nullish(),
  median_filter_width: z
    .int()
    .min(1)
    .max(127)
    .refine((width) => width % 2 === 1)
    .nullish(),
  max_length: z.int().min(1).nullish(),
  vocab_size: z.int().min(1).max(mostIds).nullish(),
  compression_ratio_threshold: z.number().nullish(),
  logprob_threshold: z.number().nullish(),
  no_speech_threshold: z.number().nullish(),
})

type Settings = z.infer<typeof settings>

function parse<T>(schema: z.ZodType<T>, name: string, text: string): T {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new CheckpointError(`${name} is not valid JSON.`)
  }
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  throw new CheckpointError(`${name} is not what a Whisper checkpoint has: ${issue?.path.join('.').slice(0, 80)}: ${issue?.message}.`)
}

const readJson = <T>(dir: string, name: string, schema: z.ZodType<T>): T | undefined => {
  const text = readModelText(dir, name, maxJsonBytes)
  return text === undefined ? undefined : parse(schema, name, text)
}

interface Tokenizer {
  text: TextTokens
  /** Control tokens by what is written for them. */
  control: ReadonlyMap<string, number>
}

const latin = (written: string): string | undefined => {
  const bytes = bytesOfWritten(written)
  return bytes && Buffer.from(bytes).toString('latin1')
}

const pairKey = (left: string, right: string): string => `${left.length} ${left}${right}`

/** Text tokens from how they are written; what is wrong with the merges is ignored, as nothing but prompts need them. */
function textTokens(words: Readonly<Record<string, unknown>>, merges: readonly unknown[], control: ReadonlySet<number>): TextTokens {
  const bytes: (Uint8Array | undefined)[] = []
  for (const [written, number] of Object.entries(words)) {
    if (!Number.isSafeInteger(number) || (number as number) < 0 || (number as number) >= mostIds) {
      throw new CheckpointError(`The vocabulary has a token whose id is none: '${written.slice(0, 40)}'.`)
    }
    if (!control.has(number as number)) bytes[number as number] = bytesOfWritten(written)
  }
  let ranks: Map<string, number> | undefined
  const rankOf = (left: string, right: string): number | undefined => {
    ranks ??= ranksOf(merges)
    return ranks.get(pairKey(left, right))
  }
  return bytePairs(bytes, rankOf)
}

function ranksOf(merges: readonly unknown[]): Map<string, number> {
  const ranks = new Map<string, number>()
  for (const [rank, pair] of merges.entries()) {
    const parts: readonly unknown[] = typeof pair === 'string' ? pair.split(' ') : Array.isArray(pair) ? pair : []
    const [left, right] = parts.map((part) => (typeof part === 'string' ? latin(part) : undefined))
    if (left !== undefined && right !== undefined) ranks.set(pairKey(left, right), rank)
  }
  return ranks
}

function readTokenizer(dir: string): Tokenizer {
  const whole = readJson(dir, 'tokenizer.json', tokenizerJson)
  if (whole) {
    const control = new Map(whole.added_tokens.map(({ content, id: number }) => [content, number]))
    return { text: textTokens(whole.model.vocab, whole.model.merges, new Set(control.values())), control }
  }
  const words = readJson(dir, 'vocab.json', vocab)
  const merges = readModelText(dir, 'merges.txt', maxJsonBytes)
  if (!words || merges === undefined)
    throw new CheckpointError('The checkpoint has neither a tokenizer.json nor a vocab.json with a merges.txt.')
  const added = readJson(dir, 'added_tokens.json', vocab) ?? {}
  const all = { ...words, ...added }
  const control = new Map(
    Object.entries(all).filter(([written, number]) => /^<\|.*\|>$/.test(written) || number >= (all['<|endoftext|>'] ?? mostIds)),
  )
  const lines = merges.split('\n').filter((line) => line !== '' && !line.startsWith('#version'))
  return { text: textTokens(words, lines, new Set(control.values())), control }
}

function languagesOf({ lang_to_id }: Settings, control: ReadonlyMap<string, number>): Map<string, number> {
  const told = lang_to_id ?? Object.fromEntries([...control].filter(([written]) => Object.hasOwn(languageNames, written.slice(2, -2))))
  return new Map(Object.entries(told).map(([written, token]) => [written.replace(/^<\|(.*)\|>$/, '$1'), token]))
}

/**
 * The vocabulary of a checkpoint directory. What its generation config does not say is read from config.json, else from the names of the tokens.
 * Throws a CheckpointError.
 */
export function checkpointVocabulary(dir: string): SpeechVocabulary {
  const config = readJson(dir, 'config.json', settings)
  if (!config) throw new CheckpointError('The directory holds no config.json: it is not a Hugging Face checkpoint.')
  const size = config.vocab_size ?? defaultVocabularySize
  const own = readJson(dir, 'generation_config.json', settings) ?? {}
  const said: Settings = { ...config, ...Object.fromEntries(Object.entries(own).filter(([, value]) => value !== null)) }
  const { text, control } = readTokenizer(dir)

  const token = (told: number | null | undefined, written: string): number => {
    const found = told ?? control.get(written)
    if (found === undefined || found >= size)
      throw new CheckpointError(`The checkpoint has no token ${written}: it is not a Whisper model.`)
    return found
  }
  const end = token(said.eos_token_id, '<|endoftext|>')
  const noTimestamps = token(said.no_timestamps_token_id, '<|notimestamps|>')
  const known = (found: number | undefined): number | undefined => (found !== undefined && found < size ? found : undefined)
  const transcribe = known(said.task_to_id?.['transcribe'] ?? control.get('<|transcribe|>'))
  const translate = known(said.task_to_id?.['translate'] ?? control.get('<|translate|>'))
  const languages = languagesOf(said, control)
  for (const [code, number] of languages) if (number >= size) languages.delete(code)
  // an English model's tokenizer has tokens of languages, too, to which it was not trained
  const multilingual = said.is_multilingual ?? (said.lang_to_id != null || size >= smallestMultilingual)
  const inside = (list: readonly number[] | null | undefined): Int32Array => Int32Array.from((list ?? []).filter((number) => number < size))
  const threshold = <K extends 'compression_ratio_threshold' | 'logprob_threshold' | 'no_speech_threshold'>(name: K) =>
    said[name] == null ? {} : { [name]: said[name] }
  return {
    text,
    size,
    start: token(said.decoder_start_token_id, '<|startoftranscript|>'),
    end,
    noTimestamps,
    // transformers' own guess for the oldest checkpoints
    previous: known(said.prev_sot_token_id ?? control.get('<|startofprev|>') ?? said.suppress_tokens?.at(-2)),
    noSpeech: noTimestamps - 1,
    languages: multilingual ? languages : new Map(),
    tasks: multilingual && transcribe !== undefined && translate !== undefined ? { transcribe, translate } : undefined,
    multilingual: multilingual && languages.size > 0,
    suppress: inside(said.suppress_tokens),
    beginSuppress: inside(said.begin_suppress_tokens),
    maxInitialTime: said.max_initial_timestamp_index ?? undefined,
    alignmentHeads: said.alignment_heads ?? undefined,
    alignmentWidth: said.median_filter_width ?? defaultAlignmentWidth,
    maxLength: said.max_length ?? defaultMaxLength,
    thresholds: { ...threshold('compression_ratio_threshold'), ...threshold('logprob_threshold'), ...threshold('no_speech_threshold') },
  }
}
