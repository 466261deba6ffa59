import { z } from 'zod'
import { reservedTemplateNames } from '../engine/template-names.js'
import type { ChatMessage, GenerateRequest, GenerationParams } from '../engine/types.js'
import { functionCallSchema, functionNames, functionsAsTools, functionsSchema } from './chat-functions.js'
import { messagesSchema, templateMessages } from './chat-messages.js'
import { readTools, toolChoiceSchema, toolsSchema, type ToolUse, toolUse } from './chat-tools.js'
import { ApiError } from './errors.js'
import { refuseUnsupported, withoutNeutral } from './generation-config.js'
import { issueError } from './issues.js'
import { parseJsonObject } from './json.js'
import { judgedFields, type ReadOptions } from './known-fields.js'
import { renamedFields } from './renamed-fields.js'
import { readResponseFormat } from './response-format.js'
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

const outputTokens = z.int().min(1).max(tokenLimit)
const reasoningEfforts = ['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'] as const
// taken and not acted upon: they do not change what is generated
const ignored = z.unknown().optional()

const bodySchema = z.strictObject({
  model: z.string().max(1024).nullish(),
  messages: messagesSchema,
  max_tokens: outputTokens.nullish(),
  max_completion_tokens: outputTokens.nullish(),
  n: choiceCount.nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(20).nullish(),
  tools: toolsSchema.nullish(),
  tool_choice: toolChoiceSchema.nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  functions: functionsSchema.nullish(),
  function_call: functionCallSchema.nullish(),
  response_format: z.unknown().optional(),
  modalities: z.array(z.string()).nullish(),
  audio: z.unknown().optional(),
  reasoning_effort: z.enum(reasoningEfforts).nullish(),

  ...samplingFields,
  chat_template_kwargs: z.record(z.string(), z.unknown()).nullish(),

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
  web_search_options: z.unknown().optional(),
})

/** Names of the fields that a chat completion may have. */
export const chatFieldNames: readonly string[] = Object.keys(bodySchema.shape)

type ChatBody = z.infer<typeof bodySchema>

/** A chat completion as the server works on it; plain data, so that it can cross threads. */
export interface ChatRequest {
  /** As the client named it; absent where it named none. */
  model?: string
  stream: boolean
  usage: UsageMode
  /** A call is told as `function_call`: the client asked with `functions`. */
  functionCalls: boolean
  generate: GenerateRequest & { input: { kind: 'chat'; messages: ChatMessage[] } }
}

function unsupported(param: string, sentence: string): ApiError {
  return new ApiError('unsupported_parameter', sentence, param)
}

// what would change the result and is not done is refused, never ignored
function refuseUndone(body: ChatBody): void {
  if (body.modalities?.some((modality) => modality !== 'text')) throw unsupported('modalities', 'This model produces text only.')
  if (body.web_search_options !== undefined && body.web_search_options !== null) {
    throw unsupported('web_search_options', '`web_search_options` is not supported: this server does not search.')
  }
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

function generationParams(body: ChatBody): GenerationParams {
  if ((body.top_logprobs ?? 0) > 0 && body.logprobs !== true) {
    throw new ApiError('invalid_request', '`top_logprobs` needs `logprobs` to be true.', 'top_logprobs')
  }
  return {
    ...samplingParams(body),
    ...present({
      max_new_tokens: body.max_completion_tokens ?? body.max_tokens ?? body.max_new_tokens,
      logprobs: body.logprobs,
      top_logprobs: body.top_logprobs,
    }),
  }
}

// with 'none' the model is not told of the tools: the one way to be sure that it calls none
function offeredTools(body: ChatBody): ToolUse & { functionCalls: boolean } {
  const old = functionsAsTools(body)
  if (!old) return { ...toolUse(readTools(body.tools ?? []), body.tool_choice), functionCalls: false }
  try {
    return { ...toolUse(readTools(old.tools ?? []), old.tool_choice), functionCalls: true }
  } catch (error) {
    throw error instanceof ApiError ? renamedFields(error, functionNames) : error
  }
}

/** Judges a parsed body and says what to generate; throws an ApiError. */
export function readChatRequest(value: Record<string, unknown>, options: ReadOptions = {}): ChatRequest {
  refuseUnsupported(value)
  const judged = bodySchema.safeParse(judgedFields(withoutNeutral(value), bodySchema.shape, options))
  if (!judged.success) throw issueError(judged.error)
  const body = judged.data
  refuseUndone(body)

  const { tools, toolChoice, functionCalls } = offeredTools(body)
  const input = present({ kind: 'chat' as const, messages: templateMessages(body.messages), tools, templateKwargs: templateKwargs(body) })
  const constraint = readResponseFormat(body.response_format)
  const optional = present({
    constraint,
    constraintParam: constraint && 'response_format',
    n: body.n,
    toolChoice,
    parallelToolCalls: functionCalls ? false : body.parallel_tool_calls,
  })
  return {
    ...(body.model ? { model: body.model } : {}),
    stream: body.stream ?? false,
    usage: usageMode(body),
    functionCalls,
    generate: { ...samplingRequest(body), ...optional, input: input as ChatRequest['generate']['input'], params: generationParams(body) },
  }
}

/** Reads a chat completion's body; throws an ApiError. */
export function parseChatBody(bytes: Uint8Array, options: ReadOptions = {}): ChatRequest {
  return readChatRequest(parseJsonObject(bytes), options)
}

/** Reads the body of `POST /load_model` and `/unload_model`: the model's name. */
export function parseModelNameBody(bytes: Uint8Array): string {
  const { model } = parseJsonObject(bytes)
  if (model === undefined || model === null) throw new ApiError('missing_model')
  if (typeof model !== 'string' || model.length > 1024) throw new ApiError('invalid_request', '`model` must be a string.', 'model')
  return model
}
