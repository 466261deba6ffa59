// A model in a worker process, seen from the front: the TextModel and SpeechModel interfaces over frames.
import type { Duplex } from 'node:stream'
import type { AnyModel, AnyModelInfo } from '../engine/model-kinds.js'
import type { StartedTranscription, TranscribeRequest, TranscriptionDelta } from '../engine/speech-types.js'
import {
  type EngineOptions,
  type EngineStats,
  type ErrorCode,
  type GenerateRequest,
  type GenerationDelta,
  type LoadProgress,
  type LogLevel,
  type PromptEcho,
  RequestError,
  type StartedGeneration,
} from '../engine/types.js'
import { FrameChannel } from '../worker/frame-channel.js'
import { FrameError, protocolVersion } from '../worker/frames.js'
import { HeldDeltas } from '../worker/held-deltas.js'
import { type FrontMessage, parseWorkerMessage, toJson, type ReceivedWorkerMessage } from '../worker/messages.js'
import type { StepRow } from '../worker/step-frame.js'
import { WorkerTranscription } from './worker-transcription.js'

/** Requests of this many bytes may wait for the worker to read them. */
const maxUnsentBytes = 128 * 1024 * 1024
const statsTimeoutMs = 10_000

export interface WorkerModelEvents {
  onProgress?(progress: LoadProgress): void
  onLog?(level: LogLevel, message: string): void
  /** The channel has ended, with the worker's last words or what was wrong with the channel, if known. */
  onEnd?(message: string | undefined): void
}

/** What the worker tells of itself between the frames. */
export interface WorkerActivity {
  /** Counts frames that bring deltas: what an engine gives that works. */
  readonly stepFrames: number
  /** Counts heartbeats. */
  readonly heartbeats: number
  /** As of the last heartbeat. */
  readonly engineSteps: number
  /** Accepted generations that the engine has not ended, and open transcriptions, as of the last heartbeat. */
  readonly active: number
  readonly residentBytes: number | undefined
}

/** What kind of failure the loader told of. */
export type LoadFailureKind = 'unsupported' | 'failed'

type CrashError = { code: Extract<ErrorCode, 'model_crashed' | 'shutting_down'>; message: string }

class Generation implements StartedGeneration {
  /** Output tokens so far, by choice; undefined: its last delta has been delivered. */
  readonly #outputTokens: (number | undefined)[]
  #unfinished: number
  readonly #held = new HeldDeltas()
  #paused = false
  // the caller must come to its next turn before it sees deltas
  #opening = false
  #cachedTokens = 0

  constructor(
    readonly id: number,
    choices: number,
    readonly promptTokens: number,
    readonly echo: PromptEcho | undefined,
    private readonly onDelta: (delta: GenerationDelta) => void,
    private readonly host: GenerationHost,
  ) {
    this.#outputTokens = new Array<number>(choices).fill(0)
    this.#unfinished = choices
    this.#openSoon()
  }

  receive(delta: GenerationDelta): void {
    if (this.#paused || this.#opening) return this.#held.add(delta)
    const { choice, finishReason } = delta
    if (this.#unfinished === 0 || this.#outputTokens[choice] === undefined) return
    this.#cachedTokens = delta.cachedTokens
    this.#outputTokens[choice] = finishReason ? undefined : delta.outputTokens
    if (finishReason && --this.#unfinished === 0) this.host.ended(this)
    try {
      this.onDelta(delta)
    } catch (error) {
      // a listener that fails must not take other generations' deltas with it
      this.#unfinished = 0
      this.host.listenerFailed(this, error)
    }
  }

  /** Ends the choices that are still open. */
  fail(error: CrashError): void {
    const { promptTokens } = this
    for (const [choice, outputTokens] of this.#outputTokens.entries()) {
      if (outputTokens === undefined) continue
      this.receive({
        choice,
        text: '',
        tokens: [],
        finishReason: 'error',
        promptTokens,
        cachedTokens: this.#cachedTokens,
        outputTokens,
        error,
      })
    }
  }

  /** Lifts a pause, too: the last deltas are delivered. */
  abort(): void {
    if (this.#unfinished === 0) return
    this.host.send({ type: 'abort', id: this.id })
    if (!this.#paused) return
    this.#paused = false
    this.#openSoon()
  }

  pause(): void {
    if (this.#unfinished === 0 || this.#paused) return
    this.#paused = true
    this.host.send({ type: 'pause', id: this.id })
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.host.send({ type: 'resume', id: this.id })
    this.#deliverHeld()
  }

  #openSoon(): void {
    this.#opening = true
    setImmediate(() => {
      this.#opening = false
      this.#deliverHeld()
    })
  }

  #deliverHeld(): void {
    if (this.#paused || this.#opening) return
    for (const delta of this.#held.take()) this.receive(delta)
  }
}

/** What a generation needs of its model. */
interface GenerationHost {
  send(message: FrontMessage): void
  ended(generation: Generation): void
  listenerFailed(generation: Generation, error: unknown): void
}

interface Submitted {
  readonly choices: number
  readonly onDelta: (delta: GenerationDelta) => void
  readonly resolve: (generation: Generation) => void
  readonly reject: (error: RequestError) => void
}

interface StatsRequest {
  readonly resolve: (stats: EngineStats) => void
  readonly reject: (error: RequestError) => void
  readonly timer: NodeJS.Timeout
}

/** Speaks to one worker over its channel. `ready` first; when the channel ends, everything open ends with an error. */
export class WorkerModel {
  /** Resolves when the model is loaded; rejects with an Error that has the worker's own sentence. */
  readonly ready: Promise<AnyModelInfo>

  readonly #channel: FrameChannel<FrontMessage, ReceivedWorkerMessage>
  readonly #submitted = new Map<number, Submitted>()
  readonly #generations = new Map<number, Generation>()
  readonly #transcriptions = new Map<number, WorkerTranscription>()
  readonly #statsRequests = new Map<number, StatsRequest>()
  readonly #host: GenerationHost = {
    send: (message) => this.#channel.send(message),
    ended: (generation) => this.#generations.delete(generation.id),
    listenerFailed: (generation, error) => {
      this.#logFault("A generation's listener failed", error)
      this.#generations.delete(generation.id)
      this.#channel.send({ type: 'abort', id: generation.id })
    },
  }
  readonly #activity = { stepFrames: 0, heartbeats: 0, engineSteps: 0, active: 0, residentBytes: undefined as number | undefined }
  #resolveReady!: (info: AnyModelInfo) => void
  #rejectReady!: (error: Error) => void
  #info: AnyModelInfo | undefined
  #greeted = false
  #lastWords: string | undefined
  #loadFailure: LoadFailureKind | undefined
  /** Why nothing more can be asked of the worker. */
  #over: CrashError | undefined
  #nextId = 1

  constructor(
    stream: Duplex,
    options: EngineOptions,
    private readonly events: WorkerModelEvents = {},
  ) {
    this.ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve
      this.#rejectReady = reject
    })
    this.ready.catch(() => undefined)
    this.#channel = new FrameChannel(stream, parseWorkerMessage, {
      onMessage: (message) => this.#receive(message),
      onClose: (error) => this.#close(error?.message),
    })
    this.#channel.send({ type: 'hello', version: protocolVersion, options: toJson(options) })
  }

  /** Only after `ready`. */
  get info(): AnyModelInfo {
    if (!this.#info) throw new Error('The model is not loaded.')
    return this.#info
  }

  /** Itself by its kind. Only after `ready`. */
  get model(): AnyModel {
    void this.info
    // it speaks for a model of either kind; its info says which, and the worker refuses what is for the other
    return this as unknown as AnyModel
  }

  /** Set when the loader has refused the model; its sentence is the last word. */
  get loadFailure(): LoadFailureKind | undefined {
    return this.#loadFailure
  }

  get activity(): WorkerActivity {
    return this.#activity
  }

  /** Generations, transcriptions and submissions that have not ended. */
  get open(): number {
    return this.#submitted.size + this.#generations.size + this.#transcriptions.size
  }

  start(request: GenerateRequest, onDelta: (delta: GenerationDelta) => void): Promise<StartedGeneration> {
    return new Promise<Generation>((resolve, reject) => {
      const id = this.#send('submit', request)
      this.#submitted.set(id, { choices: request.n ?? 1, onDelta, resolve, reject })
    })
  }

  async transcribe(
    request: TranscribeRequest,
    onDelta: (delta: TranscriptionDelta) => void,
    signal?: AbortSignal,
  ): Promise<StartedTranscription> {
    signal?.throwIfAborted()
    const id = this.#send('transcribe', request)
    const host = {
      abort: () => this.#channel.send({ type: 'abort', id }),
      ended: () => this.#transcriptions.delete(id),
      listenerFailed: (error: unknown) => this.#logFault("A transcription's listener failed", error),
    }
    const transcription = new WorkerTranscription(id, onDelta, host, signal)
    this.#transcriptions.set(id, transcription)
    return transcription.started
  }

  stats(): Promise<EngineStats> {
    return new Promise((resolve, reject) => {
      if (this.#over) throw new RequestError(this.#over.code, this.#over.message)
      const seq = this.#nextId++
      const timer = setTimeout(() => {
        this.#statsRequests.delete(seq)
        reject(new RequestError('engine_error', 'The model does not answer.'))
      }, statsTimeoutMs)
      timer.unref()
      this.#statsRequests.set(seq, { resolve, reject, timer })
      this.#channel.send({ type: 'stats', seq })
    })
  }

  /** Asks the worker to end; what is still open ends with `shutting_down`. The channel closes when the worker is done. */
  shutdown(): void {
    if (this.#over) return
    this.#channel.send({ type: 'shutdown' })
    this.#endAll({ code: 'shutting_down', message: 'The server is shutting down.' })
  }

  /** Ends everything at once, without the worker's help. */
  abandon(message: string): void {
    this.#channel.destroy()
    this.#close(message)
  }

  /** Sends a request under a new id. Throws a RequestError. */
  #send(type: 'submit' | 'transcribe', request: GenerateRequest | TranscribeRequest): number {
    if (this.#over) throw new RequestError(this.#over.code, this.#over.message)
    if (!this.#info) throw new RequestError('model_loading', 'The model is still being loaded.')
    if (this.#channel.unsentBytes > maxUnsentBytes) {
      throw new RequestError('queue_full', 'Too many requests wait for the model. Try again later.')
    }
    const id = this.#nextId++
    try {
      this.#channel.send({ type, id, request: toJson(request) })
    } catch (error) {
      if (!(error instanceof FrameError) && !(error instanceof RangeError)) throw error
      throw new RequestError('invalid_request', 'The request is too large or nested too deeply.')
    }
    return id
  }

  #logFault(what: string, error: unknown): void {
    this.events.onLog?.('error', `${what}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
  }

  #receive(message: ReceivedWorkerMessage): void {
    // between `shutdown` and the end of the channel nobody listens any more
    if (this.#over) return
    if (message.type === 'hello') {
      if (message.version !== protocolVersion) {
        throw new FrameError(`The worker speaks version ${message.version} of its protocol, the server version ${protocolVersion}.`)
      }
      this.#greeted = true
      return
    }
    if (!this.#greeted) throw new FrameError('The worker did not begin with a hello.')
    switch (message.type) {
      case 'progress':
        return this.events.onProgress?.(message.progress)
      case 'ready':
        this.#info = message.info
        return this.#resolveReady(message.info)
      case 'failed':
        this.#lastWords = message.message
        this.#loadFailure = message.loader
        return
      case 'accepted':
        return this.#accepted(message.id, message.promptTokens, message.echo)
      case 'transcribing':
        return this.#transcriptions.get(message.id)?.begin(message)
      case 'transcript':
        this.#activity.stepFrames++
        return this.#transcriptions.get(message.id)?.receive(message.delta)
      case 'rejected': {
        const refusal = new RequestError(message.code, message.message, message.param)
        this.#transcriptions.get(message.id)?.refuse(refusal)
        const submitted = this.#submitted.get(message.id)
        this.#submitted.delete(message.id)
        return submitted?.reject(refusal)
      }
      case 'step':
        return this.#step(message.rows)
      case 'stats': {
        const request = this.#statsRequests.get(message.seq)
        if (!request) return
        this.#statsRequests.delete(message.seq)
        clearTimeout(request.timer)
        if (message.stats) request.resolve(message.stats)
        else request.reject(new RequestError('engine_error', message.error ?? 'The model gives no counters.'))
        return
      }
      case 'log':
        return this.events.onLog?.(message.level, message.message)
      case 'heartbeat':
        this.#activity.heartbeats++
        this.#activity.engineSteps = message.steps
        this.#activity.active = message.active
        this.#activity.residentBytes = message.residentBytes
        return
    }
  }

  #accepted(id: number, promptTokens: number, echo: PromptEcho | undefined): void {
    const submitted = this.#submitted.get(id)
    if (!submitted) return
    this.#submitted.delete(id)
    const generation = new Generation(id, submitted.choices, promptTokens, echo, submitted.onDelta, this.#host)
    this.#generations.set(id, generation)
    submitted.resolve(generation)
  }

  #step(rows: StepRow[]): void {
    this.#activity.stepFrames++
    for (const { id, delta } of rows) this.#generations.get(id)?.receive(delta)
  }

  #close(message: string | undefined): void {
    const words = this.#lastWords ?? message
    this.#endAll({ code: 'model_crashed', message: 'The model stopped working while the request ran. Try again in a moment.' })
    this.#rejectReady(new Error(words ?? "The model's process ended while it was loading."))
    this.events.onEnd?.(words)
  }

  #endAll(error: CrashError): void {
    if (this.#over) return
    this.#over = error
    for (const { reject } of this.#submitted.values()) reject(new RequestError(error.code, error.message))
    this.#submitted.clear()
    for (const { reject, timer } of this.#statsRequests.values()) {
      clearTimeout(timer)
      reject(new RequestError(error.code, error.message))
    }
    this.#statsRequests.clear()
    for (const generation of [...this.#generations.values()]) generation.fail(error)
    for (const transcription of [...this.#transcriptions.values()]) {
      transcription.fail(error, new RequestError(error.code, error.message))
    }
  }
}
