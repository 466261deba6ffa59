import type { GenerationDelta, StartedGeneration } from '../engine/types.js'
import { canonicalName } from '../protocol/model-names.js'
import { completionId, UsageCount } from '../protocol/chat-mapping.js'
import type { ChatRequest } from '../protocol/chat-schema.js'
import { ApiError, toApiError } from '../protocol/errors.js'
import type { Call } from './call.js'
import { StreamedOutput, WholeOutput, type ChatOutput } from './chat-output.js'
import type { LiveCall } from './live-calls.js'
import type { ModelLease } from './model-directory.js'
import { GenerationTimer, type Outcome } from './server-metrics.js'

/** One chat completion from the parsed request to its end, streamed or whole. */
export class ChatSession implements LiveCall {
  readonly #output: ChatOutput
  readonly #timer: GenerationTimer
  readonly #usage = new UsageCount()
  // tells the directory that nobody waits for the model any more
  readonly #over = new AbortController()
  #lease: ModelLease | undefined
  #generation: StartedGeneration | undefined
  #begun = false
  #ended = false
  #early: GenerationDelta[] = []
  #openChoices: number
  #pausedAt: number | undefined
  #anyCut = false

  constructor(
    readonly call: Call,
    readonly request: ChatRequest,
  ) {
    this.#output = request.stream ? new StreamedOutput(call, request, this) : new WholeOutput(call, request)
    this.#timer = new GenerationTimer(call.context.metrics, call.startedAt)
    this.#openChoices = request.generate.n ?? 1
  }

  get paused(): boolean {
    return this.#pausedAt !== undefined
  }

  /** Waits for the model and starts the generation; the rest follows from its deltas. Never rejects. */
  async run(): Promise<void> {
    const { context, exchange } = this.call
    if (exchange.closed) return this.#stop('client_gone')
    if (context.draining) return this.#refuse(new ApiError('shutting_down'))
    context.chats.add(this)
    exchange.onAborted(() => this.#stop('client_gone'))
    let lease: ModelLease
    let generation: StartedGeneration
    try {
      lease = await this.#borrow()
      if (this.#ended) return lease.release()
      this.#lease = lease
      generation = await lease.model.start(this.request.generate, (delta) => this.#deliver(delta))
    } catch (error) {
      if (!this.#ended) this.#refuse(error)
      return
    }
    this.#generation = generation
    // the client may have left, or the drain ended, while the request was on its way
    if (this.#ended) return generation.abort()
    if (this.paused) generation.pause()
    this.#usage.promptTokens = generation.promptTokens
    this.#begun = true
    this.#output.begin({ id: completionId(), model: canonicalName(lease.name), created: Math.floor(Date.now() / 1000) })
    for (const delta of this.#early.splice(0)) this.#deliver(delta)
  }

  pause(): void {
    if (this.paused || this.#ended) return
    this.#pausedAt = performance.now()
    this.#generation?.pause()
  }

  resume(): void {
    if (!this.paused || this.#ended) return
    this.#pausedAt = undefined
    this.#generation?.resume()
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
    this.#fail(new ApiError('shutting_down'), 'shut_down')
  }

  async #borrow(): Promise<ModelLease> {
    const { models, metrics } = this.call.context
    metrics.waitingForModel++
    try {
      return await models.lease(this.request.model, this.#over.signal)
    } finally {
      metrics.waitingForModel--
    }
  }

  // the caller serves many requests with one frame: what goes wrong with this one must not reach it
  #deliver(delta: GenerationDelta): void {
    try {
      this.#receive(delta)
    } catch (error) {
      this.#logFault(error)
      this.#failOrDrop()
    }
  }

  #failOrDrop(): void {
    try {
      this.#fail(new ApiError('internal_error'), 'failed')
    } catch (error) {
      this.#logFault(error)
      this.call.exchange.destroy()
    }
  }

  #logFault(error: unknown): void {
    this.call.context.options.log('error', `${this.call.requestId}: ${error instanceof Error ? error.stack : String(error)}`)
  }

  #receive(delta: GenerationDelta): void {
    if (this.#ended) return
    if (!this.#begun) {
      this.#early.push(delta)
      return
    }
    this.#timer.delta(delta)
    this.#usage.add(delta)
    const { finishReason } = delta
    if (finishReason === 'error') {
      const { code, message } = delta.error ?? { code: 'engine_error' as const, message: undefined }
      return this.#fail(new ApiError(code, message), 'failed')
    }
    // nobody here asked for the abort: the engine gave the sequence up
    if (finishReason === 'abort') return this.#fail(new ApiError('aborted'), 'failed')
    if (finishReason !== undefined) this.#openChoices--
    if (finishReason === 'length') this.#anyCut = true
    const last = this.#openChoices === 0
    this.#output.delta(delta, this.#usage, last)
    if (!last) return
    // a reply that cannot be rendered is still to be answered: the session ends after it
    this.#output.finish(this.#usage)
    this.#end(this.#anyCut ? 'length' : 'stop')
  }

  #refuse(error: unknown): void {
    const apiError = toApiError(error)
    if (apiError.code === 'internal_error') this.call.context.options.log('error', `start failed: ${String(error)}`)
    this.#end(apiError.status < 500 ? 'refused' : 'failed')
    this.#output.fail(apiError)
  }

  #fail(error: ApiError, outcome: Outcome): void {
    if (this.#ended) return
    this.#end(outcome)
    this.#generation?.abort()
    this.#output.fail(error)
  }

  #stop(outcome: Outcome): void {
    if (this.#ended) return
    this.#end(outcome)
    this.#generation?.abort()
  }

  #end(outcome: Outcome): void {
    if (this.#ended) return
    this.#ended = true
    if (this.#lease) this.#lease.release()
    else this.#over.abort()
    this.call.context.chats.delete(this)
    this.call.context.metrics.requests.add(1, outcome)
  }
}
