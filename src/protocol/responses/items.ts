// The items of the Responses API: what a request may bring, in which form they are kept, and which chat messages they mean.
import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { ApiError } from '../errors.js'
import { issueError } from '../issues.js'

/** Items of one request, as OpenAI bounds nothing but size. */
export const maxItems = 10_000

/** An id that cannot be guessed. @param prefix e.g. 'resp' */
export function newId(prefix: string): string {
  return `${prefix}_${randomBytes(24).toString('hex')}`
}

const partSchema = z.looseObject({ type: z.string().min(1).max(64) })
const content = z.union([z.string(), z.array(partSchema).max(1024)], { error: 'must be a string or an array of parts with a `type`' })
const itemId = z.string().min(1).max(128)
const status = z.string().max(32).nullish()

const messageItem = z.looseObject({
  type: z.literal('message').nullish(),
  id: itemId.nullish(),
  role: z.enum(['user', 'assistant', 'system', 'developer'], { error: "must be 'user', 'assistant', 'system' or 'developer'" }),
  content,
  status,
})
const functionCallItem = z.looseObject({
  type: z.literal('function_call'),
  id: itemId.nullish(),
  call_id: z.string().min(1).max(256),
  name: z.string().min(1).max(256),
  arguments: z.string(),
  status,
})
const functionCallOutputItem = z.looseObject({
  type: z.literal('function_call_output'),
  id: itemId.nullish(),
  call_id: z.string().min(1).max(256),
  output: content,
  status,
})
const reasoningItem = z.looseObject({
  type: z.literal('reasoning'),
  id: itemId.nullish(),
  summary: z.array(partSchema).max(1024).nullish(),
  content: z.array(partSchema).max(1024).nullish(),
  encrypted_content: z.string().nullish(),
  status,
})
const referenceItem = z.looseObject({ type: z.literal('item_reference').nullish(), id: itemId })

/** Part of a message, a tool's output or a reasoning item; further fields travel along. */
export interface ContentPart {
  type: string
  [field: string]: unknown
}

export interface MessageItem {
  type: 'message'
  id: string
  role: 'user' | 'assistant' | 'system' | 'developer'
  status: string
  content: ContentPart[]
}
export interface FunctionCallItem {
  type: 'function_call'
  id: string
  call_id: string
  name: string
  arguments: string
  status: string
}
export interface FunctionCallOutputItem {
  type: 'function_call_output'
  id: string
  call_id: string
  output: string | ContentPart[]
  status: string
}
export interface ReasoningItem {
  type: 'reasoning'
  id: string
  summary: ContentPart[]
  content: ContentPart[]
  status: string
}

/** An item in the form in which it is stored and given back. */
export type Item = MessageItem | FunctionCallItem | FunctionCallOutputItem | ReasoningItem

/** An item that a request names instead of bringing it. */
export interface ItemReference {
  type: 'item_reference'
  id: string
}

/** Which prefix an item's id has. */
const prefixes = { message: 'msg', function_call: 'fc', function_call_output: 'fco', reasoning: 'rs' } as const

function judged<T>(schema: z.ZodType<T>, value: unknown, param: string): T {
  const result = schema.safeParse(value)
  if (!result.success) throw issueError(result.error, [param])
  return result.data
}

// transformers serve takes bare parts for one message of the user's
const isBarePart = (value: Record<string, unknown>): boolean =>
  value.role === undefined &&
  typeof value.type === 'string' &&
  /^(?:input_(?:text|image|file|audio|video)|text|image_url|audio_url|video_url)$/.test(value.type)

function textParts(text: string | ContentPart[], type: 'input_text' | 'output_text'): ContentPart[] {
  if (typeof text !== 'string') return text
  return [type === 'output_text' ? { type, text, annotations: [] } : { type, text }]
}

/** One item as it is kept. New ids are ours: a client's could name another's item. */
function readItem(value: Record<string, unknown>, param: string): Item | ItemReference {
  const kind = value.type ?? (value.role === undefined && typeof value.id === 'string' ? 'item_reference' : 'message')
  switch (kind) {
    case 'message': {
      const { role, content, status } = judged(messageItem, value, param)
      const parts = textParts(content, role === 'assistant' ? 'output_text' : 'input_text')
      return { type: 'message', id: newId(prefixes.message), role, status: status ?? 'completed', content: parts }
    }
    case 'function_call': {
      const { call_id, name, arguments: args, status } = judged(functionCallItem, value, param)
      return { type: 'function_call', id: newId(prefixes.function_call), call_id, name, arguments: args, status: status ?? 'completed' }
    }
    case 'function_call_output': {
      const { call_id, output, status } = judged(functionCallOutputItem, value, param)
      const id = newId(prefixes.function_call_output)
      return { type: 'function_call_output', id, call_id, output, status: status ?? 'completed' }
    }
    case 'reasoning': {
      const { summary, content, status } = judged(reasoningItem, value, param)
      const id = newId(prefixes.reasoning)
      return { type: 'reasoning', id, summary: summary ?? [], content: content ?? [], status: status ?? 'completed' }
    }
    case 'item_reference':
      return { type: 'item_reference', id: judged(referenceItem, value, param).id }
    default:
      // the wording of transformers serve
      throw new ApiError('unexpected_item', `Unsupported input item type: '${String(kind).slice(0, 64)}'`, `${param}.type`)
  }
}

/** `input` as items; throws an ApiError. @param param the field's name in errors */
export function readInput(input: string | readonly Record<string, unknown>[], param = 'input'): (Item | ItemReference)[] {
  if (typeof input === 'string') return [readItem({ role: 'user', content: input }, param)]
  const items: (Item | ItemReference)[] = []
  for (let index = 0; index < input.length;) {
    let end = index
    while (end < input.length && isBarePart(input[end]!)) end++
    if (end > index) items.push(readItem({ role: 'user', content: input.slice(index, end) }, `${param}[${index}]`))
    else items.push(readItem(input[end++]!, `${param}[${index}]`))
    index = end
  }
  return items
}

/** A message in the words of chat completions. */
export interface WireMessage {
  role: string
  content?: string | ContentPart[]
  reasoning_content?: string
  tool_calls?: { id: string; type: 'function'; function: { name: string; arguments: string } }[]
  tool_call_id?: string
}

// the same part in the words of chat completions; text parts are the same in both
function chatPart(part: ContentPart): ContentPart {
  if (part.type !== 'input_image') return part
  const url = part.image_url
  const image = { url, ...(typeof part.detail === 'string' ? { detail: part.detail } : {}) }
  return { type: 'image_url', image_url: typeof url === 'string' ? image : url }
}

const isText = (part: ContentPart): boolean => ['input_text', 'output_text', 'text', 'reasoning_text', 'summary_text'].includes(part.type)

function chatContent(parts: string | ContentPart[]): string | ContentPart[] {
  if (typeof parts === 'string') return parts
  const [only] = parts
  if (parts.length === 1 && only && isText(only) && typeof only.text === 'string') return only.text
  return parts.map(chatPart)
}

const joinedText = (parts: readonly ContentPart[]): string =>
  parts.map((part) => (isText(part) && typeof part.text === 'string' ? part.text : '')).join('')

/**
 * The chat messages that items mean. What a model said in one turn (reasoning, text, calls) becomes one message of the assistant's.
 * `instructions` become the system message, in the place of one that the items begin with.
 */
export function chatMessages(items: readonly Item[], instructions?: string): WireMessage[] {
  const messages: WireMessage[] = []
  if (instructions !== undefined) messages.push({ role: 'system', content: instructions })
  let turn: WireMessage | undefined
  const assistant = (fits: (turn: WireMessage) => boolean): WireMessage => {
    if (turn && fits(turn)) return turn
    turn = { role: 'assistant' }
    messages.push(turn)
    return turn
  }
  for (const [index, item] of items.entries()) {
    switch (item.type) {
      case 'message':
        if (item.role === 'assistant') {
          assistant((open) => open.content === undefined && open.tool_calls === undefined).content = chatContent(item.content)
          break
        }
        turn = undefined
        if (index === 0 && item.role === 'system' && instructions !== undefined) break
        messages.push({ role: item.role, content: chatContent(item.content) })
        break
      case 'reasoning': {
        const text = joinedText(item.content.length > 0 ? item.content : item.summary)
        if (text === '') break
        const open = assistant((open) => open.content === undefined && open.tool_calls === undefined)
        open.reasoning_content = (open.reasoning_content ?? '') + text
        break
      }
      case 'function_call': {
        const open = assistant(() => true)
        const call = { id: item.call_id, type: 'function' as const, function: { name: item.name, arguments: item.arguments } }
        open.tool_calls = [...(open.tool_calls ?? []), call]
        break
      }
      case 'function_call_output':
        turn = undefined
        messages.push({ role: 'tool', tool_call_id: item.call_id, content: chatContent(item.output) })
    }
  }
  return messages
}
