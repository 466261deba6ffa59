// What the fields that a tokenizer declares for its answers mean.
import type { ToolCall } from './answer.js'
import { castArgument, isJsonObject, jsonCall, parseExactly } from './call-json.js'
import type { ToolSchemas } from './format.js'

export type Role = 'content' | 'reasoning' | 'calls' | 'unknown'

const roles: ReadonlyMap<string, Role> = new Map([
  ['content', 'content'],
  ['reasoning_content', 'reasoning'],
  ['thinking', 'reasoning'],
  ['reasoning', 'reasoning'],
  ['tool_calls', 'calls'],
])

export const fieldRole = (name: string): Role => roles.get(name) ?? 'unknown'

/** The value of a field of text. */
export const asText = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value))

/** The calls of a field. Bare values are cast to the types of the tool's schema. undefined: any of it is no call. */
export function callsIn(value: unknown, tools: ToolSchemas): ToolCall[] | undefined {
  const calls = (Array.isArray(value) ? value : [value]).map(jsonCall)
  return calls.length > 0 && calls.every((call) => call !== undefined) ? calls.map((call) => typedCall(call, tools)) : undefined
}

function typedCall(call: ToolCall, tools: ToolSchemas): ToolCall {
  const properties = tools.get(call.name)?.['properties']
  const values = parseExactly(call.arguments)
  if (!isJsonObject(properties) || !isJsonObject(values)) return call
  const typed = Object.entries(values).map(([key, value]): [string, unknown] => [
    key,
    typeof value === 'string' && Object.hasOwn(properties, key) ? castArgument(value, properties[key]) : value,
  ])
  return { name: call.name, arguments: JSON.stringify(Object.fromEntries(typed)) }
}
