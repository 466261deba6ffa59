// POST /v1/responses: judges the body and says which chat completion it means.
import { z } from 'zod'
import { type ChatRequest, readChatRequest } from '../chat-schema.js'
import { ApiError } from '../errors.js'
import { generationFields, refuseUnsupported, withoutNeutral } from '../generation-config.js'
import { issueError } from '../issues.js'
import { isObject, parseJsonObject } from '../json.js'
import { judgedFields, type ReadOptions } from '../known-fields.js'
import { type FieldNames, renamedFields } from '../renamed-fields.js'
import { present, samplingFields, tokenLimit } from '../sampling-fields.js'
import { chatMessages, type Item, type ItemReference, maxItems, readInput } from './items.js'
import type { ResponseEcho } from './resource.js'

const ignored = z.unknown().optional()
const storedId = z.string().min(1).max(128)

/** Up to 16 pairs, as OpenAI bounds them. */
export const metadataSchema = z
  .record(z.string().max(64), z.string().max(512))
  .refine((pairs) => Object.keys(pairs).length <= 16, { error: 'must hold at most 16 pairs' })

export const inputSchema = z.union([z.string(), z.array(z.record(z.string(), z.unknown())).min(1).max(maxItems)], {
  error: `'input' must be a string or list`,
})

const bodySchema = z.strictObject({
  model: z.string().max(1024).nullish(),
  input: inputSchema,
  instructions: z.string().nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_obfuscation: z.boolean().nullish() }).nullish(),
  background: z.boolean().nullish(),
  store: z.boolean().nullish(),
  previous_response_id: storedId.nullish(),
  conversation: z.union([storedId, z.looseObject({ id: storedId })]).nullish(),
  include: z.array(z.string().max(128)).max(32).nullish(),
  max_output_tokens: z.int().min(1).max(tokenLimit).nullish(),
  max_tool_calls: z.int().min(1).max(tokenLimit).nullish(),
  metadata: metadataSchema.nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  reasoning: z.looseObject({ effort: z.string().max(64).nullish(), summary: z.string().max(64).nullish() }).nullish(),
  text: z.looseObject({ format: z.looseObject({ type: z.string().max(64) }).nullish(), verbosity: z.string().max(64).nullish() }).nullish(),
  tool_choice: z.union([z.string().max(64), z.looseObject({ type: z.string().max(64) })]).nullish(),
  tools: z
    .array(z.looseObject({ type: z.string().max(64) }))
    .max(512)
    .nullish(),
  top_logprobs: z.int().min(0).max(20).nullish(),
  truncation: z.enum(['auto', 'disabled']).nullish(),
  presence_penalty: samplingFields.presence_penalty,
  frequency_penalty: samplingFields.frequency_penalty,
  seed: samplingFields.seed,
  user: z.string().max(1024).nullish(),
  safety_identifier: z.string().max(1024).nullish(),
  prompt_cache_key: z.string().max(1024).nullish(),
  prompt_cache_retention: z.string().max(64).nullish(),

  ...generationFields,
  generation_config: samplingFields.generation_config,
  chat_template_kwargs: z.record(z.string(), z.unknown()).nullish(),
  priority: samplingFields.priority,
  cache_salt: samplingFields.cache_salt,

  // these would change the answer: refused below where they say anything
  prompt: z.unknown().optional(),
  context_management: z.unknown().optional(),
  access_programs: z.unknown().optional(),
  image: z.unknown().optional(),

  // these change nothing here
  moderation: ignored,
  prompt_cache_options: ignored,
  service_tier: ignored,
})

/** Names of the fields that a request for a response may have. */
export const responseFieldNames: readonly string[] = Object.keys(bodySchema.shape)

type Body = z.infer<typeof bodySchema>

/** A request for a response; plain data, so that it can cross threads. */
export interface ResponsesRequest {
  /** As the client named it; absent where it named none. */
  model?: string
  /** Absent: the client did not say. */
  stream?: boolean
  input: (Item | ItemReference)[]
  instructions?: string
  previousResponseId?: string
  conversationId?: string
  /** Whether old turns may be left out to make the rest fit. */
  truncate: boolean
  /** Whether log probabilities of the text are wanted. */
  logprobs: boolean
  echo: ResponseEcho
  /** The chat completion that it means, but for its messages. */
  chat: Record<string, unknown>
}

const logprobsInclude = 'message.output_text.logprobs'
// nothing of these is there to be included, and a client that asks for them understands that
const knownIncludes = new Set([
  logprobsInclude,
  'reasoning.encrypted_content',
  'message.input_image.image_url',
  'file_search_call.results',
  'web_search_call.results',
  'web_search_call.action.sources',
  'code_interpreter_call.outputs',
  'computer_call_output.output.image_url',
])

const unsupported = (param: string, sentence: string): ApiError => new ApiError('unsupported_parameter', sentence, param)

function refuseUndone(body: Body): void {
  for (const name of ['prompt', 'context_management', 'access_programs', 'image'] as const) {
    const value = body[name]
    const says = Array.isArray(value) ? value.length > 0 : value !== undefined && value !== null
    if (says) throw unsupported(name, `\`${name}\` is not supported.`)
  }
  for (const [index, name] of (body.include ?? []).entries()) {
    if (knownIncludes.has(name)) continue
    const names = [...knownIncludes].join(', ')
    throw new ApiError('invalid_request', `\`include[${index}]\`: there is no '${name}'. Known are ${names}.`, `include[${index}]`)
  }
  if (body.conversation && body.previous_response_id) {
    throw new ApiError('invalid_request', '`conversation` and `previous_response_id` exclude each other.', 'conversation')
  }
  if (body.background === true && body.store === false) {
    throw new ApiError('invalid_request', '`background` needs `store`: the answer is fetched from there.', 'background')
  }
}

/** A tool in the words of chat completions; both the flat form of this API and the nested one are taken. */
function chatTool(tool: NonNullable<Body['tools']>[number], index: number): Record<string, unknown> {
  if (tool.type !== 'function') {
    throw unsupported(`tools[${index}].type`, `Tools of type '${tool.type}' are not supported; only 'function' is.`)
  }
  if (isObject(tool.function)) return { type: 'function', function: tool.function }
  const { type, name, description, parameters, strict } = tool
  return { type, function: present({ name, description, parameters, strict }) }
}

const toolName = (tool: Record<string, unknown>): unknown => (isObject(tool.function) ? tool.function.name : undefined)

interface Tools {
  tools?: Record<string, unknown>[]
  tool_choice?: unknown
}

function chatTools(body: Body): Tools {
  const tools = (body.tools ?? []).map(chatTool)
  const choice = body.tool_choice
  if (tools.length === 0 && (choice === null || choice === undefined)) return {}
  if (choice === null || choice === undefined || typeof choice === 'string') return { tools, ...(choice ? { tool_choice: choice } : {}) }
  if (choice.type === 'function') {
    const name = choice.name ?? toolName(choice)
    return { tools, tool_choice: { type: 'function', function: { name } } }
  }
  if (choice.type !== 'allowed_tools') {
    throw unsupported('tool_choice.type', `A tool choice of type '${choice.type}' is not supported.`)
  }
  const allowed = Array.isArray(choice.tools) ? choice.tools : undefined
  if (!allowed || !allowed.every(isObject))
    throw new ApiError('invalid_request', '`tool_choice.tools` must be a list of tools.', 'tool_choice.tools')
  const names = new Set(allowed.map((tool) => tool.name ?? toolName(tool)))
  const mode = choice.mode ?? 'auto'
  return { tools: tools.filter((tool) => names.has(toolName(tool))), tool_choice: mode }
}

/** `text.format` as chat completions' `response_format`. */
function responseFormat(body: Body): Record<string, unknown> | undefined {
  const format = body.text?.format
  if (!format) return undefined
  const { type, ...rest } = format
  return type === 'json_schema' ? { type, json_schema: isObject(rest.json_schema) ? rest.json_schema : rest } : { type, ...rest }
}

function chatFields(body: Body, logprobs: boolean): Record<string, unknown> {
  const same: Record<string, unknown> = {}
  for (const name of Object.keys(generationFields) as (keyof typeof generationFields)[]) same[name] = body[name]
  const fields: Record<string, unknown> = {
    ...same,
    ...chatTools(body),
    response_format: responseFormat(body),
    reasoning_effort: body.reasoning?.effort,
    max_completion_tokens: body.max_output_tokens,
    parallel_tool_calls: body.parallel_tool_calls,
    presence_penalty: body.presence_penalty,
    frequency_penalty: body.frequency_penalty,
    seed: body.seed,
    generation_config: body.generation_config,
    chat_template_kwargs: body.chat_template_kwargs,
    priority: body.priority,
    cache_salt: body.cache_salt,
    ...(logprobs ? { logprobs: true, top_logprobs: body.top_logprobs ?? 0 } : {}),
  }
  return present(fields)
}

function echoOf(body: Body): ResponseEcho {
  const conversation = typeof body.conversation === 'string' ? body.conversation : body.conversation?.id
  return {
    background: body.background ?? false,
    conversation: conversation === undefined ? null : { id: conversation },
    frequency_penalty: body.frequency_penalty ?? 0,
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_output_tokens ?? null,
    max_tool_calls: body.max_tool_calls ?? null,
    metadata: body.metadata ?? {},
    parallel_tool_calls: body.parallel_tool_calls ?? true,
    presence_penalty: body.presence_penalty ?? 0,
    previous_response_id: body.previous_response_id ?? null,
    prompt_cache_key: body.prompt_cache_key ?? null,
    prompt_cache_retention: body.prompt_cache_retention ?? null,
    reasoning: body.reasoning ? { effort: body.reasoning.effort ?? null, summary: body.reasoning.summary ?? null } : null,
    safety_identifier: body.safety_identifier ?? null,
    service_tier: 'default',
    store: body.store ?? true,
    temperature: body.temperature ?? 1,
    text: { format: { type: 'text' }, ...Object.fromEntries(Object.entries(body.text ?? {}).filter(([, value]) => value !== null)) },
    tool_choice: body.tool_choice ?? 'auto',
    tools: (body.tools ?? []).map(echoedTool),
    top_logprobs: body.top_logprobs ?? 0,
    top_p: body.top_p ?? 1,
    truncation: body.truncation ?? 'disabled',
    user: body.user ?? null,
  }
}

// always in the flat form, with every field that clients expect
function echoedTool(tool: NonNullable<Body['tools']>[number]): object {
  const { name, description, parameters, strict } = isObject(tool.function) ? tool.function : tool
  return { type: 'function', name, description: description ?? null, parameters: parameters ?? null, strict: strict ?? true }
}

/** Judges a parsed body; throws an ApiError. */
export function readResponsesRequest(value: Record<string, unknown>, options: ReadOptions = {}): ResponsesRequest {
  refuseUnsupported(value)
  const result = bodySchema.safeParse(judgedFields(withoutNeutral(value), bodySchema.shape, options))
  if (!result.success) throw issueError(result.error)
  const body = result.data
  refuseUndone(body)
  const logprobs = (body.include ?? []).includes(logprobsInclude) || (body.top_logprobs ?? 0) > 0
  const echo = echoOf(body)
  return {
    ...(body.model ? { model: body.model } : {}),
    ...(body.stream === null || body.stream === undefined ? {} : { stream: body.stream }),
    input: readInput(body.input),
    ...(typeof body.instructions === 'string' ? { instructions: body.instructions } : {}),
    ...(body.previous_response_id ? { previousResponseId: body.previous_response_id } : {}),
    ...(echo.conversation ? { conversationId: echo.conversation.id } : {}),
    truncate: body.truncation === 'auto',
    logprobs,
    echo,
    chat: chatFields(body, logprobs),
  }
}

/** Reads the body's bytes; throws an ApiError. */
export function parseResponsesBody(bytes: Uint8Array, options: ReadOptions = {}): ResponsesRequest {
  return readResponsesRequest(parseJsonObject(bytes), options)
}

// how the fields of a chat completion are called here
const ownNames: FieldNames = [
  [/^messages\b/, 'input'],
  [/^response_format\.json_schema\b/, 'text.format'],
  [/^response_format\b/, 'text.format'],
  [/^reasoning_effort\b/, 'reasoning.effort'],
  [/^max_completion_tokens\b/, 'max_output_tokens'],
  [/^(tools\[\d+\])\.function\b/, '$1'],
]

/** An error about the chat completion, told in the words of this API. */
export const inOwnWords = (error: ApiError): ApiError => renamedFields(error, ownNames)

/** The chat completion for a request with everything that came before it; throws an ApiError. */
export function chatRequestOf(request: Pick<ResponsesRequest, 'chat' | 'instructions'>, items: readonly Item[]): ChatRequest {
  try {
    const chat = readChatRequest({ ...request.chat, messages: chatMessages(items, request.instructions) })
    // unlike in chat completions, functions are strict here unless they say otherwise
    return { ...chat, generate: { ...chat.generate, strictTools: true } }
  } catch (error) {
    throw error instanceof ApiError ? inOwnWords(error) : error
  }
}
