// What an answer is made of, and the one rule about the white space between its parts.

/** A call as the model wrote it, read. */
export interface ToolCall {
  name: string
  /** The JSON text of an object. */
  arguments: string
}

/** What one piece of text brought of a call. */
export interface CallPart {
  /** With the first part of a call only. */
  name?: string
  /** New text of the arguments. All together are the JSON text of an object, unless the model made a mistake or was cut off. */
  arguments: string
}

/** What one piece of text brought. */
export interface AnswerPart {
  content: string
  reasoning: string
  calls: CallPart[]
}

/** Reads the text of one choice, piece by piece. How the text is cut into pieces changes nothing but when a part is given out. */
export interface AnswerParser {
  push(text: string): AnswerPart
  /**
   * The end of the text: what was held back is given out. Nothing may follow.
   * @param cut the model was not done
   */
  finish(cut: boolean): AnswerPart
  /** The text so far ends within reasoning. */
  readonly inReasoning: boolean
  /** The last thing said is a whole call. */
  readonly endsWithCall: boolean
  /** No further call is wanted: what comes after the last one is left out. */
  readonly full: boolean
}

const isSpace = (char: string | undefined): boolean => char === ' ' || char === '\n' || char === '\r' || char === '\t'

function spaceAt(text: string, end: 'start' | 'end'): number {
  let count = 0
  while (count < text.length && isSpace(end === 'start' ? text[count] : text[text.length - 1 - count])) count++
  return count
}

/** Text whose leading white space is dropped and whose trailing white space waits until more text follows. */
export class TrimmedText {
  #space = ''
  #some = false

  constructor(
    public dropsLeading: boolean,
    public dropsTrailing: boolean,
  ) {}

  get some(): boolean {
    return this.#some
  }

  push(text: string): string {
    const all = this.#space + text
    const end = all.length - spaceAt(all, 'end')
    this.#space = all.slice(end)
    if (end === 0) return ''
    const start = !this.#some && this.dropsLeading ? spaceAt(all, 'start') : 0
    this.#some = true
    return all.slice(start, end)
  }

  /** White space that no text follows. */
  rest(): string {
    const rest = this.dropsTrailing ? '' : this.#space
    this.#space = ''
    return rest
  }

  dropSpace(): void {
    this.#space = ''
  }
}

/**
 * Gathers what a parser finds. White space where the content or a piece of reasoning touches a block's border belongs to the
 * markup and is left out, at both ends; everything else stays as the model wrote it, streamed or not.
 */
export class Answer {
  readonly #content = new TrimmedText(false, false)
  #thought = new TrimmedText(true, true)
  #anyThought = false
  #afterBlock = false
  /** Calls that have ended. */
  #calls = 0
  #callOpen = false
  #endsWithCall = false
  #part: AnswerPart = { content: '', reasoning: '', calls: [] }

  /**
   * @param maxCalls nothing after that many calls is taken
   * @param thoughtsInBlocks false: all reasoning is one text, whatever comes between its pieces
   */
  constructor(
    private readonly maxCalls = Infinity,
    private readonly thoughtsInBlocks = true,
  ) {}

  get full(): boolean {
    return this.#calls >= this.maxCalls
  }

  get endsWithCall(): boolean {
    return this.#endsWithCall
  }

  /** Nothing has been said since the beginning or since the last block. */
  get atBorder(): boolean {
    return this.#afterBlock || !this.#content.some
  }

  content(text: string): void {
    if (this.full || text === '') return
    const said = this.#content.push(text)
    if (said === '') return
    this.#part.content += said
    this.#afterBlock = false
    this.#endsWithCall = false
  }

  reasoning(text: string): void {
    if (this.full || text === '') return
    const fresh = !this.#thought.some
    const said = this.#thought.push(text)
    if (said === '') return
    this.#part.reasoning += fresh && this.#anyThought ? `\n${said}` : said
    this.#anyThought = true
    this.#endsWithCall = false
  }

  /** A block, of whatever kind, begins or has ended here. */
  border(): void {
    this.#afterBlock = true
    if (this.thoughtsInBlocks) this.#thought = new TrimmedText(true, true)
    if (this.#content.some) return
    this.#content.dropsLeading = true
    this.#content.dropSpace()
  }

  /** A whole call. */
  call(call: ToolCall): void {
    this.beginCall(call.name)
    this.callArguments(call.arguments)
    this.endCall(true)
  }

  /** A call whose arguments follow. */
  beginCall(name: string): void {
    if (this.full) return
    this.border()
    this.#callOpen = true
    this.#endsWithCall = false
    this.#part.calls.push({ name, arguments: '' })
  }

  callArguments(text: string): void {
    if (!this.#callOpen || text === '') return
    const last = this.#part.calls.at(-1)
    if (last) last.arguments += text
    else this.#part.calls.push({ arguments: text })
  }

  /** The open call, if there is one, has ended. @param whole its arguments are complete */
  endCall(whole: boolean): void {
    if (!this.#callOpen) return
    this.#callOpen = false
    this.#calls++
    this.#endsWithCall = whole
  }

  /** What has come since the last take. */
  take(): AnswerPart {
    const part = this.#part
    this.#part = { content: '', reasoning: '', calls: [] }
    return part
  }

  /** The last part. */
  finish(): AnswerPart {
    this.#content.dropsTrailing = this.#afterBlock
    this.#part.content += this.full ? '' : this.#content.rest()
    return this.take()
  }
}
