// Reads Python's regular expressions, as checkpoints declare them, into a tree.

/** A pattern that cannot be taken over. */
export class PatternError extends Error {
  override readonly name = 'PatternError'
}

export type PlaceKind = '^' | '$' | '\\A' | '\\Z' | '\\b' | '\\B'

export type PatternNode =
  /** One code point. `source`: what takes it, in JavaScript's syntax with the flags s and u; `char`: where it can be only this one. */
  | { kind: 'one'; source: string; char?: string }
  | { kind: 'place'; place: PlaceKind }
  | { kind: 'sequence'; items: readonly PatternNode[] }
  /** Tried in their order. */
  | { kind: 'options'; items: readonly PatternNode[] }
  /** `times`: the quantifier in JavaScript's syntax. */
  | { kind: 'repeat'; item: PatternNode; min: number; max: number; lazy: boolean; times: string }
  /** `index`: what it takes is captured under this number, from 1 on. */
  | { kind: 'group'; item: PatternNode; index?: number; name?: string }
  | { kind: 'look'; item: PatternNode; ahead: boolean; negative: boolean }

export interface PatternTree {
  root: PatternNode
  /** How many groups capture. */
  groups: number
}

// Python's classes know all of Unicode
const classes: Readonly<Record<string, string>> = { d: '\\p{Nd}', w: '\\p{L}\\p{N}_', s: '\\s' }
const controls: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', f: '\f', v: '\v', a: '\x07', '0': '\0' }
const places: Readonly<Record<string, PlaceKind>> = { A: '\\A', Z: '\\Z', z: '\\Z', b: '\\b', B: '\\B' }
const maxDepth = 50

const escaped = (char: string): string => char.replace(/[\\^$.*+?()[\]{}|/-]/g, (symbol) => (symbol === '-' ? '\\x2d' : `\\${symbol}`))
const one = (char: string): PatternNode => ({ kind: 'one', source: escaped(char), char })

class Reader {
  #at = 0
  #groups = 0

  constructor(private readonly pattern: string) {}

  whole(): PatternTree {
    // a dot takes line ends, too, wherever these patterns are used
    this.#take('(?s)')
    const root = this.#options(0)
    if (this.#at < this.pattern.length) throw new PatternError('unbalanced parenthesis')
    return { root, groups: this.#groups }
  }

  #take(text: string): boolean {
    if (!this.pattern.startsWith(text, this.#at)) return false
    this.#at += text.length
    return true
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.pattern)?.[0]
    if (found !== undefined) this.#at += found.length
    return found
  }

  #next(): string {
    const char = this.#match(/[\s\S]/uy)
    if (char === undefined) throw new PatternError('unexpected end')
    return char
  }

  #options(depth: number): PatternNode {
    if (depth > maxDepth) throw new PatternError('nested too deep')
    const items = [this.#sequence(depth)]
    while (this.#take('|')) items.push(this.#sequence(depth))
    return items.length === 1 ? items[0]! : { kind: 'options', items }
  }

  #sequence(depth: number): PatternNode {
    const items: PatternNode[] = []
    while (this.#at < this.pattern.length && !'|)'.includes(this.pattern[this.#at]!)) items.push(this.#quantified(this.#item(depth)))
    return { kind: 'sequence', items }
  }

  #quantified(item: PatternNode): PatternNode {
    const times = this.#match(/[*+?]|\{\d+(?:,\d*)?\}|\{,\d+\}/y)?.replace('{,', '{0,')
    if (times === undefined) return item
    if (this.#take('+')) throw new PatternError('possessive quantifiers are not supported')
    const lazy = this.#take('?')
    const [low = '', high = low] =
      times === '*' ? ['0', ''] : times === '+' ? ['1', ''] : times === '?' ? ['0', '1'] : times.slice(1, -1).split(',')
    const min = Number(low)
    const max = high === '' ? Infinity : Number(high)
    if (max < min) throw new PatternError('a repeat has a maximum below its minimum')
    const repeat: PatternNode = { kind: 'repeat', item, min, max, lazy, times }
    if (this.#match(/[*+?]|\{\d+(?:,\d*)?\}|\{,\d+\}/y) !== undefined) throw new PatternError('multiple repeat')
    return repeat
  }

  #item(depth: number): PatternNode {
    const char = this.#next()
    switch (char) {
      case '(':
        return this.#group(depth)
      case '[':
        return { kind: 'one', source: this.#set() }
      case '.':
        return { kind: 'one', source: '[\\s\\S]' }
      case '^':
      case '$':
        return { kind: 'place', place: char }
      case '\\':
        return this.#escape()
      case '*':
      case '+':
      case '?':
        throw new PatternError('nothing to repeat')
      default:
        return one(char)
    }
  }

  #group(depth: number): PatternNode {
    const close = (item: PatternNode): PatternNode => {
      if (!this.#take(')')) throw new PatternError('unbalanced parenthesis')
      return item
    }
    if (!this.#take('?')) {
      const index = ++this.#groups
      return close({ kind: 'group', item: this.#options(depth + 1), index })
    }
    const name = this.#match(/P?<(?![=!])\w+>/y)
    if (name !== undefined) {
      const index = ++this.#groups
      return close({ kind: 'group', item: this.#options(depth + 1), index, name: name.slice(name.indexOf('<') + 1, -1) })
    }
    const kind = this.#match(/[:=!]|<[=!]/y)
    if (kind === undefined) throw new PatternError('an extension of this kind is not supported')
    const item = this.#options(depth + 1)
    if (kind === ':') return close({ kind: 'group', item })
    return close({ kind: 'look', item, ahead: !kind.startsWith('<'), negative: kind.endsWith('!') })
  }

  #escape(): PatternNode {
    const char = this.#next()
    const place = places[char]
    if (place !== undefined) return { kind: 'place', place }
    const lower = classes[char.toLowerCase()]
    if (lower !== undefined) return { kind: 'one', source: `[${char === char.toLowerCase() ? '' : '^'}${lower}]` }
    return one(this.#literal(char))
  }

  #literal(char: string): string {
    const digits = char === 'x' ? this.#match(/[0-9a-fA-F]{2}/y) : char === 'u' ? this.#match(/[0-9a-fA-F]{4}/y) : undefined
    if (digits !== undefined) return String.fromCodePoint(parseInt(digits, 16))
    if (/[1-9]/.test(char)) throw new PatternError('references to groups are not supported')
    if (/[a-zA-Z]/.test(char) && !(char in controls)) throw new PatternError(`the escape \\${char} is not supported`)
    return controls[char] ?? char
  }

  #set(): string {
    let set = this.#take('^') ? '[^' : '['
    for (let first = true; first || this.pattern[this.#at] !== ']'; first = false) {
      const char = this.#next()
      if (char === '-') {
        // between two characters a range, at either end itself
        set += first || this.pattern[this.#at] === ']' ? '\\x2d' : '-'
      } else if (char !== '\\') {
        set += escaped(char)
      } else {
        const inner = this.#next()
        const lower = classes[inner.toLowerCase()]
        if (lower !== undefined && inner !== inner.toLowerCase()) set += inner === 'W' ? '\\W' : `\\${inner}`
        else set += lower ?? escaped(inner === 'b' ? '\b' : this.#literal(inner))
      }
    }
    this.#at++
    return `${set}]`
  }
}

/** Reads a pattern. Throws a PatternError. */
export function readPattern(pattern: string): PatternTree {
  if (pattern.length > 4096) throw new PatternError('it is longer than 4096 characters')
  return new Reader(pattern).whole()
}
