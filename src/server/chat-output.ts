import type { GenerationDelta } from '../engine/types.js'
import { ChatChunks, ChatReply, type CompletionHead, type UsageCount } from '../protocol/chat-mapping.js'
import type { ChatRequest } from '../protocol/chat-schema.js'
import type { ApiError } from '../protocol/errors.js'
import type { Call } from './call.js'

/** Where a chat's deltas go: a stream of events or one reply. Nothing is called after `finish` or `fail`. */
export interface ChatOutput {
  /** The engine has accepted the request. */
  begin(): void
  delta(delta: GenerationDelta, usage: UsageCount, last: boolean): void
  finish(usage: UsageCount): void
  fail(error: ApiError): void
  /** Called about once a second. */
  tick(now: number): void
}

/** What a streamed output needs of the generation behind it. */
export interface FlowControl {
  pause(): void
  resume(): void
}

/**
 * Server-sent events: what one engine step brings to the request's choices leaves in one write. The status line goes
 * with the first of them, so that a request which fails while it waits still gets a status that says so; one that waits
 * for long is told with the role chunk and keep-alives that it has been accepted.
 */
export class StreamedOutput implements ChatOutput {
  readonly #chunks: ChatChunks
  #opened = false
  #pending = ''
  #scheduled = false
  #lastWrite = performance.now()

  constructor(
    readonly call: Call,
    readonly request: ChatRequest,
    head: CompletionHead,
    readonly flow: FlowControl,
  ) {
    this.#chunks = new ChatChunks(head, request.usage)
  }

  begin(): void {
    this.#lastWrite = performance.now()
  }

  delta(delta: GenerationDelta, usage: UsageCount, last: boolean): void {
    this.#open()
    const { choice, text, finishReason } = delta
    const logprobs = this.request.generate.params.logprobs && delta.logprobs?.length ? delta.logprobs : undefined
    if (text !== '' || logprobs) this.#pending += this.#chunks.content(choice, text, logprobs)
    if (finishReason === 'stop' || finishReason === 'length') {
      this.#pending += this.#chunks.finish(choice, finishReason, last ? usage : undefined)
    }
    if (this.#pending === '' || this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.#flush()
    })
  }

  finish(usage: UsageCount): void {
    this.#end(this.#chunks.done(usage))
  }

  fail(error: ApiError): void {
    if (this.#opened) this.#end(this.#chunks.error(error))
    else this.call.fail(error)
  }

  tick(now: number): void {
    if (now - this.#lastWrite < this.call.context.options.keepAliveMs || this.call.exchange.closed) return
    this.#open()
    this.#pending += ': keep-alive\n\n'
    this.#flush()
  }

  #open(): void {
    if (this.#opened) return
    this.#opened = true
    this.call.beginEvents()
    this.call.exchange.onWritable(() => this.flow.resume())
    const choices = this.request.generate.n ?? 1
    for (let choice = 0; choice < choices; choice++) this.#pending += this.#chunks.role(choice)
  }

  #flush(): void {
    if (this.#pending === '') return
    const text = this.#pending
    this.#pending = ''
    this.#lastWrite = performance.now()
    if (!this.call.exchange.write(text)) this.flow.pause()
  }

  #end(text: string): void {
    const all = this.#pending + text
    this.#pending = ''
    this.call.exchange.end(all)
  }
}

/** One JSON reply at the end. */
export class WholeOutput implements ChatOutput {
  readonly #reply: ChatReply

  constructor(
    readonly call: Call,
    request: ChatRequest,
    head: CompletionHead,
  ) {
    this.#reply = new ChatReply(head, request.generate.n ?? 1, request.generate.params.logprobs ?? false)
  }

  begin(): void {
    // the status is known only at the end
  }

  delta(delta: GenerationDelta): void {
    this.#reply.add(delta)
  }

  finish(usage: UsageCount): void {
    this.call.sendJson(200, this.#reply.render(usage))
  }

  fail(error: ApiError): void {
    this.call.fail(error)
  }

  tick(): void {
    // nothing can be said before the reply
  }
}
