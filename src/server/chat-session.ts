import type { GenerationDelta } from '../engine/types.js'
import { completionId, type UsageCount } from '../protocol/chat-mapping.js'
import type { ChatRequest } from '../protocol/chat-schema.js'
import { ApiError } from '../protocol/errors.js'
import { canonicalName } from '../protocol/model-names.js'
import type { Call } from './call.js'
import { type ChatOutput, StreamedOutput, WholeOutput } from './chat-output.js'
import { GenerationRun, type GenerationSink } from './generation-run.js'
import type { LiveCall } from './live-calls.js'
import type { ModelLease } from './model-directory.js'
import type { Outcome } from './server-metrics.js'

/** One chat completion from the parsed request to its end, streamed or whole: it lives and ends with its connection. */
export class ChatSession implements LiveCall, GenerationSink {
  readonly #output: ChatOutput
  readonly #run: GenerationRun
  #pausedAt: number | undefined

  constructor(
    readonly call: Call,
    request: ChatRequest,
  ) {
    this.#output = request.stream ? new StreamedOutput(call, request, this) : new WholeOutput(call, request)
    this.#run = new GenerationRun(call.context, { ...request, owner: call.owner }, this, call.startedAt, call.requestId)
  }

  /** Whether its client does not keep up. */
  get paused(): boolean {
    return this.#pausedAt !== undefined
  }

  /** Waits for the model and starts the generation; the rest follows from its deltas. Never rejects. */
  async run(): Promise<void> {
    const { context, exchange } = this.call
    if (exchange.closed) return this.#stop('client_gone')
    context.chats.add(this)
    exchange.onAborted(() => this.#stop('client_gone'))
    await this.#run.run()
  }

  pause(): void {
    if (this.#run.ended) return
    this.#pausedAt ??= performance.now()
    this.#run.pause()
  }

  resume(): void {
    this.#pausedAt = undefined
    this.#run.resume()
  }

  keepAlive(): string {
    return this.#run.keepAlive()
  }

  tick(now: number): void {
    if (this.#pausedAt === undefined) {
      this.#output.tick(now)
      return
    }
    if (now - this.#pausedAt < this.call.context.options.slowReaderTimeoutMs) return
    this.call.context.options.log('info', `a client did not read for too long: aborted ${this.call.requestId}`)
    this.#stop('slow_reader')
    this.call.exchange.destroy()
  }

  shutDown(): void {
    this.#run.fail(new ApiError('shutting_down'), 'shut_down')
  }

  begin(lease: ModelLease): void {
    this.#output.begin({ id: completionId(), model: canonicalName(lease.name), created: Math.floor(Date.now() / 1000) })
  }

  delta(delta: GenerationDelta, usage: UsageCount, last: boolean): void {
    this.#output.delta(delta, usage, last)
  }

  finish(usage: UsageCount): void {
    this.#output.finish(usage)
    this.#leave()
  }

  fail(error: ApiError): void {
    this.#leave()
    try {
      this.#output.fail(error)
    } catch (fault) {
      this.call.exchange.destroy()
      throw fault
    }
  }

  #stop(outcome: Outcome): void {
    this.#run.stop(outcome)
    this.#leave()
  }

  #leave(): void {
    this.call.context.chats.delete(this)
  }
}
