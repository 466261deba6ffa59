// Between the engine's deltas and their reader: turns the text of one choice into content, reasoning and tool calls.
import { randomBytes } from 'node:crypto'
import type { GenerationDelta, ToolCallDelta } from '../types.js'
import type { AnswerParser, AnswerPart, CallPart } from './answer.js'

/** Ids of calls are ours and cannot be guessed: a client's own id may be in use twice. */
export const newCallId = (): string => `call_${randomBytes(12).toString('hex')}`

export class AnswerReader {
  #calls = 0
  #reasoningTokens = 0
  #done = false

  constructor(
    private readonly parser: AnswerParser,
    private readonly newId: () => string = newCallId,
  ) {}

  /** The answer is complete although the engine goes on: its further deltas are not wanted. */
  get done(): boolean {
    return this.#done
  }

  /** The delta as its reader sees it. A token counts as reasoning when reasoning stands before or after it. */
  read(delta: GenerationDelta): GenerationDelta {
    const { parser } = this
    const before = parser.inReasoning
    const parts = [parser.push(delta.text)]
    const thought = before || parser.inReasoning
    if (thought) this.#reasoningTokens += delta.tokens.length
    if (delta.finishReason) parts.push(parser.finish(delta.finishReason !== 'stop'))
    const read: GenerationDelta = { ...delta, text: parts.map(({ content }) => content).join('') }
    const reasoning = parts.map((part) => part.reasoning).join('')
    if (reasoning !== '') read.reasoning = reasoning
    const calls = parts.flatMap((part: AnswerPart) => part.calls)
    if (calls.length > 0) read.toolCalls = calls.map((call) => this.#callDelta(call))
    if (thought && this.#reasoningTokens > 0) read.reasoningTokens = this.#reasoningTokens
    this.#finish(read)
    return read
  }

  #finish(read: GenerationDelta): void {
    const { finishReason } = read
    if (this.parser.full && (!finishReason || finishReason === 'abort')) {
      read.finishReason = 'tool_calls'
      this.#done = true
      return
    }
    // an answer that was cut off right behind a whole call has lost nothing
    const whole = finishReason === 'stop' || (finishReason === 'length' && this.parser.endsWithCall)
    if (whole && this.#calls > 0) read.finishReason = 'tool_calls'
  }

  #callDelta({ name, arguments: text }: CallPart): ToolCallDelta {
    if (name === undefined) return { index: this.#calls - 1, arguments: text }
    return { index: this.#calls++, id: this.newId(), name, arguments: text }
  }
}
