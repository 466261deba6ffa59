// What the text of a field is: the parsers and transforms that a response_template names.
import { castTo, isJsonObject, parseExactly } from '../call-json.js'
import { allMatches } from './bounded-match.js'
import { compilePattern } from './pattern.js'

export type ContentArgs = Readonly<Record<string, unknown>>

/** The text is no value of its kind. */
export class ContentError extends Error {
  override readonly name = 'ContentError'
}

const text = (body: string, args: ContentArgs): string => (args['strip'] === false ? body : body.trim())
const flag = (args: ContentArgs, name: string): boolean => args[name] === true
const string = (args: ContentArgs, name: string, otherwise: string): string => {
  const value = args[name]
  return typeof value === 'string' && value !== '' ? value : otherwise
}

function delimiters(args: ContentArgs): [open: string, close: string][] {
  const pairs = args['string_delims']
  if (!Array.isArray(pairs)) return []
  return pairs.flatMap((pair): [string, string][] => {
    const [open, close] = Array.isArray(pair) ? (pair as unknown[]) : []
    return typeof open === 'string' && typeof close === 'string' && open !== '' && close !== '' ? [[open, close]] : []
  })
}

/** JSON in a dialect: strings between other marks become JSON's, bare keys get quotes. */
function standardJson(body: string, args: ContentArgs): string {
  const pairs = delimiters(args)
  const bare = flag(args, 'unquoted_keys')
  let json = ''
  let plain = ''
  const flush = (): void => {
    json += bare ? plain.replace(/(?<=[{,]\s*|^)([\p{L}\p{N}_]+)(?=\s*:)/gu, '"$1"') : plain
    plain = ''
  }
  for (let at = 0; at < body.length;) {
    const pair = pairs.find(([open]) => body.startsWith(open, at))
    const end = pair ? body.indexOf(pair[1], at + pair[0].length) : -1
    if (pair && end >= 0) {
      flush()
      json += JSON.stringify(body.slice(at + pair[0].length, end))
      at = end + pair[1].length
    } else if (body[at] === '"' && bare) {
      let close = at + 1
      while (close < body.length && body[close] !== '"') close += body[close] === '\\' ? 2 : 1
      flush()
      json += body.slice(at, close + 1)
      at = close + 1
    } else plain += body[at++]
  }
  flush()
  return json
}

function json(body: string, args: ContentArgs): unknown {
  const value = parseExactly(standardJson(body, args))
  if (value !== undefined) return value
  if (flag(args, 'allow_non_json')) return text(body, args)
  throw new ContentError('it is not JSON')
}

function inner(raw: string, args: ContentArgs): unknown {
  const parser = args['value_parser']
  if (!isJsonObject(parser)) return raw
  const name = typeof parser['name'] === 'string' ? parser['name'] : 'text'
  return parseContent(raw, name, isJsonObject(parser['args']) ? parser['args'] : {})
}

function xmlInline(body: string, args: ContentArgs): unknown {
  const pairs: [string, unknown][] = []
  const { full, cost } = compilePattern(string(args, 'tag_pattern', ''))
  for (const { groups } of allMatches(full, cost, body)) {
    const key = groups?.['key']
    if (key === undefined) throw new ContentError('a tag has no key')
    const value = inner(groups?.['value'] ?? '', args)
    const known = flag(args, 'merge_duplicates') ? pairs.find(([name]) => name === key) : undefined
    if (!known) pairs.push([key, value])
    else known[1] = Array.isArray(known[1]) ? [...(known[1] as unknown[]), value] : [known[1], value]
  }
  return Object.fromEntries(pairs)
}

function kvLines(body: string, args: ContentArgs): unknown {
  const separator = string(args, 'kv_sep', ':')
  const pairs = body.split(string(args, 'line_sep', '\n')).flatMap((raw): [string, unknown][] => {
    const line = text(raw, args)
    const at = line.indexOf(separator)
    return at < 0 ? [] : [[text(line.slice(0, at), args), inner(text(line.slice(at + separator.length), args), args)]]
  })
  return Object.fromEntries(pairs)
}

function number(type: 'integer' | 'number', body: string): unknown {
  const value = castTo(type, body)
  if (value === undefined) throw new ContentError(`it is no ${type}`)
  return value
}

const parsers: Readonly<Record<string, (body: string, args: ContentArgs) => unknown>> = {
  text,
  int: (body) => number('integer', body),
  float: (body) => number('number', body),
  bool: (body) => ['true', '1'].includes(body.trim().toLowerCase()),
  json,
  'xml-inline': xmlInline,
  'kv-lines': kvLines,
}

export const contentParsers: ReadonlySet<string> = new Set(Object.keys(parsers))

/** Throws a ContentError. */
export function parseContent(body: string, name: string, args: ContentArgs): unknown {
  const parser = parsers[name]
  if (!parser) throw new ContentError(`there is no parser '${name}'`)
  return parser(body, args)
}

const placeholder = /^\{(\w+(?:\.\w+)*)\}$/

/** A shape whose strings `{name}` and `{name.key}` stand for values. Throws a ContentError where there is no such value. */
export function applyTransform(shape: unknown, scope: Readonly<Record<string, unknown>>): unknown {
  if (Array.isArray(shape)) return shape.map((item) => applyTransform(item, scope))
  if (isJsonObject(shape)) return Object.fromEntries(Object.entries(shape).map(([key, value]) => [key, applyTransform(value, scope)]))
  const path = typeof shape === 'string' ? placeholder.exec(shape)?.[1] : undefined
  if (path === undefined) return shape
  let value: unknown = scope
  for (const key of path.split('.')) {
    if (!isJsonObject(value) || !Object.hasOwn(value, key)) throw new ContentError(`there is no '${path}'`)
    value = value[key]
  }
  return value
}
