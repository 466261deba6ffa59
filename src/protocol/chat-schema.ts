import { z } from 'zod'
import { reservedTemplateNames } from '../engine/template-names.js'
import type { ChatMessage, GenerateRequest, GenerationParams } from '../engine/types.js'
import { messagesSchema, templateMessages } from './chat-messages.js'
import { readTools, toolChoiceSchema, toolsSchema, toolUse } from './chat-tools.js'
import { ApiError } from './errors.js'
import { generationFields, readGenerationConfig, refuseUnsupported, withoutNeutral } from './generation-config.js'
import { issueError } from './issues.js'
import { parseJsonObject } from './json.js'

/** Choices of one request. */
export const maxChoices = 32
const maxStops = 16
const maxStopLength = 1024
const tokenLimit = 2 ** 31 - 1

const stopString = z.string().min(1, { error: 'must not be empty' }).max(maxStopLength)
const outputTokens = z.int().min(1).max(tokenLimit)
const reasoningEfforts = ['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'] as const
// taken and not acted upon: they do not change what is generated
const ignored = z.unknown().optional()

const bodySchema = z.strictObject({
  model: z.string().max(1024).nullish(),
  messages: messagesSchema,
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
  max_tokens: outputTokens.nullish(),
  max_completion_tokens: outputTokens.nullish(),
  n: z.int().min(1).max(maxChoices).nullish(),
  stop: z
    .union([stopString, z.array(stopString).max(maxStops)], { error: `must be a string or an array of up to ${maxStops} strings` })
    .nullish(),
  seed: z.int().nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  logit_bias: z
    .record(z.string().regex(/^(0|[1-9]\d{0,9})$/, { error: 'keys must be token ids' }), z.number().min(-100).max(100))
    .refine((bias) => Object.keys(bias).length <= 4096, { error: 'must hold at most 4096 tokens' })
    .nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(20).nullish(),
  tools: toolsSchema.nullish(),
  tool_choice: toolChoiceSchema.nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  functions: z.array(z.unknown()).nullish(),
  function_call: z.unknown().optional(),
  response_format: z.looseObject({ type: z.string() }).nullish(),
  modalities: z.array(z.string()).nullish(),
  audio: z.unknown().optional(),
  reasoning_effort: z.enum(reasoningEfforts).nullish(),

  ...generationFields,
  min_tokens: z.int().min(0).max(tokenLimit).nullish(),
  ignore_eos: z.boolean().nullish(),
  skip_special_tokens: z.boolean().nullish(),
  generation_config: z
    .union([z.string(), z.record(z.string(), z.unknown())], { error: 'must be a JSON object or the JSON text of one' })
    .nullish(),
  chat_template_kwargs: z.record(z.string(), z.unknown()).nullish(),
  priority: z.int().min(-1_000_000).max(1_000_000).nullish(),
  cache_salt: z.string().min(1).max(256).nullish(),

  metadata: ignored,
  moderation: ignored,
  prediction: ignored,
  prompt_cache_key: ignored,
  prompt_cache_options: ignored,
  prompt_cache_retention: ignored,
  safety_identifier: ignored,
  service_tier: ignored,
  store: ignored,
  user: ignored,
  verbosity: ignored,
  web_search_options: ignored,
})

type ChatBody = z.infer<typeof bodySchema>

/** When usage is sent in a stream: on the finish chunk (as transformers serve does), in a chunk of its own (as OpenAI does), or never. */
export type UsageMode = 'finish' | 'chunk' | 'none'

/** A chat completion as the server works on it; plain data, so that it can cross threads. */
export interface ChatRequest {
  /** As the client named it; absent where it named none. */
  model?: string
  stream: boolean
  usage: UsageMode
  generate: GenerateRequest & { input: { kind: 'chat'; messages: ChatMessage[] } }
}

function unsupported(param: string, sentence: string): ApiError {
  return new ApiError('unsupported_parameter', sentence, param)
}

// what would change the result and is not done is refused, never ignored
function refuseUndone(body: ChatBody): void {
  if (body.response_format && body.response_format.type !== 'text') {
    throw unsupported('response_format', `\`response_format\` of type '${body.response_format.type.slice(0, 64)}' is not supported.`)
  }
  if (body.functions && body.functions.length > 0) throw unsupported('functions', '`functions` is not supported. Use `tools`.')
  const call = body.function_call ?? 'auto'
  if (call !== 'auto' && call !== 'none') throw unsupported('function_call', '`function_call` is not supported. Use `tools`.')
  if (body.modalities?.some((modality) => modality !== 'text')) throw unsupported('modalities', 'This model produces text only.')
  if (body.audio !== undefined && body.audio !== null) throw unsupported('audio', 'This model produces text only.')
}

// templates know one of two switches: whether to think at all, or how much
function effortKwargs(effort: (typeof reasoningEfforts)[number]): Record<string, unknown> {
  return effort === 'none' ? { enable_thinking: false } : { enable_thinking: true, reasoning_effort: effort }
}

function templateKwargs(body: ChatBody): Record<string, unknown> | undefined {
  const kwargs = body.chat_template_kwargs ?? {}
  for (const name of Object.keys(kwargs)) {
    if (reservedTemplateNames.has(name)) {
      const param = `chat_template_kwargs.${name}`
      throw new ApiError('invalid_request', `\`${param}\` is reserved: it cannot be set by a request.`, param)
    }
  }
  const all = { ...(body.reasoning_effort ? effortKwargs(body.reasoning_effort) : {}), ...kwargs }
  return Object.keys(all).length > 0 ? all : undefined
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], null | undefined> }

/** Without the fields that are null or undefined: both mean that the client said nothing. */
function present<T extends object>(fields: T): Defined<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined)) as Defined<T>
}

function generationParams(body: ChatBody): GenerationParams {
  if ((body.top_logprobs ?? 0) > 0 && body.logprobs !== true) {
    throw new ApiError('invalid_request', '`top_logprobs` needs `logprobs` to be true.', 'top_logprobs')
  }
  const { temperature } = body
  const sampling = temperature === null || temperature === undefined ? body.do_sample : temperature > 0 && body.do_sample !== false
  const stop = typeof body.stop === 'string' ? [body.stop] : body.stop
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
    max_new_tokens: body.max_completion_tokens ?? body.max_tokens ?? body.max_new_tokens,
    max_length: body.max_length,
    min_new_tokens: body.min_new_tokens ?? body.min_tokens,
    min_length: body.min_length,
    eos_token_id: body.eos_token_id,
    ignore_eos: body.ignore_eos,
    stop: stop && stop.length > 0 ? stop : undefined,
    skip_special_tokens: body.skip_special_tokens,
    logprobs: body.logprobs,
    top_logprobs: body.top_logprobs,
  })
}

function usageMode(body: ChatBody): UsageMode {
  const include = body.stream_options?.include_usage
  if (include === true) return 'chunk'
  return include === false ? 'none' : 'finish'
}

/** Judges a parsed body and says what to generate; throws an ApiError. */
export function readChatRequest(value: Record<string, unknown>): ChatRequest {
  refuseUnsupported(value)
  const judged = bodySchema.safeParse(withoutNeutral(value))
  if (!judged.success) throw issueError(judged.error)
  const body = judged.data
  refuseUndone(body)

  // with 'none' the model is not told of the tools: the one way to be sure that it calls none
  const { tools, toolChoice } = toolUse(readTools(body.tools ?? []), body.tool_choice)
  const input = present({ kind: 'chat' as const, messages: templateMessages(body.messages), tools, templateKwargs: templateKwargs(body) })
  const optional = present({
    generationConfig: isPresent(body.generation_config) ? readGenerationConfig(body.generation_config) : undefined,
    n: body.n,
    toolChoice,
    parallelToolCalls: body.parallel_tool_calls,
    priority: body.priority,
    cacheSalt: body.cache_salt,
  })
  return {
    ...(body.model ? { model: body.model } : {}),
    stream: body.stream ?? false,
    usage: usageMode(body),
    generate: { ...optional, input: input as ChatRequest['generate']['input'], params: generationParams(body) },
  }
}

function isPresent<T>(value: T | null | undefined): value is T {
  return value !== null && value !== undefined
}

/** Reads a chat completion's body; throws an ApiError. */
export function parseChatBody(bytes: Uint8Array): ChatRequest {
  return readChatRequest(parseJsonObject(bytes))
}

/** Reads the body of `POST /load_model` and `/unload_model`: the model's name. */
export function parseModelNameBody(bytes: Uint8Array): string {
  const { model } = parseJsonObject(bytes)
  if (model === undefined || model === null) throw new ApiError('missing_model')
  if (typeof model !== 'string' || model.length > 1024) throw new ApiError('invalid_request', '`model` must be a string.', 'model')
  return model
}
