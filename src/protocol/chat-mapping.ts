import { randomBytes } from 'node:crypto'
import type { FinishReason, GenerationDelta, TokenLogprob } from '../engine/types.js'
import { errorObject, type ApiError } from './errors.js'
import type { UsageMode } from './chat-schema.js'

/** An id of our own, never the client's: two live requests may carry the same header. */
export function completionId(): string {
  return `chatcmpl-${randomBytes(16).toString('hex')}`
}

/** Token counts of one request: the prompt once, the output of all choices. */
export class UsageCount {
  promptTokens = 0
  cachedTokens = 0
  readonly #output: number[] = []

  add(delta: GenerationDelta): void {
    this.promptTokens = delta.promptTokens
    this.cachedTokens = Math.max(this.cachedTokens, delta.cachedTokens)
    this.#output[delta.choice] = delta.outputTokens
  }

  get outputTokens(): number {
    return this.#output.reduce((sum, count) => sum + (count ?? 0), 0)
  }

  /** OpenAI's usage object, keys in the order of transformers serve. */
  toJSON(): object {
    const output = this.outputTokens
    return {
      completion_tokens: output,
      prompt_tokens: this.promptTokens,
      total_tokens: this.promptTokens + output,
      prompt_tokens_details: { cached_tokens: this.cachedTokens },
    }
  }
}

/** 'abort' and 'error' never reach the wire as a finish reason: they become errors. */
export type WireFinishReason = Extract<FinishReason, 'stop' | 'length'>

/** What every chunk and reply of one completion repeats. */
export interface CompletionHead {
  id: string
  /** `id@revision` */
  model: string
  /** Unix seconds. */
  created: number
}

/** Writes the server-sent events of one streamed completion; each function returns whole events. */
export class ChatChunks {
  // the text around a choice is the same in each chunk: it is made once
  readonly #before: string
  readonly #after: string

  constructor(
    readonly head: CompletionHead,
    readonly usageMode: UsageMode,
  ) {
    this.#before = `data: {"id":${JSON.stringify(head.id)},"choices":[`
    this.#after = `],"created":${head.created},"model":${JSON.stringify(head.model)},"object":"chat.completion.chunk","system_fingerprint":""`
  }

  role(choice: number): string {
    return `${this.#before}{"delta":{"role":"assistant"},"index":${choice}}${this.#after}}\n\n`
  }

  /** @param logprobs those of the tokens that the text came from; they may come without text */
  content(choice: number, text: string, logprobs?: readonly TokenLogprob[]): string {
    const tail = logprobs ? `,"logprobs":{"content":${JSON.stringify(logprobs)}}` : ''
    return `${this.#before}{"delta":{"content":${JSON.stringify(text)}},"index":${choice}${tail}}${this.#after}}\n\n`
  }

  /** @param usage only with the last choice of the request */
  finish(choice: number, reason: WireFinishReason, usage?: UsageCount): string {
    const counted = usage && this.usageMode === 'finish' ? `,"usage":${JSON.stringify(usage)}` : ''
    return `${this.#before}{"delta":{},"finish_reason":"${reason}","index":${choice}}${this.#after}${counted}}\n\n`
  }

  /** What follows the last choice: the usage where it was asked for, and the end mark. */
  done(usage: UsageCount): string {
    const counted = this.usageMode === 'chunk' ? `${this.#before}${this.#after},"usage":${JSON.stringify(usage)}}\n\n` : ''
    return `${counted}data: [DONE]\n\n`
  }
}

/** The last event of a stream that failed; no end mark follows. */
export function errorEvent(error: ApiError): string {
  return `data: ${JSON.stringify({ error: errorObject(error) })}\n\n`
}

/** Gathers the deltas of one completion into a whole reply. */
export class ChatReply {
  readonly #choices: { text: string[]; logprobs: TokenLogprob[] | undefined; reason: WireFinishReason }[]

  constructor(
    readonly head: CompletionHead,
    choices: number,
    logprobs: boolean,
  ) {
    this.#choices = Array.from({ length: choices }, () => ({ text: [], logprobs: logprobs ? [] : undefined, reason: 'stop' as const }))
  }

  add(delta: GenerationDelta): void {
    const choice = this.#choices[delta.choice]
    if (!choice) return
    if (delta.text !== '') choice.text.push(delta.text)
    if (delta.logprobs) choice.logprobs?.push(...delta.logprobs)
    if (delta.finishReason === 'length') choice.reason = 'length'
  }

  render(usage: UsageCount): string {
    return JSON.stringify({
      id: this.head.id,
      choices: this.#choices.map((choice, index) => ({
        finish_reason: choice.reason,
        index,
        message: { content: choice.text.join(''), role: 'assistant' },
        ...(choice.logprobs ? { logprobs: { content: choice.logprobs } } : {}),
      })),
      created: this.head.created,
      model: this.head.model,
      object: 'chat.completion',
      usage,
    })
  }
}
