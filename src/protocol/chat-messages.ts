import { z } from 'zod'
import type { ChatMessage } from '../engine/types.js'
import { ApiError } from './errors.js'
import { isObject, parseInnerJson } from './json.js'

const partSchema = z.looseObject({ type: z.string().min(1).max(64) })

const calledFunction = z.looseObject({
  name: z.string().min(1).max(256),
  arguments: z.union([z.string(), z.record(z.string(), z.unknown())], { error: 'must be a JSON text or an object' }).nullish(),
})
const toolCallSchema = z.looseObject({ function: calledFunction })

const messageSchema = z.looseObject({
  role: z.string().min(1).max(64),
  content: z.union([z.string(), z.array(partSchema).max(1024)], { error: 'must be a string or an array of parts with a `type`' }).nullish(),
  tool_calls: z.array(toolCallSchema).max(128).nullish(),
  function_call: calledFunction.nullish(),
})

export const messagesSchema = z
  .array(messageSchema, { error: 'must be an array of messages' })
  .min(1, { error: 'must hold at least one message' })
  .max(10_000)

type WireToolCall = z.infer<typeof toolCallSchema>
type WireMessage = z.infer<typeof messageSchema>
type WirePart = z.infer<typeof partSchema>

const textParts = new Set(['text', 'input_text', 'output_text'])

function partText(part: WirePart, param: string): string {
  if (textParts.has(part.type)) {
    if (typeof part.text !== 'string') throw new ApiError('invalid_request', `\`${param}.text\` must be a string.`, `${param}.text`)
    return part.text
  }
  if (part.type === 'refusal' && typeof part.refusal === 'string') return part.refusal
  throw new ApiError('invalid_request', `\`${param}\` is of type '${part.type}', but this model takes text only.`, `${param}.type`)
}

const withoutNulls = (fields: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined))

// templates read the arguments as an object; what a model once wrote badly stays the text it is
function decodedToolCall(call: WireToolCall): unknown {
  const text = call.function.arguments ?? {}
  const decoded = typeof text !== 'string' ? text : text.trim() === '' ? {} : parseInnerJson(text)
  return { ...withoutNulls(call), function: { ...withoutNulls(call.function), arguments: isObject(decoded) ? decoded : text } }
}

// what calls and their answers were called before: calls had no ids, and templates know them as tools only
function inNewWords(messages: readonly WireMessage[]): WireMessage[] {
  let id = ''
  return messages.map((message, m) => {
    const { function_call: call, ...rest } = message
    if (call && message.role === 'assistant' && !message.tool_calls) {
      // nine letters and digits, as the strictest template wants them
      id = `call${String(m).padStart(5, '0')}`
      return { ...rest, tool_calls: [{ id, type: 'function', function: call }] }
    }
    return message.role === 'function' ? { ...rest, role: 'tool', tool_call_id: id } : rest
  })
}

// id -> function: templates that print the name of what a tool message answers do not look for it themselves
function answeredCalls(messages: readonly WireMessage[]): ReadonlyMap<unknown, string> {
  const names = new Map<unknown, string>()
  for (const { tool_calls: calls } of messages) for (const call of calls ?? []) names.set(call['id'], call.function.name)
  return names
}

/**
 * Messages as the chat template of a text model sees them: text parts joined with a space, no content as an empty text,
 * null fields left out, tool arguments as objects, tool messages with the name of their function;
 * `function_call` and messages of a function as tool calls and what answers them. Other fields (name, tool_call_id, reasoning_content, ...) travel along.
 */
export function templateMessages(wire: readonly WireMessage[]): ChatMessage[] {
  const messages = inNewWords(wire)
  const called = answeredCalls(messages)
  return messages.map((message, m) => {
    const result: ChatMessage = { ...withoutNulls(message), role: message.role }
    if (message.role === 'tool' && typeof message['tool_call_id'] === 'string') {
      const name = called.get(message['tool_call_id'])
      if (name !== undefined) result['name'] ??= name
    }
    const { content } = message
    result.content = Array.isArray(content)
      ? content.map((part, p) => partText(part, `messages[${m}].content[${p}]`)).join(' ')
      : (content ?? '')
    if (message.tool_calls) {
      if (message.tool_calls.length === 0) delete result.tool_calls
      else result.tool_calls = message.tool_calls.map(decodedToolCall)
    }
    return result
  })
}
