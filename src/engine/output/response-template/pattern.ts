// Python regular expressions of a response_template as JavaScript's, and as ones that match what could still become a match.
import type { MatchCost } from './bounded-match.js'

/** A pattern that cannot be taken over. */
export class PatternError extends Error {
  override readonly name = 'PatternError'
}

/**
 * Source of the whole pattern, and of one that also matches every beginning of it that ends at the end of the text; and in how many ways
 * backtracking can read a text of n characters with it from one place: `ways` times n to the power of `loops`.
 */
interface Source {
  full: string
  partial: string
  ways: number
  loops: number
}

/** Past this not even a watched match ends in time. */
const maxWays = 4096
const single = { ways: 1, loops: 0 }
// Python's classes know all of Unicode
const classes: Readonly<Record<string, string>> = { d: '\\p{Nd}', w: '\\p{L}\\p{N}_', s: '\\s' }
const controls: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', f: '\f', v: '\v', a: '\x07', '0': '\0' }

const escaped = (char: string): string => char.replace(/[\\^$.*+?()[\]{}|/-]/g, (symbol) => (symbol === '-' ? '\\x2d' : `\\${symbol}`))
const atom = (full: string): Source => ({ full, partial: `(?:${full}|$)`, ...single })
const place = (full: string): Source => ({ full, partial: '', ...single })

class Translator {
  #at = 0

  constructor(private readonly pattern: string) {}

  whole(): Source {
    const source = this.#alternatives(0)
    if (this.#at < this.pattern.length) throw new PatternError('unbalanced parenthesis')
    return source
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

  #alternatives(depth: number): Source {
    if (depth > 50) throw new PatternError('nested too deep')
    const options = [this.#sequence(depth)]
    while (this.#take('|')) options.push(this.#sequence(depth))
    return {
      full: options.map(({ full }) => full).join('|'),
      partial: options.map(({ partial }) => partial).join('|'),
      ways: options.reduce((sum, { ways }) => sum + ways, 0),
      loops: Math.max(...options.map(({ loops }) => loops)),
    }
  }

  #sequence(depth: number): Source {
    const all: Source = { full: '', partial: '', ...single }
    while (this.#at < this.pattern.length && !'|)'.includes(this.pattern[this.#at]!)) {
      const item = this.#quantified(this.#item(depth))
      all.full += item.full
      all.partial += item.partial
      all.ways *= item.ways
      all.loops += item.loops
    }
    return all
  }

  #quantified(item: Source): Source {
    const times = this.#match(/[*+?]|\{\d+(?:,\d*)?\}|\{,\d+\}/y)?.replace('{,', '{0,')
    if (times === undefined) return item
    if (this.#take('+')) throw new PatternError('possessive quantifiers are not supported')
    const lazy = this.#take('?') ? '?' : ''
    const one = `(?:${item.full})`
    // what can be read in several ways, repeated, can be read in exponentially many
    const simple = item.ways === 1 && item.loops === 0
    const cost =
      times === '?'
        ? { ways: item.ways + 1, loops: item.loops }
        : simple
          ? { ways: 1, loops: /^\{\d+\}$/.test(times) ? 0 : 1 }
          : { ways: Infinity, loops: 0 }
    return {
      ...cost,
      full: `${item.full === '' ? one : item.full}${times}${lazy}`,
      partial: `(?:${one}${times}${lazy}|${one}*(?:${item.partial})$)`,
    }
  }

  #item(depth: number): Source {
    const char = this.#next()
    switch (char) {
      case '(':
        return this.#group(depth)
      case '[':
        return atom(this.#set())
      case '.':
        return atom('[\\s\\S]')
      case '^':
      case '$':
        return place(char)
      case '\\':
        return this.#escape()
      case '*':
      case '+':
      case '?':
        throw new PatternError('nothing to repeat')
      default:
        return atom(escaped(char))
    }
  }

  #group(depth: number): Source {
    let open = '('
    if (this.#take('?')) {
      const name = this.#match(/P?<(?![=!])\w+>/y)
      if (name !== undefined) open = `(?${name.replace(/^P/, '')}`
      else {
        const kind = this.#match(/[:=!]|<[=!]/y)
        if (kind === undefined) throw new PatternError('an extension of this kind is not supported')
        open = `(?${kind}`
      }
    }
    const inner = this.#alternatives(depth + 1)
    if (!this.#take(')')) throw new PatternError('unbalanced parenthesis')
    const looks = /^\(\?(?:[=!]|<[=!])$/.test(open)
    return { ...inner, full: `${open}${inner.full})`, partial: looks ? '' : `(?:${inner.partial})` }
  }

  #escape(): Source {
    const char = this.#next()
    if (char === 'A') return place('^')
    if (char === 'Z' || char === 'z') return place('$')
    if (char === 'b' || char === 'B') return place(`\\${char}`)
    const lower = classes[char.toLowerCase()]
    if (lower !== undefined) return atom(`[${char === char.toLowerCase() ? '' : '^'}${lower}]`)
    return atom(escaped(this.#literal(char)))
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

export interface Pattern {
  /** Global: search from lastIndex. */
  full: RegExp
  /** Finds the first place from lastIndex on where the rest of the text is the beginning of a match; the end of the text is always one. */
  partial: RegExp
  cost: MatchCost
}

/** Python's DOTALL semantics. Throws a PatternError. */
export function compilePattern(pattern: string): Pattern {
  if (pattern.length > 4096) throw new PatternError('it is longer than 4096 characters')
  const { full, partial, ways, loops } = new Translator(pattern).whole()
  if (ways > maxWays) throw new PatternError('it can read one text in too many ways: a repeat holds repeats or alternatives')
  try {
    // a beginning of a match may end within each loop or behind it
    const cost = { ways: ways * 2 ** loops, loops }
    return { full: new RegExp(full, 'gsu'), partial: new RegExp(`(?:${partial})$`, 'gsu'), cost }
  } catch {
    throw new PatternError('it is not understood')
  }
}
