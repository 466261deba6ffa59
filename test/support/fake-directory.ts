import { RequestError } from '../../src/engine/types.js'
import { modelRows, type ModelRow } from '../../src/hub/model-rows.js'
import { withRevision } from '../../src/protocol/model-names.js'
import type { DirectoryCounters, DirectoryEntry, LoadEvent, ModelDirectory, ModelLease } from '../../src/server/model-directory.js'
import { FakeTextModel, type FakeTextModelOptions } from './fake-text-model.js'

interface Waiter {
  resolve: () => void
  reject: (error: Error) => void
}

/** A load that a test steers. */
export class FakeLoad {
  readonly waiters = new Set<Waiter>()
  readonly watchers = new Set<(event: LoadEvent) => void>()

  constructor(
    readonly name: string,
    private readonly done: (model: boolean) => void,
  ) {}

  /** Tells the watchers. */
  tell(event: LoadEvent): void {
    for (const watcher of [...this.watchers]) watcher(event)
  }

  ready(): void {
    this.done(true)
    for (const { resolve } of this.waiters) resolve()
    this.tell({ status: 'ready', model: this.name, cached: false })
  }

  fail(message: string): void {
    this.done(false)
    for (const { reject } of this.waiters) reject(new RequestError('model_load_failed', message, 'model'))
    this.tell({ status: 'error', model: this.name, message })
  }
}

/** A directory that loads whatever is named, when the test says so. */
export class FakeDirectory implements ModelDirectory {
  readonly loaded = new Map<string, FakeTextModel>()
  readonly loads = new Map<string, FakeLoad>()
  readonly pinned = new Set<string>()
  /** Calls of each lease's release(). */
  readonly releases: number[] = []
  /** What the cache holds beside what is loaded. */
  cached: ModelRow[] = []
  /** Scans begun, and one that is under way waits for this. */
  scans = 0
  scanning: Promise<void> = Promise.resolve()
  closed = false

  /** @param names models that are there from the start */
  constructor(
    names: readonly string[] = [],
    private readonly options: FakeTextModelOptions = {},
  ) {
    for (const name of names) this.#put(withRevision(name))
  }

  /** Leases that are open. */
  get held(): number {
    return this.releases.filter((calls) => calls === 0).length
  }

  model(name: string): FakeTextModel {
    return this.loaded.get(withRevision(name))!
  }

  async lease(name: string | undefined, signal?: AbortSignal): Promise<ModelLease> {
    if (!name) throw new RequestError('model_required', 'Name a model.', 'model')
    const canonical = withRevision(name)
    if (!this.loaded.has(canonical)) {
      const { waiters } = this.#load(canonical)
      await new Promise<void>((resolve, reject) => {
        const waiter = { resolve, reject }
        waiters.add(waiter)
        signal?.addEventListener('abort', () => {
          waiters.delete(waiter)
          reject(signal.reason as Error)
        })
      })
    }
    const model = this.loaded.get(canonical)!
    const at = this.releases.push(0) - 1
    return { model, name: model.info, release: () => void this.releases[at]!++ }
  }

  watchLoad(name: string, listener: (event: LoadEvent) => void): () => void {
    const canonical = withRevision(name)
    if (this.loaded.has(canonical)) {
      listener({ status: 'ready', model: canonical, cached: true })
      return () => undefined
    }
    const { watchers } = this.#load(canonical)
    watchers.add(listener)
    return () => watchers.delete(listener)
  }

  async unload(name: string): Promise<boolean> {
    const canonical = withRevision(name)
    if (this.pinned.has(canonical)) throw new RequestError('model_pinned', `'${name}' is pinned.`, 'model')
    return Promise.resolve(this.loaded.delete(canonical))
  }

  async reset(): Promise<void> {
    for (const name of this.loaded.keys()) if (!this.pinned.has(name)) this.loaded.delete(name)
    return Promise.resolve()
  }

  async list(): Promise<ModelRow[]> {
    this.scans++
    const found = [
      ...modelRows(
        [],
        [...this.loaded.values()].map(({ info }) => info),
      ),
      ...this.cached,
    ]
    await this.scanning
    return found
  }

  entries(): readonly DirectoryEntry[] {
    const ready = [...this.loaded].map(([name, model]): DirectoryEntry => {
      return { name: model.info, state: { phase: 'ready', restarts: 0 }, pinned: this.pinned.has(name), leases: this.held, model }
    })
    const loading = [...this.loads.keys()].map((name): DirectoryEntry => {
      const [id = '', revision = ''] = name.split('@')
      return { name: { id, revision, created: 1 }, state: { phase: 'loading', restarts: 0 }, pinned: false, leases: 0 }
    })
    return [...ready, ...loading]
  }

  counters(): DirectoryCounters {
    return { loads: { ready: 3, failed: 1 }, loadSeconds: 4.5, unloads: { idle: 1, asked: 0, evicted: 2 } }
  }

  health(): { ok: boolean; reason?: string } {
    return { ok: true }
  }

  close(): Promise<void> {
    this.closed = true
    return Promise.resolve()
  }

  #load(canonical: string): FakeLoad {
    const under = this.loads.get(canonical)
    if (under) return under
    const load = new FakeLoad(canonical, (ready) => {
      this.loads.delete(canonical)
      if (ready) this.#put(canonical)
    })
    this.loads.set(canonical, load)
    return load
  }

  #put(canonical: string): void {
    const [, id = '', revision = 'main', file = ''] = /^([^@]*)@([^:]*)(:.*)?$/.exec(canonical) ?? []
    this.loaded.set(canonical, new FakeTextModel({ ...this.options, info: { id: id + file, revision } }))
  }
}
