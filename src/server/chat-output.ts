import type { GenerationDelta } from '../engine/types.js'
import { ChatChunks, ChatReply, errorEvent, type CompletionHead, type UsageCount } from '../protocol/chat-mapping.js'
import type { ChatRequest } from '../protocol/chat-schema.js'
import type { ApiError } from '../protocol/errors.js'
import type { Call } from './call.js'

/** Where a chat's deltas go: a stream of events or one reply. Nothing is called after `finish` or `fail`, which may come before `begin`. */
export interface ChatOutput {
  /** The engine has accepted the request. */
  begin(head: CompletionHead): void
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
  /** The comment that a silent stream gets. */
  keepAlive(): string
}

/**
 * Server-sent events: what one engine step brings to the request's choices leaves in one write. The status line goes
 * with the first of them, so that a request which fails while it waits still gets a status that says so; one that waits
 * for long, for its model to load or for its turn, gets keep-alives meanwhile.
 */
export class StreamedOutput implements ChatOutput {
  #chunks: ChatChunks | undefined
  // the status line is out; the roles are
  #opened = false
  #introduced = false
  #pending = ''
  #scheduled = false
  #lastWrite = performance.now()

  constructor(
    readonly call: Call,
    readonly request: ChatRequest,
    readonly flow: FlowControl,
  ) {}

  begin(head: CompletionHead): void {
    this.#chunks = new ChatChunks(head, this.request.usage)
    this.#lastWrite = performance.now()
  }

  delta(delta: GenerationDelta, usage: UsageCount, last: boolean): void {
    const chunks = this.#introduce()
    const { choice, finishReason } = delta
    this.#pending += chunks.delta(delta)
    if (finishReason !== undefined && finishReason !== 'abort' && finishReason !== 'error') {
      this.#pending += chunks.finish(choice, finishReason, last ? usage : undefined)
    }
    if (this.#pending === '' || this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.#flush()
    })
  }

  finish(usage: UsageCount): void {
    this.#end(this.#introduce().done(usage))
  }

  fail(error: ApiError): void {
    if (this.#opened) this.#end(errorEvent(error))
    else this.call.fail(error)
  }

  tick(now: number): void {
    if (now - this.#lastWrite < this.call.context.options.keepAliveMs || this.call.exchange.closed) return
    if (this.#chunks) this.#introduce()
    this.#open()
    this.#pending += this.flow.keepAlive()
    this.#flush()
  }

  #open(): void {
    if (this.#opened) return
    this.#opened = true
    this.call.beginEvents()
    this.call.exchange.onWritable(() => this.flow.resume())
  }

  // who answers is known only when the model is there
  #introduce(): ChatChunks {
    this.#open()
    if (!this.#chunks) throw new Error('a delta came before the beginning')
    const choices = this.#introduced ? 0 : (this.request.generate.n ?? 1)
    this.#introduced = true
    for (let choice = 0; choice < choices; choice++) this.#pending += this.#chunks.role(choice)
    return this.#chunks
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
  #reply: ChatReply | undefined

  constructor(
    readonly call: Call,
    readonly request: ChatRequest,
  ) {}

  begin(head: CompletionHead): void {
    const { n = 1, params } = this.request.generate
    this.#reply = new ChatReply(head, n, params.logprobs ?? false)
  }

  delta(delta: GenerationDelta): void {
    this.#reply?.add(delta)
  }

  finish(usage: UsageCount): void {
    if (this.#reply) this.call.sendJson(200, this.#reply.render(usage))
  }

  fail(error: ApiError): void {
    this.call.fail(error)
  }

  tick(): void {
    // nothing can be said before the reply
  }
}
