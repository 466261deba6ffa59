// Messages and tools of the API as a checkpoint's own template expects them.
import { isJsonObject } from './output/call-json.js'
import type { ChatMessage } from './types.js'

const isText = (value: unknown): value is string => typeof value === 'string' && value !== ''
const hasCalls = ({ tool_calls: calls }: ChatMessage): boolean => Array.isArray(calls) && calls.length > 0

// the field of that name, not enable_thinking
const readsThinking = /[.'"]thinking\b/

function withReasoning(message: ChatMessage, source: string): ChatMessage {
  const reasoning = [message['reasoning_content'], message['reasoning'], message['thinking']].find(isText)
  if (reasoning === undefined || message.role !== 'assistant') return message
  const result: ChatMessage = { ...message, reasoning_content: reasoning, reasoning }
  if (!readsThinking.test(source)) return result
  // harmony has one message before a call: its templates refuse two texts for it
  const merged = source.includes('<|channel|>') && hasCalls(message) && isText(message.content)
  return { ...result, thinking: merged ? `${reasoning}\n${String(message.content)}` : reasoning, ...(merged ? { content: '' } : {}) }
}

/**
 * Earlier reasoning under the names that templates read (`reasoning_content`, `reasoning`, `thinking`), and the developer as the
 * system where the template knows no developer: most leave out the messages of a role that they do not know.
 */
export function templateMessages(messages: readonly ChatMessage[], source: string): ChatMessage[] {
  const knowsDeveloper = source.includes('developer')
  return messages.map((message) => {
    const read = withReasoning(message, source)
    return read.role === 'developer' && !knowsDeveloper ? { ...read, role: 'system' } : read
  })
}

/** Tools without `strict`: it tells the server how to constrain a call, and models were trained on descriptions that lack it. */
export function templateTools(tools: readonly unknown[]): unknown[] {
  return tools.map((tool) => {
    if (!isJsonObject(tool) || !isJsonObject(tool['function'])) return tool
    const { strict: _strict, ...described } = tool['function']
    return { ...tool, function: described }
  })
}
