// A model's process without a process, for tests of who is loaded when: it loads when it is told to, or after a time.
import type { EngineOptions, LoadProgress, ModelInfo, TextModel } from '../../src/engine/types.js'
import type { RunningModel } from '../../src/models/model-entry.js'
import type { ServedModelName, ServedModelState } from '../../src/server/served-model.js'
import { fakeInfo, FakeTextModel } from './fake-text-model.js'

export class FakeProcess implements RunningModel {
  readonly text: FakeTextModel
  phase: ServedModelState['phase'] = 'loading'
  residentBytes: number | undefined
  closes = 0
  #listeners = new Set<(state: ServedModelState) => void>()
  #started = Promise.withResolvers<ModelInfo>()
  #progress: LoadProgress | undefined

  constructor(
    readonly name: ServedModelName,
    readonly options: EngineOptions,
    private readonly fleet: FakeFleet,
  ) {
    const info = { ...fakeInfo, ...name, weightBytes: 0, kvBytes: options.kvCacheMemory ?? 0, ...fleet.info }
    this.text = new FakeTextModel({ info })
    this.#started.promise.catch(() => undefined)
  }

  get model(): TextModel | undefined {
    return this.phase === 'ready' ? this.text : undefined
  }

  start(): Promise<ModelInfo> {
    if (this.fleet.loadMs !== undefined) setTimeout(() => this.loaded(), this.fleet.loadMs)
    return this.#started.promise
  }

  loaded(): void {
    if (this.phase !== 'loading') return
    this.phase = 'ready'
    this.#progress = undefined
    this.#tell()
    this.#started.resolve(this.text.info)
  }

  progress(progress: LoadProgress): void {
    this.#progress = progress
    this.#tell()
  }

  fail(error: Error): void {
    this.phase = 'failed'
    this.#tell()
    this.#started.reject(error)
  }

  async get(): Promise<TextModel> {
    const model = this.model
    if (!model) throw new Error(`'${this.name.id}' was asked to work while it was ${this.phase}.`)
    return model
  }

  state(): ServedModelState {
    const { phase, residentBytes } = this
    return {
      phase,
      restarts: 0,
      ...(this.#progress && { progress: this.#progress }),
      ...(residentBytes !== undefined && { residentBytes }),
    }
  }

  health(): { ok: boolean; reason?: string } {
    return this.phase === 'ready' ? { ok: true } : { ok: false, reason: this.phase === 'failed' ? 'cb_worker_dead' : 'loading' }
  }

  onChange(listener: (state: ServedModelState) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async close(): Promise<void> {
    this.closes++
    const loading = this.phase === 'loading'
    this.phase = 'closed'
    // as a process does, it takes a moment to end
    await new Promise((resolve) => setImmediate(resolve))
    this.fleet.ended(this)
    if (loading) this.#started.reject(new Error('It was ended while it was loading.'))
  }

  #tell(): void {
    for (const listener of this.#listeners) listener(this.state())
  }
}

/** All processes of a test. */
export class FakeFleet {
  /** Milliseconds that a load takes; undefined: until `loaded()` is called. */
  loadMs: number | undefined
  info: Partial<ModelInfo> = {}
  readonly all: FakeProcess[] = []
  readonly alive = new Set<FakeProcess>()
  mostAlive = 0

  readonly launch = (name: ServedModelName, options: EngineOptions): FakeProcess => {
    const process = new FakeProcess(name, options, this)
    this.all.push(process)
    this.alive.add(process)
    this.mostAlive = Math.max(this.mostAlive, this.alive.size)
    return process
  }

  ended(process: FakeProcess): void {
    this.alive.delete(process)
  }

  of(id: string): FakeProcess[] {
    return this.all.filter(({ name }) => name.id === id)
  }

  /** The latest process of a model. Throws when there was none. */
  last(id: string): FakeProcess {
    const process = this.of(id).at(-1)
    if (!process) throw new Error(`'${id}' was not loaded.`)
    return process
  }
}
