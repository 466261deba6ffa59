// A directory of one model that is always there: the library's, a test's, or one that somebody else supervises.
import { RequestError } from '../engine/types.js'
import { modelRows, type ModelRow } from '../hub/model-rows.js'
import { canonicalName, namesModel, requireModel, withRevision } from '../protocol/model-names.js'
import type { DirectoryCounters, DirectoryEntry, LoadEvent, ModelDirectory, ModelLease } from './model-directory.js'
import type { ServedModel, ServedModelState } from './served-model.js'

// those that clients of transformers serve know
const knownStages: ReadonlySet<string> = new Set(['processor', 'config', 'weights'])

type LoadingStage = Extract<LoadEvent, { status: 'loading' }>['stage']

/** The event that a state of the model means, if any. @param waited whether the watcher saw the model loading */
function loadEvent(name: string, state: ServedModelState, waited: boolean): LoadEvent | undefined {
  switch (state.phase) {
    case 'ready':
      return { status: 'ready', model: name, cached: !waited }
    case 'failed':
    case 'closed':
      return { status: 'error', model: name, message: state.reason ?? 'The model could not be loaded.' }
    case 'loading':
    case 'restarting': {
      const { progress } = state
      if (!progress || !knownStages.has(progress.stage)) return undefined
      const { current, total = null } = progress
      const stage = progress.stage as LoadingStage
      return { status: 'loading', model: name, stage, ...(current === undefined ? {} : { progress: { current, total } }) }
    }
  }
}

/** Every request means the one model, under its own names or none; any other name is refused. */
export class SingleModelDirectory implements ModelDirectory {
  #leases = 0

  /** @param end ends the model on `close()`; without it that stays with the model's owner */
  constructor(
    private readonly served: ServedModel,
    private readonly end: () => Promise<void> = () => Promise.resolve(),
  ) {}

  async lease(name: string | undefined, signal?: AbortSignal): Promise<ModelLease> {
    this.#require(name)
    const model = await this.served.get(signal)
    this.#leases++
    let open = true
    const release = (): void => {
      if (open) this.#leases--
      open = false
    }
    return { model, name: this.served.info(), release }
  }

  watchLoad(name: string, listener: (event: LoadEvent) => void): () => void {
    const { served } = this
    if (!this.#names(name)) {
      const message = `This server serves '${served.info().id}' only; '${name.slice(0, 200)}' cannot be loaded.`
      listener({ status: 'error', model: withRevision(name), message })
      return () => undefined
    }
    let over = false
    let waited = false
    let unsubscribe: () => void = () => undefined
    const stop = (): void => {
      over = true
      unsubscribe()
    }
    const show = (state: ServedModelState): void => {
      if (over) return
      const event = loadEvent(canonicalName(served.info()), state, waited)
      waited = true
      if (event && event.status !== 'loading') stop()
      if (event) listener(event)
    }
    show(served.state())
    if (!over) unsubscribe = served.onChange(show)
    return stop
  }

  async unload(name: string): Promise<boolean> {
    if (!this.#names(name)) return false
    throw new RequestError('model_pinned', `'${this.served.info().id}' is the only model of this server and stays loaded.`, 'model')
  }

  reset(): Promise<void> {
    return Promise.resolve()
  }

  list(): Promise<ModelRow[]> {
    const rows = modelRows([], [this.served.info()])
    if (this.served.state().phase === 'ready') return Promise.resolve(rows)
    return Promise.resolve(rows.map(({ owned_by, id, object, created }) => ({ owned_by, id, object, created })))
  }

  entries(): readonly DirectoryEntry[] {
    const { aliases, model } = this.served
    return [{ name: this.served.info(), aliases, state: this.served.state(), pinned: true, leases: this.#leases, ...(model && { model }) }]
  }

  counters(): DirectoryCounters {
    return { loads: { ready: 0, failed: 0 }, loadSeconds: 0, unloads: { idle: 0, asked: 0, evicted: 0 } }
  }

  health(): { ok: boolean; reason?: string } {
    const { phase } = this.served.state()
    switch (phase) {
      case 'loading':
        return { ok: false, reason: 'model_loading' }
      // what clients of transformers serve know a dead worker by
      case 'restarting':
      case 'failed':
        return { ok: false, reason: 'cb_worker_dead' }
      case 'closed':
        return { ok: false, reason: 'shutting_down' }
      case 'ready':
        return this.served.health()
    }
  }

  close(): Promise<void> {
    return this.end()
  }

  #names(name: string): boolean {
    return namesModel(name, { ...this.served.info(), aliases: this.served.aliases })
  }

  #require(name: string | undefined): void {
    requireModel(name, { ...this.served.info(), aliases: this.served.aliases })
  }
}
