// The value of a schema's node in a text that is whole.
import { isJsonObject, parseExactly } from '../call-json.js'
import { ContentError } from '../response-template/content.js'
import type { Program } from '../python-regex/program.js'
import { type Budget, findAll, type Match, Search } from '../python-regex/search.js'
import { isNothing } from './jmespath.js'
import type { SchemaNode, Substitution } from './schema.js'

/** Gemma 4's notation of arguments as JSON: bare keys, and strings between marks of their own. */
function gemmaJson(text: string): string {
  const mark = '<|"|>'
  const parts = text.split(mark)
  // a mark that no other one closes is text
  const tail = parts.length % 2 === 0 ? mark + parts.pop()! : ''
  const plain = (part: string): string => part.replace(/([{,])([\p{L}\p{N}_]+):/gu, '$1"$2":')
  const json = parts.map((part, index) => (index % 2 === 0 ? plain(part) : JSON.stringify(part))).join('')
  return json + plain(tail)
}

/** What a match gives: its named groups, or its only group. */
export function matchValue({ names }: Program, match: Match, text: string): unknown {
  const spanText = (group: number): string | undefined => {
    const span = match.spans[group]
    return span && text.slice(span.start, span.end)
  }
  if (names.size === 0) return spanText(1) ?? null
  const groups = [...names].map(([name, group]): [string, string | undefined] => [name, spanText(group)])
  const found = groups.filter(([, part]) => part !== undefined)
  return Object.fromEntries(found)
}

function substituted(text: string, { program, replacement }: Substitution, budget: Budget): string {
  let result = ''
  let from = 0
  for (const match of findAll(program, text, budget)) {
    result += text.slice(from, match.start)
    for (const part of replacement) {
      const span = typeof part === 'number' ? match.spans[part] : undefined
      result += typeof part === 'string' ? part : span ? text.slice(span.start, span.end) : ''
    }
    from = match.end
  }
  return result + text.slice(from)
}

const textOf = (value: unknown): string => {
  if (typeof value !== 'string') throw new ContentError('it is no text')
  return value
}

function scalar(type: 'integer' | 'number' | 'boolean', value: unknown): unknown {
  if (typeof value !== 'string') {
    const fits =
      type === 'boolean' ? typeof value === 'boolean' : typeof value === 'number' && (type === 'number' || Number.isInteger(value))
    if (!fits) throw new ContentError(`it is no ${type}`)
    return value
  }
  const word = value.trim().replace(/(?<=\d)_(?=\d)/g, '')
  const lower = value.toLowerCase()
  if (type === 'boolean' && ['true', '1', 'false', '0'].includes(lower)) return lower === 'true' || lower === '1'
  if (type === 'integer' && /^[+-]?\d+$/.test(word)) return parseExactly(word.replace(/^\+/, '').replace(/^(-?)0+(?=\d)/, '$1'))
  if (type === 'number' && /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(word)) return Number(word)
  throw new ContentError(`it is no ${type}`)
}

export class Evaluator {
  constructor(private readonly budget: Budget) {}

  /** The node's value; null: there is none. Throws a ContentError where the text does not fit, and a SearchLimit. */
  value(node: SchemaNode, content: unknown): unknown {
    if (node.constant) return node.constant.value
    if (content === null || content === undefined) return null
    let found: unknown = content
    for (const substitution of node.substitutions) found = substituted(textOf(found), substitution, this.budget)
    if (node.regex) {
      const text = textOf(found)
      const match = new Search(node.regex, this.budget).run(text, true)
      if (!match) return null
      found = matchValue(node.regex, match, text)
    }
    return this.fromMatch(node, found)
  }

  /** The same for what the node's own pattern has found. */
  fromMatch(node: SchemaNode, content: unknown): unknown {
    let found: unknown = content
    if (node.iterator) {
      const text = textOf(found)
      const { iterator } = node
      const all = [...findAll(iterator, text, this.budget)].map((match) => matchValue(iterator, match, text))
      if (all.length === 0) return null
      found = all
    }
    if (node.keyValue) {
      found = this.#pairs(node.keyValue, textOf(found))
      if (found === null) return null
    }
    if (node.parser) found = this.#parsed(node, textOf(found))
    if (node.mapping) found = node.mapping.has(textOf(found)) ? node.mapping.get(textOf(found)) : found
    for (const substitution of node.mappingRegex) found = substituted(textOf(found), substitution, this.budget)
    return this.#typed(node, found)
  }

  #pairs(program: Program, text: string): unknown {
    const pairs = [...findAll(program, text, this.budget)].map((match) => matchValue(program, match, text))
    if (pairs.length === 0) return null
    return Object.fromEntries(
      pairs.map((pair): [string, unknown] => {
        if (!isJsonObject(pair) || typeof pair['key'] !== 'string' || pair['value'] === undefined)
          throw new ContentError('a pair is not whole')
        return [pair['key'], pair['value']]
      }),
    )
  }

  #parsed({ parser, allowNonJson, transform }: SchemaNode, text: string): unknown {
    const json = parseExactly(parser === 'gemma4-tool-call' ? gemmaJson(text) : text)
    if (json === undefined && !allowNonJson) throw new ContentError('it is not JSON')
    const value = json === undefined ? text : json
    return transform ? transform(value) : value
  }

  #typed(node: SchemaNode, found: unknown): unknown {
    switch (node.type) {
      case 'object':
        return this.#object(node, found)
      case 'array':
        return this.#array(node, found)
      case 'string':
        return textOf(found)
      case 'any':
        return found
      default:
        return scalar(node.type, found)
    }
  }

  #object({ properties, additional, required }: SchemaNode, found: unknown): unknown {
    const entries: [string, unknown][] = []
    if (typeof found === 'string') {
      // every property finds its own value in the text
      if (!properties) throw new ContentError('nothing says how an object is read')
      for (const [key, node] of properties) {
        const value = this.value(node, found)
        if (value !== null) entries.push([key, value])
      }
    } else if (isJsonObject(found)) {
      for (const [key, node] of properties ?? []) {
        if (node.constant) entries.push([key, node.constant.value])
        else if (Object.hasOwn(found, key)) entries.push([key, this.value(node, found[key])])
        else if (node.fallback) entries.push([key, node.fallback.value])
      }
      for (const [key, value] of Object.entries(found)) {
        if (additional && !properties?.has(key)) entries.push([key, this.value(additional, value)])
      }
    } else throw new ContentError('it is no object')
    if (required.some((key) => !entries.some(([name]) => name === key))) throw new ContentError('a required property is missing')
    return Object.fromEntries(entries)
  }

  #array({ items, prefixItems }: SchemaNode, found: unknown): unknown {
    if (isNothing(found)) return []
    if (items) {
      if (!Array.isArray(found)) throw new ContentError('it is no list')
      return found.map((item) => this.value(items, item))
    }
    const list: unknown[] = Array.isArray(found) ? found : [found]
    if (list.length !== prefixItems!.length) throw new ContentError('the list has another length')
    return list.map((item, index) => this.value(prefixItems![index]!, item))
  }
}
