// The worker's side of the channel: loads one model and serves it until the channel ends.
import type { Duplex } from 'node:stream'
import { type AnyModel, requireTextModel } from '../engine/model-kinds.js'
import {
  type EngineOptions,
  type GenerationDelta,
  type LoadProgress,
  type LogLevel,
  RequestError,
  type StartedGeneration,
} from '../engine/types.js'
import { defaultOutboxLimits, DeltaOutbox, type OutboxLimits } from './delta-outbox.js'
import { FrameChannel } from './frame-channel.js'
import { FrameError, maxFrameBytes, protocolVersion } from './frames.js'
import { type FrontMessage, parseFrontMessage, parseOptions, parseRequest, type WorkerMessage } from './messages.js'
import { type StepRow, toStepMessage } from './step-frame.js'
import { Transcriptions } from './transcriptions.js'

/** What a worker serves. */
export type LocalModel = AnyModel & {
  /** Things a user should know about the load. */
  readonly warnings?: readonly string[]
  /** The same, where there is nothing to worry about. */
  readonly notes?: readonly string[]
  /** Counts what is done between the steps that its stats count: a model at a long one has not stalled. */
  readonly progress?: number
  /** Aborts what still runs and gives all memory back. */
  close(): Promise<void>
}

/** Loads the model; rejects with an Error whose message is a sentence for the user. */
export type LoadModel = (options: EngineOptions, onProgress: (progress: LoadProgress) => void) => Promise<LocalModel>

export interface MessageLoopOptions {
  outbox?: OutboxLimits
  heartbeatMs?: number
  /** Called with the options before the model is loaded. */
  onOptions?: (options: EngineOptions) => void
}

/** Why the loop ended: told to, the front is gone, the model could not be loaded, or the front sent what is no message. */
export type LoopEnd =
  | { reason: 'shutdown' | 'channel_closed' }
  | { reason: 'protocol_error'; message: string }
  | { reason: 'load_failed'; message: string; loader: 'unsupported' | 'failed' }

interface Running {
  /** Choices that the model has not finished. */
  unfinished: number
  generation: StartedGeneration | undefined
  aborted: boolean
}

const defaultHeartbeatMs = 1000
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

export class MessageLoop {
  /** Resolves when the worker has nothing left to do; the channel is closed by then, the model as well. Never rejects. */
  readonly ended: Promise<LoopEnd>

  readonly #channel: FrameChannel<WorkerMessage, FrontMessage>
  readonly #outbox: DeltaOutbox
  readonly #running = new Map<number, Running>()
  readonly #transcriptions: Transcriptions
  #model: LocalModel | undefined
  #greeted = false
  #end: LoopEnd | undefined
  #resolveEnded: (end: LoopEnd) => void = () => undefined
  #heartbeat: NodeJS.Timeout | undefined
  #steps = 0
  #readingSteps = false

  constructor(
    stream: Duplex,
    private readonly load: LoadModel,
    private readonly options: MessageLoopOptions = {},
  ) {
    this.ended = new Promise((resolve) => (this.#resolveEnded = resolve))
    this.#outbox = new DeltaOutbox(
      {
        send: (rows) => this.#sendRows(rows),
        onOverflow: (id, reason) => {
          this.log('warning', `A generation is aborted: ${reason}.`)
          this.#abort(id)
        },
      },
      options.outbox ?? defaultOutboxLimits,
    )
    this.#transcriptions = new Transcriptions({
      send: (message) => void this.#channel.send(message),
      refusal: (error) => this.#refusal(error),
    })
    this.#channel = new FrameChannel(stream, parseFrontMessage, {
      onMessage: (message) => this.#receive(message),
      onClose: (error) => void this.#finish(error ? { reason: 'protocol_error', message: error.message } : { reason: 'channel_closed' }),
      onDrain: () => this.#outbox.drain(),
    })
  }

  /** Generations and transcriptions that the model works on or whose deltas have not been sent. */
  get open(): number {
    return Math.max(this.#running.size, this.#outbox.size) + this.#transcriptions.size
  }

  log(level: LogLevel, message: string): void {
    this.#channel.send({ type: 'log', level, message })
  }

  /** Tells the front why the process ends; `done` is called when that has left. False: the front cannot be told. */
  fail(message: string, done: () => void): boolean {
    const open = !this.#channel.closed
    this.#channel.send({ type: 'failed', message })
    this.#channel.end(done)
    return open
  }

  #receive(message: FrontMessage): void {
    if (message.type === 'hello') return this.#hello(message.version, message.options)
    if (!this.#greeted) throw new FrameError('The front did not begin with a hello.')
    switch (message.type) {
      case 'submit':
        this.#requireNew(message.id)
        return void this.#submit(message.id, message.request)
      case 'transcribe':
        this.#requireNew(message.id)
        return void this.#transcriptions.begin(message.id, this.#model, message.request)
      case 'abort':
        this.#transcriptions.abort(message.id)
        this.#abort(message.id)
        return this.#release(message.id)
      case 'pause':
        return this.#outbox.hold(message.id)
      case 'resume':
        return this.#release(message.id)
      case 'stats':
        return void this.#stats(message.seq)
      case 'shutdown':
        return void this.#finish({ reason: 'shutdown' })
    }
  }

  #requireNew(id: number): void {
    if (this.#running.has(id) || this.#transcriptions.has(id)) throw new FrameError(`The front used the id ${id} twice.`)
  }

  #hello(version: number, options: Uint8Array): void {
    if (this.#greeted) throw new FrameError('The front said hello twice.')
    this.#greeted = true
    this.#channel.send({ type: 'hello', version: protocolVersion, pid: process.pid })
    if (version !== protocolVersion) {
      const message = `The front speaks version ${version} of the worker's protocol, the worker version ${protocolVersion}.`
      return void this.#finish({ reason: 'protocol_error', message })
    }
    this.#heartbeat = setInterval(() => this.#beat(), this.options.heartbeatMs ?? defaultHeartbeatMs)
    void this.#load(options)
  }

  async #load(json: Uint8Array): Promise<void> {
    let model: LocalModel
    try {
      const options = parseOptions(json)
      this.options.onOptions?.(options)
      model = await this.load(options, (progress) => this.#channel.send({ type: 'progress', progress }))
    } catch (error) {
      const loader = (error as { code?: unknown } | null)?.code === 'unsupported' ? 'unsupported' : 'failed'
      return this.#finish({ reason: 'load_failed', message: messageOf(error), loader })
    }
    // the front has gone or changed its mind meanwhile
    if (this.#end) return model.close().catch(() => undefined)
    this.#model = model
    for (const warning of model.warnings ?? []) this.log('warning', warning)
    for (const note of model.notes ?? []) this.log('info', note)
    this.#channel.send({ type: 'ready', info: model.info })
  }

  async #submit(id: number, json: Uint8Array): Promise<void> {
    const running: Running = { unfinished: 1, generation: undefined, aborted: false }
    this.#running.set(id, running)
    try {
      const model = this.#model
      if (!model) throw new RequestError('model_loading', 'The model is still being loaded.')
      const request = parseRequest(json)
      running.unfinished = request.n ?? 1
      this.#outbox.open(id, running.unfinished)
      const generation = await requireTextModel(model).start(request, (delta) => this.#deliver(id, running, delta))
      running.generation = generation
      const { promptTokens, echo } = generation
      this.#channel.send({ type: 'accepted', id, promptTokens, ...(echo && { echo }) })
      this.#outbox.release(id)
      if (running.aborted) generation.abort()
    } catch (error) {
      this.#running.delete(id)
      this.#outbox.drop(id)
      const { code, message, param } = this.#refusal(error)
      this.#channel.send({ type: 'rejected', id, code, message, param })
    }
  }

  #refusal(error: unknown): RequestError {
    if (error instanceof RequestError) return error
    if (error instanceof FrameError) return new RequestError('invalid_request', error.message)
    this.log('error', `A request failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
    return new RequestError('engine_error', 'The request failed by an internal error.')
  }

  #deliver(id: number, running: Running, delta: GenerationDelta): void {
    if (delta.finishReason && --running.unfinished === 0) this.#running.delete(id)
    this.#outbox.add(id, delta)
  }

  #release(id: number): void {
    const running = this.#running.get(id)
    // its deltas come after `accepted`, whatever the front says before
    if (!running || running.generation) this.#outbox.release(id)
  }

  #abort(id: number): void {
    const running = this.#running.get(id)
    if (!running) return
    running.aborted = true
    running.generation?.abort()
  }

  #sendRows(rows: StepRow[]): boolean {
    try {
      return this.#channel.send(toStepMessage(rows))
    } catch (error) {
      if (!(error instanceof FrameError)) throw error
    }
    // together too long for a frame; one row's size is bounded by the outbox
    if (rows.length > 1) {
      const half = rows.length >> 1
      const first = this.#sendRows(rows.slice(0, half))
      return this.#sendRows(rows.slice(half)) && first
    }
    const { id, delta } = rows[0]!
    this.log('error', `A delta is longer than a frame may be (${maxFrameBytes} bytes); its text is dropped.`)
    this.#abort(id)
    const { logprobs: _logprobs, promptLogprobs: _promptLogprobs, reasoning: _reasoning, toolCalls: _toolCalls, ...rest } = delta
    return this.#channel.send(toStepMessage([{ id, delta: { ...rest, text: '', tokens: [] } }]))
  }

  async #stats(seq: number): Promise<void> {
    try {
      if (!this.#model) throw new Error('The model is still being loaded.')
      this.#channel.send({ type: 'stats', seq, stats: await this.#model.stats() })
    } catch (error) {
      this.#channel.send({ type: 'stats', seq, error: messageOf(error) })
    }
  }

  #beat(): void {
    this.#outbox.expire()
    // a front that does not read needs none
    if (this.#channel.unsentBytes === 0) {
      let active = this.#transcriptions.size
      for (const { generation } of this.#running.values()) if (generation) active++
      this.#channel.send({ type: 'heartbeat', steps: this.#steps, active, residentBytes: process.memoryUsage.rss() })
    }
    if (this.#readingSteps || !this.#model) return
    // not waited for: the heartbeat tells that this event loop lives, even when the engine does not answer
    this.#readingSteps = true
    this.#model.stats().then(
      ({ steps }) => {
        this.#steps = steps + (this.#model?.progress ?? 0)
        this.#readingSteps = false
      },
      () => (this.#readingSteps = false),
    )
  }

  async #finish(end: LoopEnd): Promise<void> {
    if (this.#end) return
    this.#end = end
    clearInterval(this.#heartbeat)
    if (end.reason === 'load_failed') this.#channel.send({ type: 'failed', message: end.message, loader: end.loader })
    if (end.reason === 'protocol_error') this.#channel.send({ type: 'failed', message: end.message })
    for (const running of this.#running.values()) running.generation?.abort()
    this.#transcriptions.abortAll()
    await this.#model?.close().catch(() => undefined)
    this.#channel.end(() => this.#resolveEnded(end))
  }
}
