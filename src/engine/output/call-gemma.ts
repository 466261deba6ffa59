// Gemma 4's notation of calls: call:NAME{key:<|"|>text<|"|>,list:[1,true],inner:{…}}
import type { ToolCall } from './answer.js'
import { type CallStart, maxCallHead } from './call-reader.js'
import { type Dialect, isJsonScalar, ObjectReader } from './object-reader.js'

const head = /^\s*call:([^\s{]+)\s*/
const words: ReadonlyMap<string, string> = new Map([
  ['true', 'true'],
  ['false', 'false'],
  ['null', 'null'],
  ['none', 'null'],
])

/** Gemma's own quotes hold any text; JSON's are understood too. */
const dialect: Dialect = {
  space: /\s+/y,
  keepSpace: false,
  quote: '<|"|>',
  bareKeys: true,
  scalar: (word) => words.get(word.toLowerCase()) ?? (isJsonScalar(word) ? word : undefined),
}

/** The call whose arguments begin; undefined: the text is none, or it has no arguments yet. */
export function gemmaCallStart(body: string): CallStart | undefined {
  const found = head.exec(body.slice(0, maxCallHead))
  if (!found || body[found[0].length] !== '{') return undefined
  return { name: found[1]!, reader: new ObjectReader(dialect), at: found[0].length }
}

/** A whole call without arguments; undefined: the text is none. */
export function gemmaCall(body: string): ToolCall | undefined {
  const found = head.exec(body)
  return found && found[0] === body ? { name: found[1]!, arguments: '{}' } : undefined
}
