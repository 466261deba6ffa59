// Answers whose reasoning and calls stand between markers: one machine, each notation is a table of blocks.
import type { ToolCall } from './answer.js'
import { type CallReader, type CallStart, maxCallHead } from './call-reader.js'
import { findMarker } from './markers.js'
import type { ParserOptions, ToolSchemas } from './format.js'
import { PiecewiseParser } from './piecewise-parser.js'

/** A region of the text between two markers. */
export type Block =
  | {
      kind: 'reasoning'
      open: string
      close: string
      /** The opening marker is a token of its own that nobody writes by accident; otherwise it counts only where no content stands before. */
      control: boolean
    }
  | {
      kind: 'call'
      open: string
      close: string
      /** The call that the text behind the opening marker begins, as soon as its name and where its arguments begin are known. */
      start: (body: string, tools: ToolSchemas) => CallStart | undefined
      /** The calls that the whole text between the markers makes where none has started; undefined when it makes none. */
      read: (body: string, tools: ToolSchemas) => ToolCall[] | undefined
      /** Strings of the body are JSON's: a closing marker within one does not close. */
      jsonStrings: boolean
    }

export interface MarkupNotation {
  blocks: readonly Block[]
  /** Markers that mean nothing where they stand alone; they are left out of the content. */
  strays: readonly string[]
}

/** How many of the prompt's last characters are looked at. */
const promptTail = 256

type CallBlock = Block & { kind: 'call' }

/** Text between a call that is over and its closing marker: content, but for the white space at its beginning. */
interface BehindCall {
  close: string
  said: boolean
}
const leadingSpace = /^[ \t\r\n]+/

export class MarkupParser extends PiecewiseParser {
  readonly #blocks: readonly Block[]
  readonly #markers: readonly string[]
  readonly #tools: ToolSchemas
  #block: Block | undefined
  /** Reads the arguments of the call that is open. */
  #reader: CallReader | undefined
  #behind: BehindCall | undefined
  // within a call's body: how far its end has been searched for, how far its strings have been, and whether that is inside of one
  #searched = 0
  #scanned = 0
  #inString = false
  // the body has proved to be broken: its first closing marker closes
  #strict = false

  constructor(notation: MarkupNotation, prompt: string, options: ParserOptions) {
    super(options.maxCalls)
    this.#tools = options.tools
    this.#blocks = options.readCalls ? notation.blocks : notation.blocks.filter((block) => block.kind !== 'call')
    const opens = this.#blocks.map((block) => block.open)
    this.#markers = [...opens, ...notation.strays]
    const tail = prompt.slice(-promptTail).trimEnd()
    for (const block of this.#blocks) {
      if (tail.endsWith(block.close.trimEnd())) this.answer.border()
      else if (block.kind === 'reasoning' && tail.endsWith(block.open.trimEnd())) this.#enter(block)
    }
  }

  get inReasoning(): boolean {
    return this.#block?.kind === 'reasoning'
  }

  protected step(): boolean {
    if (this.#block?.kind === 'call') return this.#stepCall(this.#block)
    return this.#block ? this.#stepReasoning(this.#block) : this.#stepContent()
  }

  protected end(): void {
    // every block that was open has been ended by the last steps
  }

  #stepContent(): boolean {
    const behind = this.#behind
    if (behind) this.#skipBehindCall(behind)
    const { at, marker } = findMarker(this.text, behind ? [...this.#markers, behind.close] : this.#markers, this.ended)
    if (behind && at > 0) behind.said = true
    this.answer.content(this.text.slice(0, at))
    this.text = this.text.slice(at + (marker?.length ?? 0))
    if (marker === undefined) return false
    const block = this.#blocks.find(({ open }) => open === marker)
    if (!block) this.answer.border()
    else if (block.kind === 'reasoning' && !block.control && !this.answer.atBorder) this.answer.content(marker)
    else this.#enter(block)
    if (this.#block || marker === behind?.close) this.#behind = undefined
    return true
  }

  #skipBehindCall({ close, said }: BehindCall): void {
    if (!said) this.text = this.text.replace(leadingSpace, '')
    if (this.ended) this.text = this.text.slice(0, this.#endBefore(close))
  }

  /** The end of the text, without a closing marker that was cut in two. */
  #endBefore(close: string): number {
    const { at, marker } = findMarker(this.text, [close], false, Math.max(0, this.text.length - close.length))
    return marker === undefined ? at : this.text.length
  }

  #stepReasoning(block: Block): boolean {
    const { at, marker } = findMarker(this.text, [block.close], this.ended)
    this.answer.reasoning(this.text.slice(0, at))
    this.text = this.text.slice(at + (marker?.length ?? 0))
    if (marker === undefined) return false
    this.#block = undefined
    this.answer.border()
    return true
  }

  #stepCall(block: CallBlock): boolean {
    const reader = this.#reader
    // what a reader has not been given may be a closing marker that was cut in two
    const { at, marker } = findMarker(this.text, [block.close], this.ended && !reader, this.#searched)
    if (block.jsonStrings && !this.#strict) this.#scanStrings(at)
    if (reader) return this.#stepReader(block, reader, at, marker)
    if (this.#start(block, at)) return true
    this.#searched = at
    if (marker === undefined) return this.ended && this.#giveUpCall(block)
    const calls = block.read(this.text.slice(0, at), this.#tools)
    if (!calls && this.#inString) {
      this.#searched = at + marker.length
      return true
    }
    this.#endBlock(block, calls, at + marker.length)
    return true
  }

  /** Begins the call if its text up to `end` says enough. */
  #start(block: CallBlock, end: number): boolean {
    if (this.#searched > maxCallHead) return false
    const start = block.start(this.text.slice(0, end), this.#tools)
    if (!start) return false
    this.answer.beginCall(start.name)
    this.#reader = start.reader
    this.#drop(start.at)
    return true
  }

  /** @param at where the closing marker begins, or might; the arguments are read up to there */
  #stepReader(block: CallBlock, reader: CallReader, at: number, marker: string | undefined): boolean {
    this.#feed(reader, at, false)
    if (reader.over) {
      this.text = reader.rest + this.text
      this.#behind = { close: block.close, said: false }
      this.#endReader(reader)
      return true
    }
    if (marker === undefined && !this.ended) return false
    if (this.#inString && !reader.broken && this.text !== '') {
      this.#feed(reader, marker?.length ?? this.text.length, false)
      return true
    }
    this.#feed(reader, 0, true)
    this.#drop(marker?.length ?? this.text.length)
    this.#endReader(reader)
    this.answer.content(reader.rest)
    return true
  }

  #feed(reader: CallReader, end: number, last: boolean): void {
    this.answer.callArguments(reader.push(this.text.slice(0, end), last))
    // what closes the call around its arguments is not waited for
    if (reader.whole) this.answer.endCall(true)
    this.#drop(end)
  }

  #endReader(reader: CallReader): void {
    this.answer.endCall(reader.whole)
    this.#reader = undefined
    this.#block = undefined
  }

  // the end of the text within a call that has not begun: whole but for its marker, or cut off
  #giveUpCall(block: CallBlock): boolean {
    // half a name may read like a whole one, but for JSON
    const half = this.cut && !block.jsonStrings
    const calls = half ? undefined : block.read(this.text.slice(0, this.#endBefore(block.close)), this.#tools)
    const first = calls ? -1 : this.text.indexOf(block.close)
    this.#strict = true
    this.#endBlock(block, calls, first < 0 ? this.text.length : first + block.close.length)
    return true
  }

  // ends a call that has not begun at `end`; what cannot be read as one is content, markers included
  #endBlock(block: CallBlock, calls: ToolCall[] | undefined, end: number): void {
    if (calls) for (const call of calls) this.answer.call(call)
    else this.answer.content(block.open + this.text.slice(0, end))
    this.#block = undefined
    this.#drop(end)
  }

  #drop(end: number): void {
    this.text = this.text.slice(end)
    this.#searched = 0
    this.#scanned = Math.max(0, this.#scanned - end)
  }

  #enter(block: Block): void {
    this.#block = block
    this.#searched = 0
    this.#scanned = 0
    this.#inString = false
    if (block.kind === 'reasoning') this.answer.border()
  }

  #scanStrings(end: number): void {
    while (this.#scanned < end) {
      const char = this.text[this.#scanned++]
      if (char === '"') this.#inString = !this.#inString
      // the escaped character is passed over, even where it has not come yet
      else if (char === '\\' && this.#inString) this.#scanned++
    }
  }
}
