// POST /v1/completions: judges the body and says what to generate from each prompt.
import { z } from 'zod'
import type { GenerateRequest, PromptInput } from '../engine/types.js'
import { ApiError } from './errors.js'
import { refuseUnsupported, withoutNeutral } from './generation-config.js'
import { issueError } from './issues.js'
import { parseJsonObject } from './json.js'
import { judgedFields, type ReadOptions } from './known-fields.js'
import {
  choiceCount,
  present,
  samplingFields,
  samplingParams,
  samplingRequest,
  tokenLimit,
  type UsageMode,
  usageMode,
} from './sampling-fields.js'

/** Prompts times candidates of one request. */
const maxCandidates = 128
/** Choices that may repeat the log probabilities of their prompt: each of them sends all of it. */
const maxScoredEchoes = 4

const tokenId = z.int().min(0).max(tokenLimit)
const tokens = z.array(tokenId).min(1)
const prompts = z.union([z.string(), tokens, z.array(z.string()).min(1).max(maxCandidates), z.array(tokens).min(1).max(maxCandidates)], {
  error: `must be a string, an array of token ids, or an array of up to ${maxCandidates} of either`,
})
// taken and not acted upon: they do not change what is generated
const ignored = z.unknown().optional()

const bodySchema = z.strictObject({
  model: z.string().max(1024).nullish(),
  prompt: prompts,
  suffix: z.string().nullish(),
  max_tokens: z.int().min(0).max(tokenLimit).nullish(),
  echo: z.boolean().nullish(),
  logprobs: z.int().min(0).max(5).nullish(),
  n: choiceCount.nullish(),
  best_of: choiceCount.nullish(),
  ...samplingFields,

  store: ignored,
  metadata: ignored,
  prompt_cache_key: ignored,
  safety_identifier: ignored,
  service_tier: ignored,
  user: ignored,
})

/** Names of the fields that a completion may have. */
export const completionFieldNames: readonly string[] = Object.keys(bodySchema.shape)

type Body = z.infer<typeof bodySchema>

/** A completion as the server works on it; plain data, so that it can cross threads. */
export interface CompletionRequest {
  /** As the client named it; absent where it named none. */
  model?: string
  stream: boolean
  usage: UsageMode
  /** Whether the answers begin with their prompt. */
  echo: boolean
  /** Alternatives a token, 0 to 5; absent: no log probabilities. */
  logprobs?: number
  /** Choices a prompt. */
  n: number
  /** One a prompt, each with `n` choices, or with as many candidates as the best ones are taken of. */
  generates: GenerateRequest[]
}

const invalid = (sentence: string, param: string): ApiError => new ApiError('invalid_request', sentence, param)

function candidatesOf(body: Body): { n: number; bestOf: number } {
  const n = body.n ?? 1
  const bestOf = body.best_of ?? n
  if (bestOf < n) throw invalid(`\`best_of\` must be at least \`n\`, which is ${n}.`, 'best_of')
  if (bestOf > n && body.stream) throw invalid('`best_of` above `n` cannot be streamed: which are the best is known at the end.', 'best_of')
  return { n, bestOf }
}

function inputsOf({ prompt, suffix }: Body): PromptInput[] {
  const isTokens = (value: unknown): value is number[] => Array.isArray(value) && typeof value[0] === 'number'
  const list = typeof prompt === 'string' || isTokens(prompt) ? [prompt] : prompt
  return list.map((one): PromptInput => {
    const filled = suffix !== undefined && suffix !== null && suffix !== ''
    if (typeof one === 'string') return filled ? { kind: 'fill', prefix: one, suffix } : { kind: 'text', text: one }
    if (filled) throw invalid('`suffix` needs a `prompt` of text, not of token ids.', 'suffix')
    return { kind: 'tokens', tokens: one }
  })
}

/** Judges a parsed body and says what to generate; throws an ApiError. */
export function readCompletionRequest(value: Record<string, unknown>, options: ReadOptions = {}): CompletionRequest {
  refuseUnsupported(value)
  const judged = bodySchema.safeParse(judgedFields(withoutNeutral(value), bodySchema.shape, options))
  if (!judged.success) throw issueError(judged.error)
  const body = judged.data
  const { n, bestOf } = candidatesOf(body)
  const inputs = inputsOf(body)
  if (inputs.length * bestOf > maxCandidates) {
    throw invalid(
      `${inputs.length} prompts with ${bestOf} choices each are too many: ${maxCandidates} choices are the most of one request.`,
      'prompt',
    )
  }
  const echo = body.echo ?? false
  const logprobs = body.logprobs ?? undefined
  if (echo && logprobs !== undefined && bestOf > maxScoredEchoes) {
    throw invalid(`With \`echo\` and \`logprobs\` there may be ${maxScoredEchoes} choices a prompt, not ${bestOf}.`, 'n')
  }
  const ranked = bestOf > n
  const params = {
    ...samplingParams(body),
    ...present({
      max_new_tokens: body.max_tokens ?? body.max_new_tokens,
      logprobs: logprobs !== undefined || ranked ? true : undefined,
      top_logprobs: logprobs,
      prompt_logprobs: echo ? logprobs : undefined,
    }),
  }
  const common = { ...samplingRequest(body), params, n: bestOf, ...(echo ? { echo } : {}) }
  return {
    ...(body.model ? { model: body.model } : {}),
    stream: body.stream ?? false,
    usage: usageMode(body),
    echo,
    ...(logprobs === undefined ? {} : { logprobs }),
    n,
    generates: inputs.map((input) => ({ ...common, input })),
  }
}

/** Reads a completion's body; throws an ApiError. */
export function parseCompletionBody(bytes: Uint8Array, options: ReadOptions = {}): CompletionRequest {
  return readCompletionRequest(parseJsonObject(bytes), options)
}
