// The part of JMESPath that response schemas use: shapes built of an answer's JSON.
import { isJsonObject } from '../call-json.js'

/** null where there is nothing. */
export type Expression = (value: unknown) => unknown

const unquoted = /[A-Za-z_][A-Za-z0-9_]*/y
const quoted = /"(?:[^"\\]|\\.)*"/y
const rawString = /'(?:[^'\\]|\\.)*'/y
const literal = /`(?:[^`\\]|\\.)*`/y
const maxDepth = 50

const itself: Expression = (value) => value
const field =
  (name: string): Expression =>
  (value) =>
    isJsonObject(value) && Object.hasOwn(value, name) ? value[name] : null
/** What JMESPath takes for false. */
export const isNothing = (value: unknown): boolean =>
  value === null ||
  value === undefined ||
  value === false ||
  value === '' ||
  (Array.isArray(value) && value.length === 0) ||
  (isJsonObject(value) && Object.keys(value).length === 0)

class Reader {
  #at = 0

  constructor(private readonly source: string) {}

  whole(): Expression {
    const expression = this.#pipe(0)
    if (this.#at < this.source.length) this.#refuse()
    return expression
  }

  #refuse(): never {
    throw new Error(
      `the transform is outside of the part of JMESPath that is read, from ${JSON.stringify(this.source.slice(this.#at, this.#at + 20))} on`,
    )
  }

  #space(): void {
    while (' \t\r\n'.includes(this.source[this.#at] ?? 'x')) this.#at++
  }

  #take(text: string): boolean {
    this.#space()
    if (!this.source.startsWith(text, this.#at)) return false
    this.#at += text.length
    this.#space()
    return true
  }

  #need(text: string): void {
    if (!this.#take(text)) this.#refuse()
  }

  #match(pattern: RegExp): string | undefined {
    this.#space()
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.source)?.[0]
    if (found === undefined) return undefined
    this.#at += found.length
    this.#space()
    return found
  }

  #pipe(depth: number): Expression {
    if (depth > maxDepth) this.#refuse()
    let all = this.#or(depth)
    while (this.#take('|')) {
      const left = all
      const right = this.#or(depth)
      all = (value) => right(left(value))
    }
    return all
  }

  #or(depth: number): Expression {
    let all = this.#path(this.#first(depth), depth)
    while (this.#take('||')) {
      const left = all
      const right = this.#path(this.#first(depth), depth)
      all = (value) => {
        const one = left(value)
        return isNothing(one) ? right(value) : one
      }
    }
    return all
  }

  #first(depth: number): Expression {
    if (this.#take('@')) return itself
    const text = this.#match(rawString)
    if (text !== undefined) {
      const value = text.slice(1, -1).replace(/\\'/g, "'")
      return () => value
    }
    const json = this.#match(literal)
    if (json !== undefined) {
      const value = this.#json(json.slice(1, -1).replace(/\\`/g, '`'))
      return () => value
    }
    if (this.#take('(')) {
      const inner = this.#pipe(depth + 1)
      this.#need(')')
      return inner
    }
    // an index or a projection of the value itself
    if (/^\[\s*(?:\*|-?\d+|)\s*\]/.test(this.source.slice(this.#at))) return itself
    return this.#member(depth)
  }

  #json(text: string): unknown {
    try {
      return JSON.parse(text)
    } catch {
      return this.#refuse()
    }
  }

  /** What may stand behind a dot. */
  #member(depth: number): Expression {
    if (this.#take('{')) return this.#shape(depth)
    if (this.#take('[')) return this.#list(depth)
    return field(this.#name())
  }

  #name(): string {
    const name = this.#match(unquoted)
    if (name !== undefined) return name
    const text = this.#match(quoted)
    return text === undefined ? this.#refuse() : String(this.#json(text))
  }

  #shape(depth: number): Expression {
    const fields: [string, Expression][] = []
    do {
      const name = this.#name()
      this.#need(':')
      fields.push([name, this.#pipe(depth + 1)])
    } while (this.#take(','))
    this.#need('}')
    return (value) => (value === null ? null : Object.fromEntries(fields.map(([name, expression]) => [name, expression(value)])))
  }

  #list(depth: number): Expression {
    const items: Expression[] = []
    do items.push(this.#pipe(depth + 1))
    while (this.#take(','))
    this.#need(']')
    return (value) => (value === null ? null : items.map((item) => item(value)))
  }

  #path(start: Expression, depth: number): Expression {
    let path = start
    for (;;) {
      const left = path
      if (this.#take('.')) {
        const right = this.#member(depth)
        path = (value) => right(left(value))
      } else if (this.#take('[')) {
        const index = this.#match(/-?\d+/y)
        if (index === undefined) return this.#projection(left, depth)
        this.#need(']')
        path = (value) => {
          const list = left(value)
          return Array.isArray(list) ? (list.at(Number(index)) ?? null) : null
        }
      } else return path
    }
  }

  /** All that follows is done to each item. */
  #projection(left: Expression, depth: number): Expression {
    const flat = !this.#take('*')
    this.#need(']')
    const each = this.#path(itself, depth)
    return (value) => {
      const list = left(value)
      if (!Array.isArray(list)) return null
      const items: unknown[] = flat ? list.flat() : list
      return items.map(each).filter((item) => item !== null)
    }
  }
}

/** Throws an Error where the expression is not of the part that is read: names, indices, projections, shapes, texts, `|` and `||`. */
export function compileJmespath(source: string): Expression {
  if (source.length > 4096) throw new Error('the transform is longer than 4096 characters')
  return new Reader(source).whole()
}
