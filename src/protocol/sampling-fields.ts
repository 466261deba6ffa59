// The fields that every request for text has: how it is sampled, when it ends, and how it is sent.
import { z } from 'zod'
import type { GenerateRequest, GenerationParams } from '../engine/types.js'
import { generationFields, readGenerationConfig, stopStrings } from './generation-config.js'

/** Choices of one request. */
export const maxChoices = 32
export const tokenLimit = 2 ** 31 - 1

export const choiceCount = z.int().min(1).max(maxChoices)

export const samplingFields = {
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
  stop: stopStrings.nullish(),
  seed: z.int().nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  logit_bias: z
    .record(z.string().regex(/^(0|[1-9]\d{0,9})$/, { error: 'keys must be token ids' }), z.number().min(-100).max(100))
    .refine((bias) => Object.keys(bias).length <= 4096, { error: 'must hold at most 4096 tokens' })
    .nullish(),
  ...generationFields,
  min_tokens: z.int().min(0).max(tokenLimit).nullish(),
  ignore_eos: z.boolean().nullish(),
  skip_special_tokens: z.boolean().nullish(),
  generation_config: z
    .union([z.string(), z.record(z.string(), z.unknown())], { error: 'must be a JSON object or the JSON text of one' })
    .nullish(),
  priority: z.int().min(-1_000_000).max(1_000_000).nullish(),
  cache_salt: z.string().min(1).max(256).nullish(),
} as const

type SamplingBody = z.infer<z.ZodObject<typeof samplingFields>>

/** When usage is sent in a stream: on the finish chunk (as transformers serve does), in a chunk of its own (as OpenAI does), or never. */
export type UsageMode = 'finish' | 'chunk' | 'none'

type Defined<T> = { [K in keyof T]?: Exclude<T[K], null | undefined> }

/** Without the fields that are null or undefined: both mean that the client said nothing. */
export function present<T extends object>(fields: T): Defined<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined)) as Defined<T>
}

/** What the fields say of sampling and of the end; limits and log probabilities are named differently from API to API. */
export function samplingParams(body: SamplingBody): GenerationParams {
  const { temperature } = body
  const sampling = temperature === null || temperature === undefined ? body.do_sample : temperature > 0 && body.do_sample !== false
  const stops = body.stop ?? body.stop_strings
  const stop = typeof stops === 'string' ? [stops] : stops
  return present({
    do_sample: sampling,
    // 0 means greedy; as a divisor it means nothing
    temperature: temperature === 0 ? undefined : temperature,
    top_k: body.top_k,
    top_p: body.top_p,
    min_p: body.min_p,
    typical_p: body.typical_p,
    repetition_penalty: body.repetition_penalty,
    presence_penalty: body.presence_penalty,
    frequency_penalty: body.frequency_penalty,
    no_repeat_ngram_size: body.no_repeat_ngram_size,
    logit_bias: body.logit_bias,
    bad_words_ids: body.bad_words_ids,
    seed: body.seed,
    max_length: body.max_length,
    min_new_tokens: body.min_new_tokens ?? body.min_tokens,
    min_length: body.min_length,
    eos_token_id: body.eos_token_id,
    ignore_eos: body.ignore_eos,
    stop: stop && stop.length > 0 ? stop : undefined,
    skip_special_tokens: body.skip_special_tokens,
  })
}

/** What the fields say of the request as a whole. */
export function samplingRequest(body: SamplingBody): Pick<GenerateRequest, 'generationConfig' | 'priority' | 'cacheSalt'> {
  const config = body.generation_config
  return present({
    generationConfig: config === null || config === undefined ? undefined : readGenerationConfig(config),
    priority: body.priority,
    cacheSalt: body.cache_salt,
  })
}

/** How the usage of a stream is wanted. */
export function usageMode(body: Pick<SamplingBody, 'stream_options'>): UsageMode {
  const include = body.stream_options?.include_usage
  if (include === true) return 'chunk'
  return include === false ? 'none' : 'finish'
}
