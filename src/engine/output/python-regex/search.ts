// The search for a pattern in a text that arrives in pieces. All readings of the text are followed side by side, the preferred ones first, so
// that it is known at any time what they agree on.
import type { Instruction, Program } from './program.js'
import type { PlaceKind } from './syntax.js'

/** What the searches in one answer may cost together, in instructions. */
export interface Budget {
  steps: number
}

/** The budget is spent. */
export class SearchLimit extends Error {
  override readonly name = 'SearchLimit'
}

/** A part of the text, in UTF-16 units. */
export interface Span {
  start: number
  end: number
  /** The group has ended. */
  closed: boolean
}

export interface Match {
  start: number
  end: number
  /** By number of the group; 0 is the match. undefined: it took no part. */
  spans: readonly (Span | undefined)[]
}

/** Of a group: where it began and ended (-1: not yet) and whether a marker stood before it. */
const slots = 3

interface Thread {
  at: number
  captures: readonly number[]
  /** How many characters in a row, the last one among them, could only be these. */
  run: number
  /** A marker has been found. */
  marked: boolean
}

const moved = ({ captures, run, marked }: Thread, at: number, others = captures): Thread => ({ at, captures: others, run, marked })

/** A marker is that many fixed characters in a row. */
const markerLength = 3

const isWord = (char: string): boolean => /^[\p{L}\p{N}_]$/u.test(char)
const isHigh = (text: string, at: number): boolean => (text.charCodeAt(at) & 0xfc00) === 0xd800
const isLow = (text: string, at: number): boolean => (text.charCodeAt(at) & 0xfc00) === 0xdc00

const charAt = (text: string, at: number): string => String.fromCodePoint(text.codePointAt(at)!)
const before = (text: string, at: number): number => (at > 1 && isLow(text, at - 1) && isHigh(text, at - 2) ? at - 2 : at - 1)

/** undefined: the text that follows decides. */
function isPlace(place: PlaceKind, text: string, at: number, ended: boolean): boolean | undefined {
  const atEnd = at === text.length
  switch (place) {
    case '^':
    case '\\A':
      return at === 0
    case '\\Z':
      return atEnd && (ended || undefined)
    case '$':
      return (atEnd || (at === text.length - 1 && text[at] === '\n')) && (ended || undefined)
    default: {
      if (atEnd && !ended) return undefined
      const border = (at > 0 && isWord(charAt(text, before(text, at)))) !== (!atEnd && isWord(charAt(text, at)))
      return border === (place === '\\b')
    }
  }
}

export interface SearchOptions {
  from?: number
  /** The match begins at `from`. */
  anchored?: boolean
  /** A match of nothing at `from` does not count. */
  mustAdvance?: boolean
}

export class Search {
  #threads: Thread[] = []
  #found: Match | undefined
  #winner: Thread | undefined
  #at: number
  #done = false
  readonly #first: number
  /** Looks ahead that the text has not decided yet: instruction -> search, all from #at. */
  #looks = new Map<number, Search>()
  readonly #seen: Uint32Array
  #round = 0
  /** Instructions of the last round. */
  #cost = 0

  constructor(
    private readonly program: Program,
    private readonly budget: Budget,
    private readonly options: SearchOptions = {},
  ) {
    this.#first = options.from ?? 0
    this.#at = this.#first
    this.#seen = new Uint32Array(program.code.length)
    if (options.anchored) this.#threads.push(this.#fresh())
  }

  /** The match is known: `match`, or there is none. */
  get done(): boolean {
    return this.#done
  }

  /** The preferred match so far; the one when the search is done. */
  get match(): Match | undefined {
    return this.#found
  }

  /** The same search from its beginning. */
  again(): Search {
    return new Search(this.program, this.budget, this.options)
  }

  /** Reads to the end of the text. @param ended no more text follows */
  run(text: string, ended: boolean): Match | undefined {
    while (this.step(text, ended));
    return this.#found
  }

  /** Reads one character. False: more text is needed, or the search is done. Throws a SearchLimit. */
  step(text: string, ended: boolean): boolean {
    if (this.#done) return false
    const at = this.#at
    const atEnd = at >= text.length
    if (!ended && (atEnd || (at === text.length - 1 && isHigh(text, at)))) return false
    const threads = this.#closure(text, ended)
    if (!threads) return false
    this.budget.steps -= this.#cost
    if (this.budget.steps < 0) throw new SearchLimit('a pattern took too many steps')
    this.#looks.clear()
    const char = atEnd ? '' : charAt(text, at)
    this.#threads = atEnd ? [] : this.#consume(threads, char)
    this.#at += char.length
    this.#done = atEnd || (this.#threads.length === 0 && (this.#found !== undefined || this.options.anchored === true))
    return !this.#done
  }

  /** Where every reading that is left sees a group. undefined: they do not agree. `sure`: one of them will match, whatever follows. */
  settled(group: number): { span: Span; sure: boolean } | undefined {
    let span: Span | undefined
    for (const { captures } of this.#left()) {
      const one = this.#spanOf(captures, group)
      if (!one || (span && span.start !== one.start)) return undefined
      span = span ? this.#common(span, one) : one
    }
    return span && { span, sure: this.#found !== undefined || this.#threads.some(({ at }) => this.program.sure.has(at)) }
  }

  /**
   * A bet on where a group is: as the preferred reading sees it, where that found a marker before the group. The preferred one of those that
   * would match if the text ended here must agree, if they found a marker, and no other one may be within a marker.
   */
  likely(group: number): Span | undefined {
    const readings = this.#left()
    const first = readings[0]
    const span = first?.captures[group * slots + 2] === 1 ? this.#spanOf(first.captures, group) : undefined
    const ending = readings.find(({ at, marked }) => marked && this.program.final.has(at))
    if (!span || (ending && this.#spanOf(ending.captures, group)?.start !== span.start)) return undefined
    let all = span
    for (const reading of readings) {
      const other = this.#spanOf(reading.captures, group)
      if (other?.start === span.start) all = this.#common(all, other)
      else if (reading.run > 0) return undefined
    }
    return all
  }

  #common(a: Span, b: Span): Span {
    return { start: a.start, end: Math.min(a.end, b.end), closed: a.closed && b.closed && a.end === b.end }
  }

  /** The readings that can still win, the preferred one first. */
  #left(): readonly Thread[] {
    const sure = this.#threads.findIndex(({ at }) => this.program.sure.has(at))
    if (sure >= 0) return this.#threads.slice(0, sure + 1)
    return this.#winner ? [...this.#threads, this.#winner] : this.#threads
  }

  #spanOf(captures: readonly number[], group: number): Span | undefined {
    const start = captures[group * slots]!
    const end = captures[group * slots + 1]!
    if (start < 0) return undefined
    return end < 0 ? { start, end: this.#at, closed: false } : { start, end, closed: true }
  }

  #fresh(): Thread {
    const captures = new Array<number>((this.program.groups + 1) * slots).fill(-1)
    captures[0] = this.#at
    return { at: 0, captures, run: 0, marked: false }
  }

  #consume(threads: readonly Thread[], char: string): Thread[] {
    const { code } = this.program
    const next: Thread[] = []
    for (const { at, captures, run, marked } of threads) {
      const one = code[at] as Instruction & { op: 'one' }
      if (!one.takes(char)) continue
      const row = one.literal ? run + 1 : 0
      next.push({ at: at + 1, captures, run: row, marked: marked || row >= markerLength })
    }
    return next
  }

  /** The threads that wait for a character. undefined: which ones those are depends on text that has not come yet. */
  #closure(text: string, ended: boolean): Thread[] | undefined {
    const { code } = this.program
    const ready: Thread[] = []
    this.#round++
    this.#cost = 1
    const stack = [...this.#threads].reverse()
    if (!this.options.anchored && !this.#found) stack.unshift(this.#fresh())
    while (stack.length > 0) {
      const thread = stack.pop()!
      const { at, captures } = thread
      if (this.#seen[at] === this.#round) continue
      this.#seen[at] = this.#round
      this.#cost++
      const instruction = code[at]!
      switch (instruction.op) {
        case 'one':
          ready.push(thread)
          break
        case 'split':
          for (let index = instruction.to.length - 1; index >= 0; index--) stack.push(moved(thread, instruction.to[index]!))
          break
        case 'open':
        case 'close':
          stack.push(moved(thread, at + 1, this.#captured(instruction, thread)))
          break
        case 'match':
          if (this.options.mustAdvance && this.#at === this.#first && captures[0] === this.#first) break
          this.#setFound(thread)
          return ready
        default: {
          const holds =
            instruction.op === 'place' ? isPlace(instruction.place, text, this.#at, ended) : this.#looksAt(at, instruction, text, ended)
          if (holds === undefined) return undefined
          if (holds) stack.push(moved(thread, at + 1))
        }
      }
    }
    return ready
  }

  #captured({ op, group }: Instruction & { op: 'open' | 'close' }, { captures, marked }: Thread): number[] {
    const copy = [...captures]
    if (op === 'close') copy[group * slots + 1] = this.#at
    else copy.splice(group * slots, slots, this.#at, -1, marked ? 1 : 0)
    return copy
  }

  #setFound({ at, captures, marked }: Thread): void {
    const all = [...captures]
    all[1] = this.#at
    this.#winner = { at, captures: all, run: 0, marked }
    const spans = Array.from({ length: this.program.groups + 1 }, (_, group) => this.#spanOf(all, group))
    this.#found = { start: all[0]!, end: this.#at, spans: spans.map((span) => (span?.closed ? span : undefined)) }
  }

  #looksAt(
    instruction: number,
    { body, ahead, negative, width }: Instruction & { op: 'look' },
    text: string,
    ended: boolean,
  ): boolean | undefined {
    if (!ahead) {
      let from = this.#at
      for (let count = 0; count < width; count++) from = from > 0 ? before(text, from) : -1
      const seen = from >= 0 && new Search(body, this.budget, { from, anchored: true }).run(text.slice(0, this.#at), true) !== undefined
      return seen !== negative
    }
    let look = this.#looks.get(instruction)
    if (!look) {
      look = new Search(body, this.budget, { from: this.#at, anchored: true })
      this.#looks.set(instruction, look)
    }
    while (!look.match && look.step(text, ended));
    if (look.match) return !negative
    return look.done ? negative : undefined
  }
}

/** All matches in a whole text, one behind the other. Throws a SearchLimit. */
export function* findAll(program: Program, text: string, budget: Budget): Generator<Match> {
  let from = 0
  let mustAdvance = false
  while (from <= text.length) {
    const match = new Search(program, budget, { from, mustAdvance }).run(text, true)
    if (!match) return
    yield match
    from = match.end
    mustAdvance = match.start === match.end
  }
}
