// Answers whose reasoning and calls stand between markers: one machine, each notation is a table of blocks.
import { Answer, type AnswerParser, type AnswerPart, type ToolCall } from './answer.js'
import { findMarker } from './markers.js'
import type { ParserOptions, ToolSchemas } from './format.js'

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
      /** The calls that the text between the markers makes; undefined when it makes none. */
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

export class MarkupParser implements AnswerParser {
  readonly #answer: Answer
  readonly #blocks: readonly Block[]
  readonly #markers: readonly string[]
  readonly #tools: ToolSchemas
  #block: Block | undefined
  #text = ''
  #ended = false
  // within a call's body: how far its end has been searched for, how far its strings have been, and whether that is inside of one
  #searched = 0
  #scanned = 0
  #inString = false
  // the body has proved to be broken: its first closing marker closes
  #strict = false

  constructor(notation: MarkupNotation, prompt: string, options: ParserOptions) {
    this.#answer = new Answer(options.maxCalls)
    this.#tools = options.tools
    this.#blocks = options.readCalls ? notation.blocks : notation.blocks.filter((block) => block.kind !== 'call')
    const opens = this.#blocks.map((block) => block.open)
    this.#markers = [...opens, ...notation.strays]
    const tail = prompt.slice(-promptTail).trimEnd()
    for (const block of this.#blocks) {
      if (tail.endsWith(block.close.trimEnd())) this.#answer.border()
      else if (block.kind === 'reasoning' && tail.endsWith(block.open.trimEnd())) this.#enter(block)
    }
  }

  get inReasoning(): boolean {
    return this.#block?.kind === 'reasoning'
  }

  get endsWithCall(): boolean {
    return this.#answer.endsWithCall
  }

  get full(): boolean {
    return this.#answer.full
  }

  push(text: string): AnswerPart {
    this.#text += text
    while (this.#step());
    return this.#answer.take()
  }

  finish(): AnswerPart {
    this.#ended = true
    while (this.#step() || this.#giveUpCall());
    return this.#answer.finish()
  }

  /** Takes the text as far as the next marker. False: more text is needed. */
  #step(): boolean {
    if (this.#block?.kind === 'call') return this.#stepCall(this.#block)
    return this.#block ? this.#stepReasoning(this.#block) : this.#stepContent()
  }

  #stepContent(): boolean {
    const { at, marker } = findMarker(this.#text, this.#markers, this.#ended)
    this.#answer.content(this.#text.slice(0, at))
    this.#text = this.#text.slice(at + (marker?.length ?? 0))
    if (marker === undefined) return false
    const block = this.#blocks.find(({ open }) => open === marker)
    if (!block) this.#answer.border()
    else if (block.kind === 'reasoning' && !block.control && !this.#answer.atBorder) this.#answer.content(marker)
    else this.#enter(block)
    return true
  }

  #stepReasoning(block: Block): boolean {
    const { at, marker } = findMarker(this.#text, [block.close], this.#ended)
    this.#answer.reasoning(this.#text.slice(0, at))
    this.#text = this.#text.slice(at + (marker?.length ?? 0))
    if (marker === undefined) return false
    this.#block = undefined
    this.#answer.border()
    return true
  }

  #stepCall(block: Block & { kind: 'call' }): boolean {
    const { at, marker } = findMarker(this.#text, [block.close], this.#ended, this.#searched)
    if (block.jsonStrings && !this.#strict) this.#scanStrings(at)
    this.#searched = at
    if (marker === undefined) return false
    const calls = block.read(this.#text.slice(0, at), this.#tools)
    if (!calls && this.#inString) {
      this.#searched = at + marker.length
      return true
    }
    this.#text = this.#close(block, calls, at + marker.length)
    return true
  }

  // the end of the text within a call: whole but for its marker, or cut off. True: there is text left to read.
  #giveUpCall(): boolean {
    const block = this.#block
    if (block?.kind !== 'call') return false
    // the closing marker may have been cut in two
    const calls = block.read(
      this.#text.slice(0, findMarker(this.#text, [block.close], false, Math.max(0, this.#text.length - block.close.length)).at),
      this.#tools,
    )
    const first = calls ? -1 : this.#text.indexOf(block.close)
    this.#strict = true
    this.#text = this.#close(block, calls, first < 0 ? this.#text.length : first + block.close.length)
    return true
  }

  // ends the call at `end`; what cannot be read as one is content, markers included. Returns the text after it.
  #close(block: Block, calls: ToolCall[] | undefined, end: number): string {
    const rest = this.#text.slice(end)
    if (calls) for (const call of calls) this.#answer.call(call)
    else this.#answer.content(block.open + this.#text.slice(0, end))
    this.#block = undefined
    return rest
  }

  #enter(block: Block): void {
    this.#block = block
    this.#searched = 0
    this.#scanned = 0
    this.#inString = false
    if (block.kind === 'reasoning') this.#answer.border()
  }

  #scanStrings(end: number): void {
    while (this.#scanned < end) {
      const char = this.#text[this.#scanned++]
      if (char === '"') this.#inString = !this.#inString
      // the escaped character is passed over, even where it has not come yet
      else if (char === '\\' && this.#inString) this.#scanned++
    }
  }
}
