import { requireTextModel } from '../engine/model-kinds.js'
import type { GenerateRequest, GenerationDelta, StartedGeneration } from '../engine/types.js'
import { UsageCount } from '../protocol/chat-mapping.js'
import { ApiError, toApiError } from '../protocol/errors.js'
import { canonicalName } from '../protocol/model-names.js'
import type { Owner } from './api-keys.js'
import type { ServerContext } from './context.js'
import type { ModelLease } from './model-directory.js'
import type { Outcome } from './outcomes.js'
import { GenerationTimer } from './server-metrics.js'

/** What becomes of a generation: `begin`, then deltas, then one of `finish` and `fail`; or `fail` alone. */
export interface GenerationSink {
  /** The engine has accepted the request. */
  begin(lease: ModelLease, generation: StartedGeneration): void
  /** @param last whether no choice is open any more */
  delta(delta: GenerationDelta, usage: UsageCount, last: boolean): void
  /** @param cut whether some choice ended at the limit of its tokens */
  finish(usage: UsageCount, cut: boolean): void
  fail(error: ApiError): void
  /** Another request to try where this one was refused; undefined: the refusal stands. */
  retry?(error: ApiError): GenerateRequest | undefined
}

/** What is asked of a model. */
export interface RunRequest {
  /** As the client named it; absent where it named none. */
  model?: string
  generate: GenerateRequest
  /** Prefixes are shared only between requests of one owner. */
  owner: Owner
}

/** One generation from the choice of its model to its last delta. It holds the model meanwhile, and lets it go once. */
export class GenerationRun {
  readonly usage = new UsageCount()
  #line = ''
  readonly #timer: GenerationTimer
  // tells the directory that nobody waits for the model any more
  readonly #over = new AbortController()
  #lease: ModelLease | undefined
  #generation: StartedGeneration | undefined
  #begun = false
  #ended = false
  #paused = false
  #inLine = false
  #early: GenerationDelta[] = []
  #openChoices: number
  #anyCut = false

  /**
   * @param startedAt performance.now() when the request arrived
   * @param label names the request in the log
   */
  constructor(
    private readonly context: ServerContext,
    private readonly request: RunRequest,
    private readonly sink: GenerationSink,
    startedAt: number,
    private readonly label: string,
  ) {
    this.#timer = new GenerationTimer(context.metrics, startedAt)
    this.#openChoices = request.generate.n ?? 1
  }

  get ended(): boolean {
    return this.#ended
  }

  /** A comment for a stream that is silent for long: that it lives, and what it waits for. */
  keepAlive(): string {
    if (!this.#begun) return this.#lease ? ': keep-alive\n\n' : ': keep-alive, waiting for the model\n\n'
    const position = this.context.waiting.position(this.#line, this)
    return position === undefined ? ': keep-alive\n\n' : `: keep-alive, queue position ${position}\n\n`
  }

  /** Starts the generation; the rest follows from its deltas. Never rejects. */
  async run(): Promise<void> {
    if (this.#ended) return
    if (this.context.draining) return this.#refuse(new ApiError('shutting_down'))
    try {
      const lease = await this.#borrow()
      if (this.#ended) return lease.release()
      this.#lease = lease
      const generation = await this.#start(lease)
      this.#generation = generation
      // the client may have left, or the drain ended, while the request was on its way
      if (this.#ended) return generation.abort()
      this.usage.promptTokens = generation.promptTokens
      if (this.#paused) generation.pause()
      this.#begun = true
      this.#line = canonicalName(lease.model.info)
      this.context.waiting.join(this.#line, this)
      this.#inLine = true
      this.sink.begin(lease, generation)
    } catch (error) {
      if (!this.#ended) this.#refuse(error)
      return
    }
    for (const delta of this.#early.splice(0)) this.#deliver(delta)
  }

  pause(): void {
    if (this.#paused || this.#ended) return
    this.#paused = true
    this.#generation?.pause()
  }

  resume(): void {
    if (!this.#paused || this.#ended) return
    this.#paused = false
    this.#generation?.resume()
  }

  /** Ends it without another word to the sink. */
  stop(outcome: Outcome): void {
    if (this.#ended) return
    this.#end(outcome)
    this.#generation?.abort()
  }

  /** Ends it with an error. */
  fail(error: ApiError, outcome: Outcome): void {
    if (this.#ended) return
    this.#end(outcome)
    this.#generation?.abort()
    this.sink.fail(error)
  }

  async #borrow(): Promise<ModelLease> {
    const { models, metrics } = this.context
    metrics.waitingForModel++
    try {
      return await models.lease(this.request.model, this.#over.signal)
    } finally {
      metrics.waitingForModel--
    }
  }

  async #start({ model }: ModelLease): Promise<StartedGeneration> {
    const textModel = requireTextModel(model)
    let request = this.request.generate
    for (;;) {
      try {
        return await textModel.start(salted(request, this.request.owner), (delta) => this.#deliver(delta))
      } catch (error) {
        const next = this.#ended ? undefined : this.sink.retry?.(toApiError(error))
        if (!next) throw error
        request = next
      }
    }
  }

  // the caller serves many requests with one frame: what goes wrong with this one must not reach it
  #deliver(delta: GenerationDelta): void {
    try {
      this.#receive(delta)
    } catch (error) {
      this.#logFault(error)
      try {
        this.fail(new ApiError('internal_error'), 'failed')
      } catch (again) {
        this.#logFault(again)
      }
    }
  }

  #logFault(error: unknown): void {
    this.context.options.log('error', `${this.label}: ${error instanceof Error ? error.stack : String(error)}`)
  }

  #receive(delta: GenerationDelta): void {
    if (this.#ended) return
    if (!this.#begun) {
      this.#early.push(delta)
      return
    }
    this.#timer.delta(delta, this.usage.add(delta), this.context.turn.now())
    if (this.#inLine && delta.outputTokens > 0) this.#leaveLine()
    const { finishReason } = delta
    if (finishReason === 'error') {
      const { code, message } = delta.error ?? { code: 'engine_error' as const, message: undefined }
      return this.fail(new ApiError(code, message), 'failed')
    }
    // nobody here asked for the abort: the engine gave the sequence up
    if (finishReason === 'abort') return this.fail(new ApiError('aborted'), 'failed')
    if (finishReason !== undefined) this.#openChoices--
    if (finishReason === 'length') this.#anyCut = true
    const last = this.#openChoices === 0
    this.sink.delta(delta, this.usage, last)
    if (!last) return
    // a reply that cannot be rendered is still to be answered: the run ends after it
    this.sink.finish(this.usage, this.#anyCut)
    this.#end(this.#anyCut ? 'length' : 'stop')
  }

  #refuse(error: unknown): void {
    const apiError = toApiError(error)
    if (apiError.code === 'internal_error') this.context.options.log('error', `${this.label}: start failed: ${String(error)}`)
    this.#end(apiError.status < 500 ? 'refused' : 'failed')
    this.#generation?.abort()
    this.sink.fail(apiError)
  }

  #leaveLine(): void {
    this.#inLine = false
    this.context.waiting.leave(this.#line, this)
  }

  #end(outcome: Outcome): void {
    this.#ended = true
    if (this.#lease) this.#lease.release()
    else this.#over.abort()
    this.#leaveLine()
    this.context.metrics.requests.add(1, outcome)
  }
}

function salted(request: GenerateRequest, owner: Owner): GenerateRequest {
  return owner === '' ? request : { ...request, cacheSalt: `${owner}:${request.cacheSalt ?? ''}` }
}
