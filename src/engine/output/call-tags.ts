// Calls written as tags: <function=NAME><parameter=KEY>VALUE</parameter>…</function>
import type { ToolCall } from './answer.js'
import { castArgument, isJsonObject } from './call-json.js'
import type { ToolSchemas } from './format.js'

const opening = /^\s*<function=([^>\n]+)>/
const closing = '</function>'
const parameter = '<parameter='
const parameterEnd = '</parameter>'

// one line break at each end of a value is the notation's
const withoutBreaks = (text: string): string => text.replace(/^\r?\n/, '').replace(/\r?\n$/, '')

/** Values are cast to the types of the tool's schema. undefined: the text is not written so. */
export function tagCall(body: string, tools: ToolSchemas): ToolCall | undefined {
  const head = opening.exec(body)
  const end = body.lastIndexOf(closing)
  const name = head?.[1]?.trim()
  if (!head || !name || end < head[0].length || body.slice(end + closing.length).trim() !== '') return undefined
  const properties = tools.get(name)?.['properties']
  const schemas = isJsonObject(properties) ? properties : {}
  const values = new Map<string, unknown>()
  let rest = body.slice(head[0].length, end).trimStart()
  while (rest !== '') {
    const keyEnd = rest.indexOf('>')
    const valueEnd = rest.indexOf(parameterEnd, keyEnd)
    if (!rest.startsWith(parameter) || keyEnd < 0 || valueEnd < 0) return undefined
    const key = rest.slice(parameter.length, keyEnd).trim()
    values.set(key, castArgument(withoutBreaks(rest.slice(keyEnd + 1, valueEnd)), Object.hasOwn(schemas, key) ? schemas[key] : undefined))
    rest = rest.slice(valueEnd + parameterEnd.length).trimStart()
  }
  return { name, arguments: JSON.stringify(Object.fromEntries(values)) }
}
