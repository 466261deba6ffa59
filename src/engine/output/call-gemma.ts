// Gemma 4's notation of calls: call:NAME{key:<|"|>text<|"|>,list:[1,true],inner:{…}}
import type { ToolCall } from './answer.js'

const quote = '<|"|>'
const head = /^\s*call:([^\s{]+)\s*/
const number = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const bareKey = /[^\s:{}[\],"<]+/y
const space = /\s*/y
const words: ReadonlyMap<string, string> = new Map([
  ['true', 'true'],
  ['false', 'false'],
  ['null', 'null'],
  ['none', 'null'],
])
const maxDepth = 64

/** Turns a value into JSON text; every method throws a SyntaxError where the text is not one. */
class ValueReader {
  #at = 0

  constructor(private readonly text: string) {}

  /** The whole text as one object. */
  object(): string {
    const json = this.#object(0)
    this.#match(space)
    if (this.#at < this.text.length) throw new SyntaxError()
    return json
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.text)?.[0] ?? ''
    this.#at += found.length
    return found
  }

  #take(symbol: string): boolean {
    this.#match(space)
    if (!this.text.startsWith(symbol, this.#at)) return false
    this.#at += symbol.length
    return true
  }

  #expect(symbol: string): void {
    if (!this.#take(symbol)) throw new SyntaxError()
  }

  #object(depth: number): string {
    return this.#list('{', '}', depth, () => {
      const key = this.#string() ?? JSON.stringify(this.#bare())
      this.#expect(':')
      return `${key}:${this.#value(depth + 1)}`
    })
  }

  #list(open: string, close: string, depth: number, item: () => string): string {
    if (depth > maxDepth) throw new SyntaxError()
    this.#expect(open)
    const items: string[] = []
    while (!this.#take(close)) {
      if (items.length > 0) this.#expect(',')
      items.push(item())
    }
    return open + items.join(',') + close
  }

  #value(depth: number): string {
    const string = this.#string()
    if (string !== undefined) return string
    const next = this.text[this.#at]
    if (next === '{') return this.#object(depth)
    if (next === '[') return this.#list('[', ']', depth, () => this.#value(depth + 1))
    const digits = this.#match(number)
    if (digits !== '') {
      JSON.parse(digits) // 007 is none
      return digits
    }
    const word = words.get(this.#bare().toLowerCase())
    if (word === undefined) throw new SyntaxError()
    return word
  }

  #bare(): string {
    this.#match(space)
    const word = this.#match(bareKey)
    if (word === '') throw new SyntaxError()
    return word
  }

  /** Gemma's own quotes hold any text; JSON's are understood too. */
  #string(): string | undefined {
    this.#match(space)
    if (this.#take(quote)) {
      const end = this.text.indexOf(quote, this.#at)
      if (end < 0) throw new SyntaxError()
      const text = this.text.slice(this.#at, end)
      this.#at = end + quote.length
      return JSON.stringify(text)
    }
    if (this.text[this.#at] !== '"') return undefined
    let end = this.#at + 1
    while (end < this.text.length && this.text[end] !== '"') end += this.text[end] === '\\' ? 2 : 1
    const text = this.text.slice(this.#at, end + 1)
    this.#at = end + 1
    return JSON.stringify(JSON.parse(text))
  }
}

/** undefined: the text is no call. */
export function gemmaCall(body: string): ToolCall | undefined {
  const call = head.exec(body)
  if (!call) return undefined
  const rest = body.slice(call[0].length)
  try {
    return { name: call[1]!, arguments: rest.trim() === '' ? '{}' : new ValueReader(rest).object() }
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}
