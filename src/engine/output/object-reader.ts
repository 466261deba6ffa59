// A JSON object, or one in a notation with JSON's structure, read and given out while it is written.
import { type CallReader, escapedText, wholeCharacters } from './call-reader.js'
import { findMarker } from './markers.js'

/** Where a notation is not JSON. */
export interface Dialect {
  /** White space between tokens; kept where the text is JSON. */
  space: RegExp
  keepSpace: boolean
  /** A mark that begins and ends strings without escapes, next to JSON's own. */
  quote?: string
  bareKeys: boolean
  /** The JSON text of a value without quotes; undefined: it is none. */
  scalar(word: string): string | undefined
}

const jsonScalar = /^(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)$/
export const isJsonScalar = (word: string): boolean => jsonScalar.test(word)

export const jsonDialect: Dialect = {
  space: /[ \t\r\n]+/y,
  keepSpace: true,
  bareKeys: false,
  scalar: (word) => (isJsonScalar(word) ? word : undefined),
}

const bare = /[^\s:{}[\],"<]+/y
const plain = /[^"\\\p{Cc}]+|[\x7f-\x9f]+/uy
const escape = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y
const begunEscape = /\\(?:u[0-9a-fA-F]{0,3})?$/y

/** Deeper is a mistake: clients' own parsers give up not far beyond. */
const maxDepth = 512
/** A number or a bare word that is longer is a mistake. */
const maxWord = 1024

type Next = 'value' | 'value or end' | 'key' | 'key or end' | 'colon' | 'comma or end'
type Token = '{' | '}' | '[' | ']' | ',' | ':' | 'string' | 'scalar'

/** Which token may come next. */
class Structure {
  #next: Next = 'value'
  readonly #ends: Token[]

  /** @param outer objects that are open already, the value of a key being next */
  constructor(outer: number) {
    this.#ends = new Array<Token>(outer).fill('}')
  }

  get depth(): number {
    return this.#ends.length
  }

  get wantsKey(): boolean {
    return this.#next === 'key' || this.#next === 'key or end'
  }

  /** False: it may not come here. */
  take(token: Token): boolean {
    const next = this.#after(token)
    if (next === undefined) return false
    if (token === '{' || token === '[') this.#ends.push(token === '{' ? '}' : ']')
    else if (token === '}' || token === ']') this.#ends.pop()
    this.#next = next
    return true
  }

  #after(token: Token): Next | undefined {
    const next = this.#next
    const wantsValue = next === 'value' || next === 'value or end'
    switch (token) {
      case '{':
        return wantsValue && this.depth < maxDepth ? 'key or end' : undefined
      case '[':
        return wantsValue && this.depth < maxDepth ? 'value or end' : undefined
      case '}':
      case ']': {
        const empty = token === '}' ? 'key or end' : 'value or end'
        return this.#ends.at(-1) === token && (next === 'comma or end' || next === empty) ? 'comma or end' : undefined
      }
      case ',':
        if (next !== 'comma or end') return undefined
        return this.#ends.at(-1) === '}' ? 'key' : 'value'
      case ':':
        return next === 'colon' ? 'value' : undefined
      case 'string':
        return this.wantsKey ? 'colon' : wantsValue ? 'comma or end' : undefined
      case 'scalar':
        return wantsValue ? 'comma or end' : undefined
    }
  }
}

/** What follows a mistake is given out as the model wrote it: the arguments are then no JSON, and show what is wrong with them. */
export class ObjectReader implements CallReader {
  readonly #structure: Structure
  readonly #dialect: Dialect
  readonly #outer: number
  #text = ''
  #at = 0
  #json = ''
  /** Ends the string that is open. */
  #quote: string | undefined
  #whole = false
  #broken = false
  #over = false

  /** @param outer objects around the arguments that are open already; they are read to their end and not given out */
  constructor(dialect: Dialect, outer = 0) {
    this.#dialect = dialect
    this.#outer = outer
    this.#structure = new Structure(outer)
  }

  get whole(): boolean {
    return this.#whole
  }

  get broken(): boolean {
    return this.#broken
  }

  get over(): boolean {
    return this.#over
  }

  get rest(): string {
    return this.#text
  }

  push(text: string, last: boolean): string {
    this.#text += text
    while (!this.#over && this.#at < this.#text.length && this.#step(last));
    this.#text = this.#text.slice(this.#at)
    this.#at = 0
    const json = this.#json
    this.#json = ''
    return json
  }

  #step(last: boolean): boolean {
    if (this.#broken) return this.#emit(this.#text.slice(this.#at), this.#text.length)
    if (this.#quote === '"') return this.#stepString(last)
    if (this.#quote !== undefined) return this.#stepQuoted(this.#quote, last)
    const space = this.#match(this.#dialect.space)
    if (space !== '') return this.#emit(this.#dialect.keepSpace ? space : '', this.#at + space.length)
    const char = this.#text[this.#at]!
    switch (char) {
      case '{':
      case '}':
      case '[':
      case ']':
      case ',':
      case ':':
        return this.#structure.take(char) ? this.#stepStructure(char) : this.#break()
      case '"':
        return this.#begin('"')
    }
    const { quote } = this.#dialect
    if (quote !== undefined && char === quote[0]) {
      if (this.#text.startsWith(quote, this.#at)) return this.#begin(quote)
      if (!last && quote.startsWith(this.#text.slice(this.#at))) return false
    }
    return this.#stepBare(last)
  }

  #stepStructure(token: string): boolean {
    this.#emit(token, this.#at + 1)
    if (this.#structure.depth <= this.#outer) this.#whole = true
    if (this.#structure.depth === 0) this.#over = true
    return true
  }

  #begin(quote: string): boolean {
    if (!this.#structure.take('string')) return this.#break()
    this.#quote = quote
    return this.#emit('"', this.#at + quote.length)
  }

  #stepString(last: boolean): boolean {
    const text = this.#match(plain)
    if (text !== '') return this.#emit(text, this.#at + text.length)
    if (this.#text[this.#at] === '"') {
      this.#quote = undefined
      return this.#emit('"', this.#at + 1)
    }
    const escaped = this.#match(escape)
    if (escaped !== '') return this.#emit(escaped, this.#at + escaped.length)
    if (!last && this.#match(begunEscape) !== '') return false
    return this.#break()
  }

  #stepQuoted(quote: string, last: boolean): boolean {
    const { at, marker } = findMarker(this.#text, [quote], last, this.#at)
    const said = this.#text.slice(this.#at, at)
    const end = marker === undefined && !last ? wholeCharacters(said) : said.length
    this.#emit(escapedText(said.slice(0, end)), this.#at + end)
    if (marker === undefined) return false
    this.#quote = undefined
    return this.#emit('"', at + marker.length)
  }

  #stepBare(last: boolean): boolean {
    const word = this.#match(bare)
    if (word === '' || word.length > maxWord) return this.#break()
    const end = this.#at + word.length
    // it may go on
    if (end === this.#text.length) return last ? this.#emit(word, end) : false
    const isKey = this.#structure.wantsKey
    const json = !isKey ? this.#dialect.scalar(word) : this.#dialect.bareKeys ? JSON.stringify(word) : undefined
    if (json === undefined || !this.#structure.take(isKey ? 'string' : 'scalar')) return this.#break()
    return this.#emit(json, end)
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at
    return pattern.exec(this.#text)?.[0] ?? ''
  }

  /** Goes on to `end`. */
  #emit(json: string, end: number): true {
    if (!this.#whole) this.#json += json
    this.#at = end
    return true
  }

  #break(): true {
    this.#broken = true
    // the arguments themselves are in order
    if (this.#whole) this.#over = true
    return true
  }
}
