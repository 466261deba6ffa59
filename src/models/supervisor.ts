// Keeps one model's worker process alive: starts it, watches it, starts it again when it dies.
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import type { Duplex } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { AnyModel, AnyModelInfo } from '../engine/model-kinds.js'
import { type EngineOptions, type LoadProgress, type LogLevel, RequestError } from '../engine/types.js'
import type { ServedModel, ServedModelName, ServedModelState } from '../server/served-model.js'
import { defaultRestartLimits, type RestartLimits, RestartPolicy } from './restart-policy.js'
import { StallMonitor } from './stall-monitor.js'
import { type LoadFailureKind, WorkerModel } from './worker-model.js'

export interface SupervisorSettings {
  /** Further names that clients may use for the model. */
  aliases?: readonly string[]
  /** The script of the worker process; default: the package's own. */
  workerEntry?: string
  restart?: Partial<RestartLimits>
  /** How long a request waits for a model that is loading; 0: not at all. */
  loadWaitMs?: number
  /** Requests that may wait for it. */
  maxLoadWaiters?: number
  /** Unhealthy when work is open and no step ends for this long. */
  stallTimeoutMs?: number
  /** The worker is killed when its event loop gives no sign for this long; while it loads: `loadSilenceMs`. */
  heartbeatTimeoutMs?: number
  loadSilenceMs?: number
  /** How long a worker may take to end when it is told to. */
  closeTimeoutMs?: number
  log?: (level: LogLevel, message: string) => void
}

const defaults = {
  loadWaitMs: 60_000,
  maxLoadWaiters: 1024,
  stallTimeoutMs: 60_000,
  heartbeatTimeoutMs: 60_000,
  loadSilenceMs: 10 * 60_000,
  closeTimeoutMs: 5000,
}

// what clients hear: the process' own words name files of this machine
const unavailable = "The model is not available: its process ended or failed to start. The server's log says why."

// an absolute path, as it stands in a sentence
const namesPlace = /(?:^|[^\w.:/])(?:\/|~\/|[A-Za-z]:[\\/])[\w.~-]+[\\/]/

/** The model did not come up; the message is a sentence for whoever started the server, not for its clients. */
export class WorkerStartError extends Error {
  override readonly name = 'WorkerStartError'
  /** What clients may be told: the loader's own sentence, where it names no place of this machine. */
  readonly forClients: string | undefined
  /** The files are sound, but nothing that this server can run. */
  readonly unsupported: boolean

  constructor(message: string, failure?: LoadFailureKind) {
    super(message)
    this.forClients = failure === undefined || namesPlace.test(message) ? undefined : message
    this.unsupported = failure === 'unsupported'
  }
}

// from src/ (tests) the compiled worker is used: a child process does not read TypeScript
function defaultEntry(): string {
  return fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? '../../dist/worker/main.js' : '../worker/main.js', import.meta.url))
}

interface Worker {
  readonly child: ChildProcess
  readonly model: WorkerModel
  /** Resolves with the reason when the process has ended and all of its words were read. */
  readonly ended: Promise<WorkerEnd>
}

interface WorkerEnd {
  reason: string
  /** The loader has refused the model, with a sentence of its own. */
  failure: LoadFailureKind | undefined
}

/** Throws a WorkerStartError where there is not even a process that could tell what is wrong. */
function spawnWorker(entry: string): { child: ChildProcess; channel: Duplex } {
  const notStarted = (why: string): WorkerStartError => new WorkerStartError(`The model's process could not be started: ${why}.`)
  let child: ChildProcess
  try {
    child = spawn(process.execPath, [entry], { stdio: ['ignore', 'inherit', 'inherit', 'pipe'], windowsHide: true })
  } catch (error) {
    throw notStarted(error instanceof Error ? error.message : String(error))
  }
  // the types do not know that Node makes no pipes when file descriptors run out; an 'error' event is all that follows
  const channel = (child.stdio as typeof child.stdio | undefined)?.[3]
  if (channel) return { child, channel: channel as Duplex }
  child.once('error', () => undefined)
  throw notStarted('there are too many open files')
}

interface Waiter {
  readonly resolve: (model: AnyModel) => void
  readonly reject: (error: unknown) => void
  /** Takes back its timer and its ear for the signal. */
  readonly dismiss: () => void
}

function endReason(words: string | undefined, code: number | null, signal: NodeJS.Signals | null): string {
  if (words) return words
  if (signal === 'SIGKILL') return "The model's process was killed (SIGKILL); the system may have run out of memory."
  if (signal) return `The model's process was ended by ${signal}.`
  return `The model's process ended with exit code ${code}.`
}

/** A model in a supervised process of its own. `start()` it, then use it as a ServedModel, then `close()` it. */
export class SupervisedModel implements ServedModel, AsyncDisposable {
  readonly aliases: readonly string[]

  readonly #settings: typeof defaults
  readonly #entry: string
  readonly #log: (level: LogLevel, message: string) => void
  readonly #policy: RestartPolicy
  readonly #monitor: StallMonitor
  readonly #waiters = new Set<Waiter>()
  readonly #listeners = new Set<(state: ServedModelState) => void>()
  #phase: ServedModelState['phase'] = 'loading'
  #progress: LoadProgress | undefined
  #restarts = 0
  #worker: Worker | undefined
  #info: AnyModelInfo | undefined
  #restartTimer: NodeJS.Timeout | undefined
  #started: Promise<AnyModelInfo> | undefined
  #closed: Promise<void> | undefined

  /** `name`: what clients call it; `options`: what its worker loads. */
  constructor(
    private readonly name: ServedModelName,
    private readonly options: EngineOptions,
    settings: SupervisorSettings = {},
  ) {
    const { aliases = [], workerEntry, restart, log, ...numbers } = settings
    this.aliases = aliases
    this.#entry = workerEntry ?? defaultEntry()
    this.#log = log ?? (() => undefined)
    this.#settings = { ...defaults, ...numbers }
    this.#policy = new RestartPolicy({ ...defaultRestartLimits, ...restart })
    this.#monitor = new StallMonitor(this.#settings, (silentMs) => {
      this.#log('error', `The model's process has given no sign for ${Math.round(silentMs / 1000)} s and is killed.`)
      this.#worker?.child.kill('SIGKILL')
    })
  }

  /** Loads the model. Rejects with a WorkerStartError; a failed first load is not tried again by itself. */
  start(): Promise<AnyModelInfo> {
    this.#started ??= new Promise((resolve, reject) => {
      if (!existsSync(this.#entry)) {
        this.#policy.giveUp(performance.now())
        this.#giveUp()
        return reject(new WorkerStartError(`The worker's script is missing: ${this.#entry}. Run npm run build:ts.`))
      }
      let worker: Worker
      try {
        worker = this.#launch()
      } catch (error) {
        if (!(error instanceof WorkerStartError)) throw error
        this.#onDown(error.message)
        return reject(error)
      }
      worker.model.ready.then(resolve, () => undefined)
      void worker.ended.then(({ reason, failure }) => reject(new WorkerStartError(reason, failure)))
    })
    return this.#started
  }

  info(): ServedModelName {
    return this.name
  }

  /** What is known of the model since it was loaded last. */
  get modelInfo(): AnyModelInfo | undefined {
    return this.#info
  }

  get model(): AnyModel | undefined {
    return this.#phase === 'ready' ? this.#worker?.model.model : undefined
  }

  /** The worker's process id while there is one. */
  get pid(): number | undefined {
    return this.#worker?.child.pid
  }

  /** The model; while it loads, the request waits, within bounds. Rejects with a RequestError, or the signal's reason. */
  get(signal?: AbortSignal): Promise<AnyModel> {
    if (signal?.aborted) return Promise.reject(signal.reason)
    if (this.#phase === 'ready' && this.#worker) return Promise.resolve(this.#worker.model.model)
    if (this.#phase === 'closed') return Promise.reject(new RequestError('shutting_down', 'The server is shutting down.'))
    if (this.#phase === 'failed') {
      if (!this.#policy.retry(performance.now())) return Promise.reject(new RequestError('model_crashed', unavailable))
      this.#restart(0)
    }
    const { loadWaitMs, maxLoadWaiters } = this.#settings
    const loading = new RequestError('model_loading', 'The model is still being loaded. Try again in a moment.')
    if (loadWaitMs === 0 || this.#waiters.size >= maxLoadWaiters) return Promise.reject(loading)
    return new Promise((resolve, reject) => {
      const leave = (error: unknown): void => {
        this.#waiters.delete(waiter)
        waiter.dismiss()
        reject(error)
      }
      const timer = setTimeout(() => leave(loading), loadWaitMs)
      const onAbort = (): void => leave(signal?.reason)
      signal?.addEventListener('abort', onAbort, { once: true })
      const dismiss = (): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', onAbort)
      }
      const waiter = { resolve, reject, dismiss }
      this.#waiters.add(waiter)
    })
  }

  state(): ServedModelState {
    const residentBytes = this.#worker?.model.activity.residentBytes
    return {
      phase: this.#phase,
      restarts: this.#restarts,
      ...(this.#progress && { progress: this.#progress }),
      ...(this.#phase === 'failed' && { reason: unavailable }),
      ...(residentBytes !== undefined && { residentBytes }),
    }
  }

  /** Reasons: 'loading', 'cb_worker_dead' (its name in transformers serve; until it is back), 'stalled', 'shutting_down'. */
  health(): { ok: boolean; reason?: string } {
    switch (this.#phase) {
      case 'ready':
        return this.#monitor.stalled ? { ok: false, reason: 'stalled' } : { ok: true }
      case 'loading':
        return { ok: false, reason: 'loading' }
      case 'restarting':
      case 'failed':
        return { ok: false, reason: 'cb_worker_dead' }
      case 'closed':
        return { ok: false, reason: 'shutting_down' }
    }
  }

  onChange(listener: (state: ServedModelState) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Ends the worker: what is open ends with `shutting_down`. Resolves when the process is gone. */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    this.#enter('closed')
    this.#monitor.stop()
    clearTimeout(this.#restartTimer)
    this.#rejectWaiters(new RequestError('shutting_down', 'The server is shutting down.'))
    const worker = this.#worker
    if (!worker) return
    worker.model.shutdown()
    // no SIGTERM between: the worker ignores it, as a terminal's or a container's goes to every process
    const timer = setTimeout(() => worker.child.kill('SIGKILL'), this.#settings.closeTimeoutMs)
    await worker.ended
    clearTimeout(timer)
  }

  /** Throws a WorkerStartError. */
  #launch(): Worker {
    const { child, channel } = spawnWorker(this.#entry)
    let words: string | undefined
    let worker: Worker | undefined
    const model = new WorkerModel(channel, this.options, {
      onProgress: (progress) => this.#onProgress(progress),
      onLog: (level, message) => this.#log(level, message),
      onEnd: (message) => {
        words ??= message
        if (worker && this.#worker === worker) this.#onLost(worker)
      },
    })
    const ended = new Promise<WorkerEnd>((resolve) => {
      child.once('error', (error) => {
        resolve({ reason: `The model's process could not be started: ${error.message}`, failure: undefined })
      })
      // 'close' follows 'exit' when the channel has been read to its end
      child.once('close', (code, signal) => resolve({ reason: endReason(words, code, signal), failure: model.loadFailure }))
    })
    worker = { child, model, ended }
    this.#worker = worker
    const current = worker
    model.ready.then(
      (info) => this.#onReady(current, info),
      () => undefined,
    )
    void ended.then(({ reason }) => this.#onEnded(current, reason))
    this.#monitor.watch(model, false)
    return worker
  }

  #onProgress(progress: LoadProgress): void {
    this.#progress = progress
    this.#changed()
  }

  #onReady(worker: Worker, info: AnyModelInfo): void {
    if (this.#worker !== worker || this.#phase === 'closed') return
    this.#info = info
    this.#progress = undefined
    this.#monitor.watch(worker.model, true)
    this.#enter('ready')
    for (const { resolve, dismiss } of this.#waiters) {
      dismiss()
      resolve(worker.model.model)
    }
    this.#waiters.clear()
  }

  // the channel has ended: the worker is of no more use, whether its process still runs or not
  #onLost(worker: Worker): void {
    if (this.#phase === 'closed') return
    if (this.#phase === 'ready') this.#enter('restarting')
    const timer = setTimeout(() => worker.child.kill('SIGKILL'), this.#settings.closeTimeoutMs)
    void worker.ended.then(() => clearTimeout(timer))
  }

  #onEnded(worker: Worker, reason: string): void {
    if (this.#worker !== worker) return
    this.#worker = undefined
    worker.model.abandon(reason)
    this.#monitor.stop()
    if (this.#phase === 'closed') return
    this.#progress = undefined
    this.#onDown(reason)
  }

  // there is no worker: try again, or stay down
  #onDown(reason: string): void {
    if (this.#phase === 'loading') {
      this.#policy.giveUp(performance.now())
      return this.#giveUp()
    }
    const delay = this.#policy.next(performance.now())
    if (delay === undefined) {
      this.#log('error', `${reason} It has ended too often and stays down for now.`)
      return this.#giveUp()
    }
    this.#log('error', `${reason} It is started again in ${delay} ms.`)
    this.#restart(delay)
  }

  #giveUp(): void {
    this.#enter('failed')
    this.#rejectWaiters(new RequestError('model_crashed', unavailable))
  }

  #restart(delayMs: number): void {
    this.#enter('restarting')
    this.#restartTimer = setTimeout(() => {
      this.#restarts++
      try {
        this.#launch()
      } catch (error) {
        if (!(error instanceof WorkerStartError)) throw error
        return this.#onDown(error.message)
      }
      this.#changed()
    }, delayMs)
  }

  #rejectWaiters(error: RequestError): void {
    for (const { reject, dismiss } of this.#waiters) {
      dismiss()
      reject(error)
    }
    this.#waiters.clear()
  }

  #enter(phase: ServedModelState['phase']): void {
    this.#phase = phase
    this.#changed()
  }

  #changed(): void {
    const state = this.state()
    for (const listener of this.#listeners) listener(state)
  }
}
