// One model that is in memory, on its way there, or waits for a place: who holds it, who waits for it, when it goes.
import { type AnyModel, type AnyModelInfo, workingBytes } from '../engine/model-kinds.js'
import { type EngineOptions, RequestError } from '../engine/types.js'
import type { ModelLease } from '../server/model-directory.js'
import type { ServedModelName, ServedModelState } from '../server/served-model.js'
import type { Resident } from './admission.js'
import { LoadFeed, type LoadStage, type LoadWatch } from './load-feed.js'
import { processBytes } from './memory-estimate.js'
import type { FoundModel } from './model-source.js'
import { nameOf } from './request-names.js'
import { WorkerStartError } from './supervisor.js'

/** A model's process, as the registry uses it: a SupervisedModel. */
export interface RunningModel {
  /** Loads; rejects with a WorkerStartError. */
  start(): Promise<AnyModelInfo>
  get(signal?: AbortSignal): Promise<AnyModel>
  /** The model while it is ready. */
  readonly model: AnyModel | undefined
  state(): ServedModelState
  health(): { ok: boolean; reason?: string }
  onChange(listener: (state: ServedModelState) => void): () => void
  /** Resolves when the process is gone. */
  close(): Promise<void>
}

/** What an entry asks of the place that it lives in. */
export interface EntryHost {
  launch(name: ServedModelName, options: EngineOptions): RunningModel
  /** It wants into memory. */
  wanted(entry: ModelEntry): void
  /** Something has changed by which a model may get its turn. */
  changed(): void
  log(level: 'info' | 'warning' | 'error', message: string): void
  count(event: EntryEvent): void
  /** Idle for so long it is unloaded, in milliseconds; Infinity: never. */
  readonly idleMs: number
}

/** What the metrics count. */
export type EntryEvent = { load: 'ready'; seconds: number } | { load: 'failed' } | { unload: 'idle' | 'asked' | 'evicted' }

interface Waiter {
  readonly name: ServedModelName
  readonly signal: AbortSignal
  readonly resolve: (lease: ModelLease) => void
  readonly reject: (error: unknown) => void
  readonly dismiss: () => void
}

type Phase = 'out' | 'loading' | 'ready' | 'leaving'

// a model that was just loaded works for at least as long as two loads before it is drained for another's sake
const turnFactor = 2
const shortestTurnMs = 1000
const longestTurnMs = 30_000
const longestTimerMs = 2 ** 31 - 1

const stages: Partial<Record<string, LoadStage>> = { processor: 'processor', config: 'config', weights: 'weights' }
const unloaded = (): RequestError => new RequestError('model_load_failed', 'The model was unloaded before it was ready.')
const shuttingDown = (): RequestError => new RequestError('shutting_down', 'The server is shutting down.')

/** What clients hear of a load that failed: the worker's sentence where it was meant for them. */
function loadFailure(error: unknown, id: string): RequestError {
  if (error instanceof RequestError) return error
  const code = error instanceof WorkerStartError && error.unsupported ? 'model_unsupported' : 'model_load_failed'
  const why = error instanceof WorkerStartError && error.forClients ? error.forClients : "The server's log says why."
  return new RequestError(code, `'${id}' could not be loaded. ${why}`, 'model')
}

export class ModelEntry implements Resident {
  readonly name: ServedModelName
  draining = false
  lastUsed = 0
  turnEnds = 0
  /** Of the load that is under way or to come. */
  readonly feed = new LoadFeed()

  #phase: Phase = 'out'
  #running: RunningModel | undefined
  #info: AnyModelInfo | undefined
  #kvGrant = 0
  #leases = 0
  #loads = 0
  #waiters: Waiter[] = []
  #watched = false
  /** It was told to go, by name: requests that come from now on are for the next load. */
  #dismissed = false
  #gone: { promise: Promise<undefined>; resolve: (value?: undefined) => void } | undefined
  #idleTimer: NodeJS.Timeout | undefined
  #closed = false

  /** @param pinned no other model and no idleness pushes it out */
  constructor(
    readonly found: FoundModel,
    readonly pinned: boolean,
    private readonly host: EntryHost,
  ) {
    this.name = nameOf(found)
  }

  get phase(): Phase {
    return this.#phase
  }

  get inMemory(): boolean {
    return this.#phase !== 'out'
  }

  /** Works for whoever comes now. */
  get available(): boolean {
    return this.#phase === 'ready' && !this.draining && !this.#dismissed
  }

  /** Somebody waits for it, or has asked for it to be loaded. */
  get wished(): boolean {
    return this.#waiters.length > 0 || this.#watched
  }

  /** It is about to end by name, which its open requests hold up. */
  get dismissed(): boolean {
    return this.#dismissed
  }

  get leases(): number {
    return this.#leases
  }

  get use(): Resident['use'] {
    if (this.#phase === 'loading') return 'loading'
    if (this.#phase === 'leaving') return 'leaving'
    return this.#leases > 0 ? 'busy' : 'idle'
  }

  /** The estimate until it is loaded; then what it is known to have, and what it is seen to take where that is more. */
  get bytes(): number {
    const weights = this.#info ? Math.max(this.#info.weightBytes, 0) : this.found.weightBytes
    const cache = this.#info ? workingBytes(this.#info) : this.#kvGrant
    return Math.max(weights + cache + processBytes, this.#running?.state().residentBytes ?? 0)
  }

  get state(): ServedModelState {
    if (this.#running && this.#phase !== 'leaving') return this.#running.state()
    return { phase: 'loading', restarts: 0 }
  }

  get model(): AnyModel | undefined {
    return this.#phase === 'ready' ? this.#running?.model : undefined
  }

  get info(): AnyModelInfo | undefined {
    return this.#info
  }

  health(): { ok: boolean; reason?: string } {
    const health = this.#running?.health()
    return health && health.reason !== 'loading' ? health : { ok: false, reason: 'model_loading' }
  }

  /** The model for a request that calls it `name`; waits where it is not in memory. */
  lease(name: ServedModelName, signal: AbortSignal): Promise<ModelLease> {
    if (signal.aborted) return Promise.reject(signal.reason)
    if (this.available) return this.#take(name, signal)
    if (this.#closed) return Promise.reject(shuttingDown())
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#waiters = this.#waiters.filter((other) => other !== waiter)
        reject(signal.reason)
        this.host.changed()
      }
      signal.addEventListener('abort', leave, { once: true })
      const waiter = { name, signal, resolve, reject, dismiss: () => signal.removeEventListener('abort', leave) }
      this.#waiters.push(waiter)
      this.host.wanted(this)
    })
  }

  /** Loads it for someone who watches; the wish stays when the watcher leaves. */
  watch(watch: LoadWatch): void {
    if (this.#closed) return watch.fail(shuttingDown().message)
    if (this.available) return watch.ready(true)
    this.#watched = true
    this.feed.add(watch)
    this.host.wanted(this)
  }

  /** Its turn has come. */
  load(options: Omit<EngineOptions, 'path' | 'id' | 'revision'>, kvCacheMemory: number): void {
    const { path } = this.found
    const { id, revision } = this.name
    this.#phase = 'loading'
    this.#kvGrant = kvCacheMemory
    const begun = performance.now()
    const running = this.host.launch(this.name, { ...options, path, id, revision, kvCacheMemory })
    this.#running = running
    const stop = running.onChange(({ progress }) => {
      const stage = stages[progress?.stage ?? '']
      if (!stage || this.#phase !== 'loading') return
      const counted = progress?.current !== undefined && { current: progress.current, total: progress.total ?? null }
      this.feed.loading(stage, counted || undefined)
    })
    running
      .start()
      .then((info) => this.#ready(info, begun))
      .catch((error: unknown) => this.#failed(error))
      .finally(stop)
  }

  /** It cannot be loaded: all who wait are told. */
  refuse(error: RequestError): void {
    this.#watched = false
    for (const waiter of this.#takeWaiters()) waiter.reject(error)
    this.feed.fail(error.message)
  }

  /** Keeps new requests from it, so that it becomes idle; `undrain` lets them in again. */
  drain(): void {
    this.draining = true
  }

  undrain(): void {
    if (!this.draining) return
    this.draining = false
    // it was told to go when its last request had just ended
    if (this.#dismissed && this.#leases === 0) return void this.unload('asked')
    if (!this.available) return
    this.#watched = false
    this.feed.ready(true)
    this.#serveWaiters()
  }

  /** Ends its process now; only for a model that nobody holds. Resolves when the memory is back. */
  async unload(why: 'idle' | 'asked' | 'evicted'): Promise<void> {
    const running = this.#running
    if (!running || this.#phase === 'leaving') return this.#gone?.promise
    const loading = this.#phase === 'loading'
    this.#phase = 'leaving'
    if (loading) this.refuse(unloaded())
    else this.host.count({ unload: why })
    clearTimeout(this.#idleTimer)
    await running.close()
    this.#out()
  }

  /** Ends its process as soon as those who hold it, and those who have waited until now, are done. Resolves when it is gone. */
  dismiss(): Promise<void> {
    if (this.#phase === 'out' && this.#waiters.length === 0) {
      this.refuse(unloaded())
      this.host.changed()
      return Promise.resolve()
    }
    this.#gone ??= Promise.withResolvers<undefined>()
    this.#dismissed = true
    if (this.#leases === 0 && this.#waiters.length === 0) void this.unload('asked')
    return this.#gone.promise
  }

  /** Nobody wants it any more, before it was loaded. */
  forget(): void {
    this.#dismissed = false
    this.#gone?.resolve()
    this.#gone = undefined
  }

  /** Ends everything; what waits is told that the server shuts down. */
  async close(): Promise<void> {
    this.#closed = true
    this.refuse(shuttingDown())
    clearTimeout(this.#idleTimer)
    await this.#running?.close()
    this.#gone?.resolve()
  }

  async #take(name: ServedModelName, signal: AbortSignal): Promise<ModelLease> {
    this.#leases++
    this.lastUsed = performance.now()
    clearTimeout(this.#idleTimer)
    let open = true
    const release = (): void => {
      if (!open) return
      open = false
      this.#leases--
      this.#released()
    }
    try {
      // its process may have died and be on its way back
      const model = await this.#running!.get(signal)
      return { model, name, release }
    } catch (error) {
      release()
      throw error
    }
  }

  #released(): void {
    this.lastUsed = performance.now()
    if (this.#leases > 0 || this.#closed || this.#phase !== 'ready') return
    if (this.#dismissed) return void this.unload('asked')
    this.#countIdleness()
    this.host.changed()
  }

  #countIdleness(): void {
    clearTimeout(this.#idleTimer)
    if (this.pinned || this.host.idleMs === Infinity || this.#closed) return
    this.#idleTimer = setTimeout(
      () => {
        if (this.use !== 'idle' || this.#phase !== 'ready') return
        this.host.log('info', `${this.name.id} is unloaded: no request came for ${Math.round(this.host.idleMs / 1000)} s.`)
        void this.unload('idle')
      },
      Math.min(this.host.idleMs, longestTimerMs),
    )
    this.#idleTimer.unref()
  }

  #ready(info: AnyModelInfo, begun: number): void {
    if (this.#phase !== 'loading') return
    const now = performance.now()
    this.#phase = 'ready'
    this.#info = info
    this.#watched = false
    this.lastUsed = now
    this.turnEnds = now + Math.min(Math.max((now - begun) * turnFactor, shortestTurnMs), longestTurnMs)
    this.host.count({ load: 'ready', seconds: (now - begun + (this.#loads++ === 0 ? (this.found.fetchMs ?? 0) : 0)) / 1000 })
    this.feed.ready(false)
    this.#serveWaiters()
    this.#released()
    // others may have waited for it to be ready, so that it can be drained
    this.host.changed()
  }

  #failed(error: unknown): void {
    // told to end while it was loading: that is no failure of the model
    if (this.#phase !== 'loading' || this.#closed) return
    this.host.count({ load: 'failed' })
    const failure = loadFailure(error, this.name.id)
    this.host.log('error', `${this.name.id} could not be loaded: ${error instanceof Error ? error.message : String(error)}`)
    this.#phase = 'leaving'
    this.refuse(failure)
    void this.#running?.close().then(() => this.#out())
  }

  // in order of arrival
  #serveWaiters(): void {
    for (const { name, signal, resolve, reject } of this.#takeWaiters()) this.#take(name, signal).then(resolve, reject)
  }

  #takeWaiters(): Waiter[] {
    const waiters = this.#waiters
    this.#waiters = []
    for (const { dismiss } of waiters) dismiss()
    return waiters
  }

  #out(): void {
    this.#phase = 'out'
    this.#running = undefined
    this.#info = undefined
    this.draining = false
    this.forget()
    this.host.changed()
  }
}
