import type { GenerateRequest, GenerationDelta, PromptEcho, StartedGeneration } from '../engine/types.js'
import { type CompletionHead, UsageCount } from '../protocol/chat-mapping.js'
import { ApiError } from '../protocol/errors.js'
import { canonicalName } from '../protocol/model-names.js'
import type { Call } from './call.js'
import type { FlowControl } from './event-stream.js'
import { GenerationRun, type GenerationSink } from './generation-run.js'
import type { LiveCall } from './live-calls.js'
import type { ModelLease } from './model-directory.js'
import type { Outcome } from './outcomes.js'

/** Where the deltas of a request's generations go. Nothing is called after `finish` or `fail`, which may come before `begin`. */
export interface GenerationOutput {
  /** The engine has accepted the first generation. */
  begin(head: CompletionHead): void
  /** The engine has accepted the generation of a prompt. */
  prompt?(prompt: number, echo: PromptEcho | undefined): void
  /** @param last whether no choice of any prompt is open any more */
  delta(prompt: number, delta: GenerationDelta, usage: UsageCount, last: boolean): void
  finish(usage: UsageCount): void
  fail(error: ApiError): void
  /** Called about once a second. */
  tick(now: number): void
}

export interface SessionRequest {
  /** As the client named it; absent where it named none. */
  model?: string
  /** One a prompt. */
  generates: readonly GenerateRequest[]
}

/** The generations of one request from their start to their end, streamed or whole: they live and end with its connection, and fail together. */
export class GenerationSession implements LiveCall, FlowControl {
  readonly #output: GenerationOutput
  readonly #runs: GenerationRun[]
  #open: number
  #head: CompletionHead | undefined
  #over = false
  #pausedAt: number | undefined

  constructor(
    readonly call: Call,
    { model, generates }: SessionRequest,
    makeOutput: (flow: FlowControl) => GenerationOutput,
    private readonly makeId: () => string,
  ) {
    this.#output = makeOutput(this)
    this.#open = generates.length
    this.#runs = generates.map((generate, prompt) => {
      const request = { ...(model === undefined ? {} : { model }), generate, owner: call.owner }
      return new GenerationRun(call.context, request, this.#sink(prompt), call.startedAt, call.requestId)
    })
  }

  /** Whether its client does not keep up. */
  get paused(): boolean {
    return this.#pausedAt !== undefined
  }

  /** Waits for the model and starts the generations; the rest follows from their deltas. Never rejects. */
  async run(): Promise<void> {
    const { context, exchange } = this.call
    if (exchange.closed) return this.#stop('client_gone')
    context.chats.add(this)
    exchange.onAborted(() => this.#stop('client_gone'))
    await Promise.all(this.#runs.map((run) => run.run()))
  }

  pause(): void {
    if (this.#over) return
    this.#pausedAt ??= performance.now()
    for (const run of this.#runs) run.pause()
  }

  resume(): void {
    this.#pausedAt = undefined
    for (const run of this.#runs) run.resume()
  }

  /** Of the generation that has been waiting for longest. */
  keepAlive(): string {
    const run = this.#runs.find(({ ended }) => !ended)
    return run ? run.keepAlive() : ': keep-alive\n\n'
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
    // the first failure ends the others
    for (const run of this.#runs) run.fail(new ApiError('shutting_down'), 'shut_down')
  }

  #sink(prompt: number): GenerationSink {
    return {
      begin: (lease, generation) => this.#begin(prompt, lease, generation),
      delta: (delta, _usage, last) => this.#output.delta(prompt, delta, this.#usage(), last && this.#open === 1),
      finish: () => this.#finishOne(),
      fail: (error) => this.#fail(error),
    }
  }

  #begin(prompt: number, lease: ModelLease, { echo }: StartedGeneration): void {
    if (!this.#head) {
      this.#head = { id: this.makeId(), model: canonicalName(lease.name), created: Math.floor(Date.now() / 1000) }
      this.#output.begin(this.#head)
    }
    this.#output.prompt?.(prompt, echo)
  }

  #usage(): UsageCount {
    const [first] = this.#runs
    return this.#runs.length === 1 && first ? first.usage : UsageCount.sum(this.#runs.map((run) => run.usage))
  }

  #finishOne(): void {
    if (--this.#open > 0) return
    this.#output.finish(this.#usage())
    this.#leave()
  }

  #fail(error: ApiError): void {
    if (this.#over) return
    this.#leave()
    for (const run of this.#runs) run.stop('failed')
    try {
      this.#output.fail(error)
    } catch (fault) {
      this.call.exchange.destroy()
      throw fault
    }
  }

  #stop(outcome: Outcome): void {
    for (const run of this.#runs) run.stop(outcome)
    this.#leave()
  }

  #leave(): void {
    this.#over = true
    this.call.context.chats.delete(this)
  }
}
