import { z } from 'zod'
import { isUnsupportedField, unsupportedFields } from '../engine/unsupported-fields.js'
import { ApiError } from './errors.js'
import { issueError } from './issues.js'
import { isObject, parseInnerJson } from './json.js'

const instead: Readonly<Record<string, string>> = {
  num_return_sequences: ' Use `n`.',
  sequence_bias: ' Use `logit_bias`.',
}

/** Throws unsupported_parameter for the first field that we do not do and that would change the result. */
export function refuseUnsupported(fields: Record<string, unknown>, prefix = ''): void {
  for (const name of unsupportedFields(fields)) {
    throw new ApiError('unsupported_parameter', `\`${prefix}${name}\` is not supported.${instead[name] ?? ''}`, `${prefix}${name}`)
  }
}

/** The fields without those that we know to be neutral. */
export function withoutNeutral(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !isUnsupportedField(name)))
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

const maxStops = 16
const stopString = z.string().min(1, { error: 'must not be empty' }).max(1024)
export const stopStrings = z.union([stopString, z.array(stopString).max(maxStops)], {
  error: `must be a string or an array of up to ${maxStops} strings`,
})

/** GenerationConfig's fields that a request may carry, at its top level or in `generation_config`, with their ranges. */
export const generationFields = {
  do_sample: z.boolean().nullish(),
  temperature: z.number().min(0).max(100).nullish(),
  top_k: z
    .int()
    .min(-1)
    .max(2 ** 31 - 1)
    .nullish(),
  top_p: z.number().min(0).max(1).nullish(),
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
  stop_strings: stopStrings.nullish(),
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
