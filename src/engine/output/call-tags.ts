// Calls written as tags: <function=NAME><parameter=KEY>VALUE</parameter>…</function>
import type { Constraint } from '../constraint.js'
import type { ToolCall } from './answer.js'
import { castArgument, isJsonObject, takesText } from './call-json.js'
import { anyOf, type CallableTool, literal, optional, sequence, textUntil } from './constraints.js'
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

const end = `\n${parameterEnd}\n`
const anyParameters: Constraint = {
  type: 'repeat',
  item: sequence(literal(parameter), { type: 'regex', pattern: '[^<>\\s]{1,64}' }, literal('>\n'), textUntil([end])),
  min: 0,
  max: null,
}

// a text ends where its closing tag begins; everything else is JSON
function valueConstraint(schema: unknown): Constraint {
  const choices = isJsonObject(schema) && Array.isArray(schema['enum']) ? schema['enum'] : undefined
  if (choices?.every((choice) => typeof choice === 'string')) return sequence(anyOf(choices.map(literal)), literal(end))
  if (takesText(schema)) return textUntil([end])
  return sequence({ type: 'json_schema', schema: isJsonObject(schema) ? schema : true }, literal(end))
}

/** A call of the tool, its parameters in the order of the schema. */
export function tagCallConstraint({ name, parameters }: CallableTool): Constraint {
  const schema = isJsonObject(parameters) ? parameters : {}
  // an object of which nothing is said
  const isOpen = parameters !== undefined && schema['properties'] === undefined && schema['additionalProperties'] !== false
  const properties = isJsonObject(schema['properties']) ? schema['properties'] : {}
  const required = new Set<unknown>(Array.isArray(schema['required']) ? schema['required'] : [])
  const values = Object.entries(properties).map(([key, value]) => {
    const part = sequence(literal(`${parameter}${key}>\n`), valueConstraint(value))
    return required.has(key) ? part : optional(part)
  })
  return sequence(literal(`<function=${name}>\n`), ...values, ...(isOpen ? [anyParameters] : []), literal(closing))
}
