// What all parsers of answers share: text comes in pieces, is read step by step, and what it brought is handed on.
import { Answer, type AnswerParser, type AnswerPart } from './answer.js'

export abstract class PiecewiseParser implements AnswerParser {
  protected readonly answer: Answer
  /** What has not been read yet. */
  protected text = ''
  /** No more text follows. */
  protected ended = false
  /** The model was not done when it ended. */
  protected cut = false

  constructor(maxCalls: number, thoughtsInBlocks = true) {
    this.answer = new Answer(maxCalls, thoughtsInBlocks)
  }

  abstract get inReasoning(): boolean

  get endsWithCall(): boolean {
    return this.answer.endsWithCall
  }

  get full(): boolean {
    return this.answer.full
  }

  push(text: string): AnswerPart {
    this.text += text
    while (this.step());
    return this.answer.take()
  }

  finish(cut: boolean): AnswerPart {
    this.ended = true
    this.cut = cut
    while (this.step());
    this.end()
    return this.answer.finish()
  }

  /** Reads as far as the next mark. False: more text is needed, or none is left. */
  protected abstract step(): boolean

  /** The end of the text, all steps done. */
  protected abstract end(): void
}
