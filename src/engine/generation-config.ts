// Resolves what a request asks for and what the checkpoint's generation_config.json says into one set of sampling parameters.
import { randomBytes } from 'node:crypto'
import { type GenerationParams, RequestError } from './types.js'
import { unsupportedFields } from './unsupported-fields.js'

/** Sampling parameters with nothing left open: native/sampling/sampling_params.h. */
export interface ResolvedSampling {
  doSample: boolean
  temperature: number
  topK: number
  topP: number
  minP: number
  typicalP: number
  repetitionPenalty: number
  presencePenalty: number
  frequencyPenalty: number
  noRepeatNgramSize: number
  logitBias: [id: number, bias: number][]
  badWordsIds: number[][]
  seed: bigint
  maxNewTokens: number
  minNewTokens: number
  eosTokenIds: number[]
  ignoreEos: boolean
  stop: string[]
  skipSpecialTokens: boolean
  /** Special tokens that are text nevertheless. */
  shownSpecialTokens: number[]
  wantLogprobs: boolean
  topLogprobs: number
  /** -1: off. */
  promptLogprobs: number
}

/** What the model contributes to the resolution. */
export interface GenerationContext {
  /** The checkpoint's generation_config.json, or what stands for it. */
  defaults: Readonly<Record<string, unknown>>
  eosTokenIds: readonly number[]
  vocabSize: number
  maxModelLen: number
  promptTokens: number
  /** Special tokens that the reader of the answer must see. */
  shownSpecialTokens?: readonly number[]
  /** Used where the request names no seed; absent: drawn at random. */
  defaultSeed?: number
}

// transformers' GenerationConfig default where neither the checkpoint nor the request says anything
const defaultTopK = 50
// `transformers serve` gives at least this many new tokens when a request names no limit
const defaultMaxNewTokens = 1024

interface Bound {
  min?: number
  max?: number
  above?: number
  integer?: boolean
}

const bounds: Readonly<Record<string, Bound>> = {
  temperature: { min: 0 },
  top_k: { min: -1, integer: true },
  top_p: { min: 0, max: 1 },
  min_p: { min: 0, max: 1 },
  typical_p: { above: 0, max: 1 },
  repetition_penalty: { above: 0 },
  presence_penalty: { min: -2, max: 2 },
  frequency_penalty: { min: -2, max: 2 },
  no_repeat_ngram_size: { min: 0, integer: true },
  max_new_tokens: { min: 0, integer: true },
  max_length: { min: 1, integer: true },
  min_new_tokens: { min: 0, integer: true },
  min_length: { min: 0, integer: true },
  top_logprobs: { min: 0, max: 20, integer: true },
  prompt_logprobs: { min: 0, max: 20, integer: true },
}

function describe({ min, max, above, integer }: Bound): string {
  const kind = integer ? 'an integer' : 'a number'
  if (above !== undefined) return max === undefined ? `${kind} above ${above}` : `${kind} above ${above} and up to ${max}`
  return max === undefined ? `${kind} of at least ${min}` : `${kind} from ${min} to ${max}`
}

function checkedNumber(name: string, value: unknown, param: string): number | undefined {
  if (value === undefined || value === null) return undefined
  const bound = bounds[name] ?? {}
  const ok =
    typeof value === 'number' &&
    Number.isFinite(value) &&
    (!bound.integer || Number.isInteger(value)) &&
    value >= (bound.min ?? -Infinity) &&
    value <= (bound.max ?? Infinity) &&
    (bound.above === undefined || value > bound.above)
  if (!ok)
    throw new RequestError('invalid_request', `Expected ${describe(bound)} for '${param}' but received ${JSON.stringify(value)}.`, param)
  return value as number
}

function checkedBoolean(value: unknown, param: string): boolean | undefined {
  if (value === undefined || value === null) return undefined
  if (typeof value !== 'boolean')
    throw new RequestError('invalid_request', `Expected a boolean for '${param}' but received ${JSON.stringify(value)}.`, param)
  return value
}

function tokenIds(value: unknown, vocabSize: number, param: string): number[] {
  const list: unknown[] = Array.isArray(value) ? value : [value]
  for (const id of list) {
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= vocabSize) {
      throw new RequestError(
        'invalid_request',
        `Expected token ids from 0 to ${vocabSize - 1} in '${param}' but received ${JSON.stringify(id)}.`,
        param,
      )
    }
  }
  return list as number[]
}

function stopStrings(value: unknown, param: string): string[] {
  if (value === undefined || value === null) return []
  const list: unknown[] = Array.isArray(value) ? value : [value]
  if (list.every((text): text is string => typeof text === 'string' && text !== '')) return list
  throw new RequestError('invalid_request', `Expected texts that are not empty for '${param}'.`, param)
}

const seedMask = (1n << 64n) - 1n

/**
 * Resolves one request. Precedence: the request's own fields, then its generation_config, else the checkpoint's, then
 * transformers' defaults. A temperature in the request decides over sampling: above 0 turns it on, 0 is greedy, and so is a top_p of 0.
 * Throws a RequestError that names the field at fault.
 */
export function resolveSampling(
  params: GenerationParams,
  requestConfig: Readonly<Record<string, unknown>> | undefined,
  context: GenerationContext,
): ResolvedSampling {
  if (requestConfig) {
    const [field] = unsupportedFields(requestConfig)
    if (field)
      throw new RequestError('unsupported_parameter', `'${field}' is not supported in generation_config.`, `generation_config.${field}`)
  }
  const base = requestConfig ?? context.defaults
  const own = params as Readonly<Record<string, unknown>>
  const value = (name: string): unknown => own[name] ?? base[name]
  const paramName = (name: string): string =>
    (own[name] === undefined || own[name] === null) && requestConfig ? `generation_config.${name}` : name
  const num = (name: string): number | undefined => checkedNumber(name, value(name), paramName(name))
  const bool = (name: string): boolean | undefined => checkedBoolean(value(name), paramName(name))

  const temperature = num('temperature') ?? 1
  const topP = num('top_p') ?? 1
  const asked = typeof own['temperature'] === 'number' ? temperature > 0 : undefined
  const doSample = (checkedBoolean(own['do_sample'], 'do_sample') ?? asked ?? bool('do_sample') ?? false) && temperature > 0 && topP > 0

  const room = context.maxModelLen - context.promptTokens
  const configuredMax = checkedNumber('max_new_tokens', base['max_new_tokens'], paramName('max_new_tokens'))
  const maxLength = checkedNumber('max_length', params.max_length ?? requestConfig?.['max_length'], 'max_length')
  let maxNewTokens = checkedNumber('max_new_tokens', params.max_new_tokens, 'max_new_tokens')
  if (maxNewTokens === undefined && maxLength !== undefined) {
    maxNewTokens = maxLength - context.promptTokens
    if (maxNewTokens < 1) {
      throw new RequestError(
        'invalid_request',
        `'max_length' is ${maxLength}, but the prompt alone has ${context.promptTokens} tokens.`,
        'max_length',
      )
    }
  }
  maxNewTokens ??= requestConfig && configuredMax !== undefined ? configuredMax : Math.max(defaultMaxNewTokens, configuredMax ?? 0)
  const minLength = num('min_length')
  const minNewTokens = num('min_new_tokens') ?? (minLength === undefined ? 0 : Math.max(0, minLength - context.promptTokens))

  const eos = value('eos_token_id')
  const badWords = value('bad_words_ids')
  if (
    badWords !== undefined &&
    badWords !== null &&
    !(Array.isArray(badWords) && badWords.every((w) => Array.isArray(w) && w.length > 0))
  ) {
    throw new RequestError(
      'invalid_request',
      "Expected a list of non-empty lists of token ids for 'bad_words_ids'.",
      paramName('bad_words_ids'),
    )
  }
  const seed = params.seed ?? context.defaultSeed
  const topLogprobs = num('top_logprobs') ?? 0
  return {
    doSample,
    temperature: temperature > 0 ? temperature : 1,
    // 0, and the -1 of other servers, switch it off
    topK: Math.min(Math.max(num('top_k') ?? defaultTopK, 0), context.vocabSize),
    topP: topP > 0 ? topP : 1,
    minP: num('min_p') ?? 0,
    typicalP: num('typical_p') ?? 1,
    repetitionPenalty: num('repetition_penalty') ?? 1,
    presencePenalty: num('presence_penalty') ?? 0,
    frequencyPenalty: num('frequency_penalty') ?? 0,
    noRepeatNgramSize: num('no_repeat_ngram_size') ?? 0,
    logitBias: Object.entries(params.logit_bias ?? {}).map(([id, bias]) => {
      const [token] = tokenIds(Number(id), context.vocabSize, 'logit_bias')
      return [token as number, bias]
    }),
    badWordsIds: ((badWords ?? []) as unknown[]).map((word) => tokenIds(word, context.vocabSize, 'bad_words_ids')),
    seed: seed === undefined ? randomBytes(8).readBigUInt64LE() : BigInt(seed) & seedMask,
    maxNewTokens: Math.min(maxNewTokens, room),
    minNewTokens,
    eosTokenIds: eos === undefined || eos === null ? [...context.eosTokenIds] : tokenIds(eos, context.vocabSize, paramName('eos_token_id')),
    ignoreEos: params.ignore_eos ?? false,
    stop: params.stop ?? stopStrings(base['stop_strings'], paramName('stop_strings')),
    skipSpecialTokens: params.skip_special_tokens ?? true,
    shownSpecialTokens: [...(context.shownSpecialTokens ?? [])],
    wantLogprobs: params.logprobs ?? false,
    topLogprobs,
    promptLogprobs: checkedNumber('prompt_logprobs', params.prompt_logprobs, 'prompt_logprobs') ?? -1,
  }
}
