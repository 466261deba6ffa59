// Calls written as JSON objects, and the values of arguments written as bare text.
import type { ToolCall } from './answer.js'
import { type CallStart, maxCallHead } from './call-reader.js'
import { jsonDialect, ObjectReader } from './object-reader.js'

type JsonObject = Record<string, unknown>

export const isJsonObject = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value)

// ECMAScript's JSON.parse source text access; TypeScript's library does not know it yet
const json = JSON as unknown as {
  parse(text: string, reviver: (this: unknown, key: string, value: unknown, context: { source?: string }) => unknown): unknown
  rawJSON(text: string): unknown
}

/** Parses JSON so that numbers which a double cannot hold are written out again as they came. undefined: not JSON. */
export function parseExactly(text: string): unknown {
  try {
    return json.parse(text, (_key, value, { source }) =>
      typeof value === 'number' && source !== undefined && /^-?\d+$/.test(source) && !Number.isSafeInteger(value)
        ? json.rawJSON(source)
        : value,
    )
  } catch {
    return undefined
  }
}

/** The JSON text of a call's arguments: none and null mean none; undefined where they are no object. */
export function argumentsText(value: unknown): string | undefined {
  if (value === undefined || value === null) return '{}'
  const object = typeof value === 'string' ? (value.trim() === '' ? {} : parseExactly(value)) : value
  return isJsonObject(object) ? JSON.stringify(object) : undefined
}

/** `{"name": …, "arguments": {…}}`, with `parameters` for arguments and a `function` around both allowed. */
export function jsonCall(value: unknown): ToolCall | undefined {
  if (!isJsonObject(value)) return undefined
  const call = isJsonObject(value['function']) ? value['function'] : value
  const name = call['name']
  const text = argumentsText(call['arguments'] ?? call['parameters'])
  return typeof name === 'string' && name !== '' && text !== undefined ? { name, arguments: text } : undefined
}

const string = String.raw`"(?:[^"\\\p{Cc}]|\\.)*"`
const head = new RegExp(
  String.raw`^\s*\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?(?:"id"\s*:\s*${string}\s*,\s*)?(?<inner>"function"\s*:\s*\{\s*)?` +
    String.raw`"name"\s*:\s*(?<name>${string})\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)`,
  'u',
)

/** A call that names its function before its arguments, which are an object; any other is read when it is whole. */
export function jsonCallStart(body: string): CallStart | undefined {
  const found = head.exec(body.slice(0, maxCallHead))
  const name = found && parseExactly(found.groups!['name']!)
  if (typeof name !== 'string' || name === '') return undefined
  return { name, reader: new ObjectReader(jsonDialect, found!.groups!['inner'] === undefined ? 1 : 2), at: found![0].length }
}

/** One call or a list of them; undefined when any of it is none. */
export function jsonCalls(body: string): ToolCall[] | undefined {
  const value = parseExactly(body.trim())
  const calls = (Array.isArray(value) ? value : [value]).map(jsonCall)
  return calls.length > 0 && calls.every((call) => call !== undefined) ? calls : undefined
}

function typeOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  return typeof value === 'number' && Number.isInteger(value) ? 'integer' : typeof value
}

function schemaTypes(schema: unknown): string[] {
  if (!isJsonObject(schema)) return []
  const { type, anyOf, oneOf, allOf } = schema
  const values = Array.isArray(schema['enum']) ? schema['enum'] : Object.hasOwn(schema, 'const') ? [schema['const']] : []
  const listed = [...new Set(values.map(typeOf))]
  const own = typeof type === 'string' ? [type] : Array.isArray(type) ? type.filter((t) => typeof t === 'string') : listed
  const inner = [anyOf, oneOf, allOf].flatMap((choices) => (Array.isArray(choices) ? choices.flatMap(schemaTypes) : []))
  return [...own, ...inner, ...(schema['nullable'] === true ? ['null'] : [])]
}

/** Any text is a value of the schema, or nothing is said of its type. */
export function takesText(schema: unknown): boolean {
  const types = schemaTypes(schema)
  return types.length === 0 || types.includes('string')
}

/** Every text is its own value: what the schema says of its type begins with a string, or there is nothing. */
export function isTextFirst(schema: unknown): boolean {
  const [first = 'string'] = schemaTypes(schema)
  return first === 'string'
}

/** A text as a value of a type; undefined: it is none. */
export function castTo(type: string, text: string): unknown {
  const word = text.trim().toLowerCase()
  switch (type) {
    case 'integer':
    case 'number': {
      // with all its digits, as in JSON
      if (/^-?[1-9]\d*$/.test(word)) return parseExactly(word)
      const value = word === '' ? NaN : Number(word)
      return Number.isFinite(value) && (type === 'number' || Number.isInteger(value)) ? value : undefined
    }
    case 'boolean':
      return word === 'true' || word === '1' ? true : word === 'false' || word === '0' ? false : undefined
    case 'null':
      return word === 'null' || word === 'none' ? null : undefined
    case 'object': {
      const value = parseExactly(text)
      return isJsonObject(value) ? value : undefined
    }
    case 'array': {
      const value = parseExactly(text)
      return Array.isArray(value) ? value : undefined
    }
    default:
      return undefined
  }
}

/** An argument written as bare text, as the first type of its schema that it is a value of; otherwise the text. */
export function castArgument(text: string, schema: unknown): unknown {
  for (const type of schemaTypes(schema)) {
    const value = type === 'string' ? text : castTo(type, text)
    if (value !== undefined) return value
  }
  return text
}
