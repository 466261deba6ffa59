import { z } from 'zod'
import { ApiError } from './errors.js'
import { issueError } from './issues.js'
import { isObject, parseInnerJson } from './json.js'

const isNull = (value: unknown) => value === null
const isOff = (value: unknown) => value === null || value === false
const isOneOf =
  (...neutral: unknown[]) =>
  (value: unknown) =>
    value === null || neutral.includes(value)
const isEmpty = (value: unknown) =>
  value === null || (Array.isArray(value) && value.length === 0) || (isObject(value) && Object.keys(value).length === 0)

/**
 * What transformers' GenerationConfig has and we do not do, each with the values that change nothing. Fields that only
 * steer how transformers computes (caches, compilation, return values, assistants) are in neither list: they are ignored.
 */
const unsupported: Readonly<Record<string, (value: unknown) => boolean>> = {
  num_beams: isOneOf(1),
  num_beam_groups: isOneOf(1),
  diversity_penalty: isOneOf(0),
  guidance_scale: isOneOf(1),
  penalty_alpha: isOneOf(0),
  encoder_repetition_penalty: isOneOf(1),
  encoder_no_repeat_ngram_size: isOneOf(0),
  epsilon_cutoff: isOneOf(0),
  eta_cutoff: isOneOf(0),
  top_h: isNull,
  force_words_ids: isEmpty,
  constraints: isEmpty,
  forced_bos_token_id: isNull,
  forced_eos_token_id: isNull,
  suppress_tokens: isEmpty,
  begin_suppress_tokens: isEmpty,
  sequence_bias: isEmpty,
  exponential_decay_length_penalty: isNull,
  watermarking_config: isNull,
  token_healing: isOff,
  renormalize_logits: isOff,
  dola_layers: isNull,
  prompt_lookup_num_tokens: isNull,
  num_return_sequences: isOneOf(1),
  max_time: isNull,
  stop_strings: isEmpty,
  length_penalty: isOneOf(1),
}

const instead: Readonly<Record<string, string>> = {
  num_return_sequences: ' Use `n`.',
  stop_strings: ' Use `stop`.',
  sequence_bias: ' Use `logit_bias`.',
}

/** Throws unsupported_parameter for the first field that we do not do and that would change the result. */
export function refuseUnsupported(fields: Record<string, unknown>, prefix = ''): void {
  for (const name of Object.keys(fields)) {
    const neutral = Object.hasOwn(unsupported, name) ? unsupported[name] : undefined
    if (neutral && !neutral(fields[name])) {
      throw new ApiError('unsupported_parameter', `\`${prefix}${name}\` is not supported.${instead[name] ?? ''}`, `${prefix}${name}`)
    }
  }
}

/** The fields without those that we know to be neutral. */
export function withoutNeutral(fields: Record<string, unknown>): Record<string, unknown> {
  const kept: Record<string, unknown> = {}
  for (const name of Object.keys(fields)) if (!Object.hasOwn(unsupported, name)) kept[name] = fields[name]
  return kept
}

const tokenId = z
  .int()
  .min(0)
  .max(2 ** 31 - 1)
const tokenCount = z
  .int()
  .min(1)
  .max(2 ** 31 - 1)
const tokenMinimum = z
  .int()
  .min(0)
  .max(2 ** 31 - 1)

/** GenerationConfig's fields that a request may carry, at its top level or in `generation_config`, with their ranges. */
export const generationFields = {
  do_sample: z.boolean().nullish(),
  temperature: z.number().min(0).max(100).nullish(),
  top_k: z
    .int()
    .min(-1)
    .max(2 ** 31 - 1)
    .nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  typical_p: z.number().gt(0).max(1).nullish(),
  repetition_penalty: z.number().gt(0).max(100).nullish(),
  no_repeat_ngram_size: z.int().min(0).max(1024).nullish(),
  bad_words_ids: z.array(z.array(tokenId).min(1).max(64)).max(1024).nullish(),
  max_new_tokens: tokenCount.nullish(),
  max_length: tokenCount.nullish(),
  min_new_tokens: tokenMinimum.nullish(),
  min_length: tokenMinimum.nullish(),
  eos_token_id: z.union([tokenId, z.array(tokenId).max(256)], { error: 'must be a token id or an array of token ids' }).nullish(),
} as const

const generationConfigSchema = z.looseObject(generationFields)

/** Reads `generation_config`: an object, or as `transformers chat` sends it, the JSON text of one. Nulls are left out. */
export function readGenerationConfig(value: string | Record<string, unknown>): Record<string, unknown> {
  const object = typeof value === 'string' ? parseInnerJson(value) : value
  if (!isObject(object)) {
    throw new ApiError('invalid_request', '`generation_config` must be a JSON object or the JSON text of one.', 'generation_config')
  }
  refuseUnsupported(object, 'generation_config.')
  const fields: Record<string, unknown> = {}
  for (const [name, field] of Object.entries(withoutNeutral(object))) if (field !== null) fields[name] = field
  const judged = generationConfigSchema.safeParse(fields)
  if (!judged.success) throw issueError(judged.error, ['generation_config'])
  return fields
}
