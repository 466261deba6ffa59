// The models that this server serves: finds what a request means, has it loaded, holds it while it works, lets it go.
import type { AnyModelInfo } from '../engine/model-kinds.js'
import { type EngineOptions, type LogLevel, RequestError } from '../engine/types.js'
import { type LoadedName, type ModelRow, modelRows } from '../hub/model-rows.js'
import { scanCache } from '../hub/scan-cache.js'
import { canonicalName, isPlaceholder, namesModel, withRevision } from '../protocol/model-names.js'
import { LatestRun } from '../server/latest-run.js'
import type { DirectoryCounters, DirectoryEntry, LoadEvent, ModelDirectory, ModelLease } from '../server/model-directory.js'
import type { ServedModelName } from '../server/served-model.js'
import { Arrivals } from './arrivals.js'
import type { Environment } from './hub-cache.js'
import { LoadFeed, LoadWatch } from './load-feed.js'
import { convertsWeights, defaultMemoryShare, kvShare } from './memory-estimate.js'
import type { ModelEntry, RunningModel } from './model-entry.js'
import { type FoundModel, ModelSource } from './model-source.js'
import { type NamedModel, nameOf, readName, specId } from './request-names.js'
import { Residency } from './residency.js'
import type { ResolvedModel } from './resolve.js'
import { SupervisedModel, type SupervisorSettings } from './supervisor.js'
import { unlessAborted, WaitingRoom } from './waiting-room.js'

export interface RegistryOptions {
  /** For every model. */
  engine?: Omit<EngineOptions, 'path' | 'id' | 'revision' | 'kvCacheMemory'>
  /** The only one that is served; it stays in memory. */
  pinned?: ResolvedModel
  /** Further models of the command line: they go by their names, and are loaded on demand. */
  local?: readonly ResolvedModel[]
  /** The id that a request without a name means, where nothing is pinned. Default: that of the only model in memory. */
  fallback?: string
  /** Directories of which requests may name paths. */
  allowLocal?: readonly string[]
  /** Whether a model that is not in the cache may be downloaded. Default true; HF_HUB_OFFLINE forbids it, too. */
  allowDownload?: boolean
  /** In memory at once; 0 (default): no bound. */
  maxLoadedModels?: number
  /** Bytes that all models together may take; 0: no bound. Default: 0.9 of what is available when the registry is made. */
  memoryLimit?: number
  /** Bound of one model's KV cache in bytes. Default: a share of the memory limit. */
  kvCacheMemory?: number
  /** A model that nobody has used for so long is unloaded; -1: never. Default 300. */
  modelTimeoutSeconds?: number
  /** How long a request waits for a model that is not in memory. Default 600 s. */
  loadTimeoutMs?: number
  /** Requests that may wait for models. Default 1024. */
  maxWaiters?: number
  /** Of each model's process. */
  supervisor?: Omit<SupervisorSettings, 'aliases' | 'log'>
  cacheDir?: string
  token?: string
  env?: Environment
  log?: (level: LogLevel, message: string) => void
  /** What runs a model; default: a SupervisedModel. */
  launch?: (name: ServedModelName, options: EngineOptions) => RunningModel
}

/** What a name means: files that are here. */
interface Meaning {
  found: FoundModel
  /** As the request named it. */
  name: ServedModelName
}

const defaultTimeoutSeconds = 300
const defaultLoadTimeoutMs = 600_000
const defaultMaxWaiters = 1024
const maxDownloads = 4
const maxNamesPerEntry = 256
const maxWatches = 1024

const notThere = (named: string): RequestError =>
  new RequestError(
    'model_not_found',
    `'${named.slice(0, 200)}' is no model id. Expected org/name, org/name@revision, org/name:file.gguf or org/name:Q4_K_M.`,
    'model',
  )

/** A model's id as the cache's rows have it, whichever name it was loaded by: with the GGUF file, where it is one. A pinned one has its own name. */
function listedId({ found: { commit, file }, name: { id }, pinned }: ModelEntry): string {
  return !pinned && commit !== undefined && file !== undefined ? specId({ id: id.replace(/:.*$/s, ''), file }) : id
}

export class ModelRegistry implements ModelDirectory {
  readonly #options: RegistryOptions
  readonly #source: ModelSource
  readonly #residency: Residency
  readonly #waiting: WaitingRoom
  readonly #arrivals: Arrivals
  // a model answers to the names by which it was found until it is out of memory, wherever a ref moves meanwhile
  readonly #names = new Map<string, ModelEntry>()
  readonly #rows = new LatestRun(() => this.list())
  readonly #closing = new AbortController()
  readonly #log: (level: LogLevel, message: string) => void
  #pinned: Promise<FoundModel> | undefined
  #pinnedEntry: ModelEntry | undefined
  #watches = 0

  constructor(options: RegistryOptions = {}) {
    this.#options = options
    const { engine = {}, pinned, kvCacheMemory, modelTimeoutSeconds = defaultTimeoutSeconds } = options
    this.#log = options.log ?? (() => undefined)
    const memory = options.memoryLimit ?? Math.floor(process.availableMemory() * defaultMemoryShare)
    const models = options.maxLoadedModels || Infinity
    const bytes = memory === 0 ? Infinity : memory
    const base = Number.isFinite(bytes) ? bytes : process.availableMemory()
    this.#source = new ModelSource({
      engine,
      allowLocal: options.allowLocal ?? [],
      allowDownload: options.allowDownload ?? true,
      maxDownloads,
      cacheDir: options.cacheDir,
      token: options.token,
      env: options.env,
      log: this.#log,
    })
    this.#residency = new Residency({
      bounds: { models, bytes },
      engine,
      kvCacheMemory: kvCacheMemory ?? Math.floor(base * kvShare(pinned ? 1 : models)),
      idleMs: modelTimeoutSeconds > 0 ? modelTimeoutSeconds * 1000 : Infinity,
      launch:
        options.launch ?? ((name, engineOptions) => new SupervisedModel(name, engineOptions, { ...options.supervisor, log: this.#log })),
      onGone: (entry) => this.#forgetNames(entry),
      log: this.#log,
    })
    this.#arrivals = new Arrivals(
      this.#source,
      (identity) => this.#residency.find(identity)?.available ?? false,
      // weights that are converted may be smaller in memory than on the way here
      (id, bytes) => (convertsWeights(engine) ? undefined : this.#residency.obstacle(id, bytes)),
      this.#closing.signal,
    )
    this.#waiting = new WaitingRoom({
      maxWaiters: options.maxWaiters ?? defaultMaxWaiters,
      maxWaitMs: options.loadTimeoutMs ?? defaultLoadTimeoutMs,
    })
  }

  /** Loads the pinned model, however long it takes. Rejects with a RequestError; the log has the details. */
  async start(): Promise<AnyModelInfo> {
    const { pinned } = this.#options
    if (!pinned) throw new Error('No model is pinned.')
    const entry = this.#place({ found: await this.#pinnedModel(pinned) })
    const { model, release } = await entry.lease(entry.name, this.#closing.signal)
    release()
    return model.info
  }

  lease(named: string | undefined, signal?: AbortSignal): Promise<ModelLease> {
    const name = isPlaceholder(named) ? (this.#options.fallback ?? named) : named
    const known = this.#known(name)
    if (known?.entry.available) return known.entry.lease(known.name, signal ?? this.#closing.signal)
    return this.#waiting.hold(signal, async (until) => {
      const meaning = await unlessAborted(this.#find(name), until)
      return this.#place(meaning, name).lease(meaning.name, until)
    })
  }

  watchLoad(name: string, listener: (event: LoadEvent) => void): () => void {
    const asked = this.#read(name)?.name
    let counted = true
    const leave = (): void => {
      if (counted) this.#watches--
      counted = false
    }
    const watch = new LoadWatch(asked ? canonicalName(asked) : withRevision(name), (event) => {
      if (event.status !== 'loading') leave()
      listener(event)
    })
    this.#watches++
    if (this.#watches > maxWatches) watch.fail('Too many loads are being watched. Try again later.')
    else void this.#watch(name, watch)
    return () => {
      leave()
      watch.leave()
    }
  }

  async unload(name: string): Promise<boolean> {
    const entry = this.#known(name)?.entry ?? (await this.#inMemory(name))
    if (!entry) return false
    if (entry.pinned) throw new RequestError('model_pinned', `'${entry.name.id}' is pinned: it stays loaded.`, 'model')
    await entry.dismiss()
    return true
  }

  async reset(): Promise<void> {
    await Promise.all(this.#residency.entries.filter(({ pinned }) => !pinned).map((entry) => entry.dismiss()))
  }

  /** With a pin just that one: nothing else would be served. */
  async list(): Promise<ModelRow[]> {
    const { pinned, local = [] } = this.#options
    const here = this.#residency.entries.filter(({ phase }) => phase === 'ready')
    const loaded = here.map((entry): LoadedName => {
      const { revision, created } = entry.name
      return { id: listedId(entry), revision, commit: entry.found.commit, created }
    })
    const known = (pinned ? [pinned] : local).filter((model) => !here.some(({ name }) => name.id === model.id))
    const rows = modelRows(pinned ? [] : await scanCache(this.#source.cache), loaded)
    const others = modelRows([], known).map(({ owned_by, id, object, created }): ModelRow => ({ owned_by, id, object, created }))
    // the demo comes after what the user has got
    return [...rows, ...others]
  }

  entries(): readonly DirectoryEntry[] {
    const here = this.#residency.entries
      .filter(({ phase }) => phase !== 'leaving')
      .map((entry): DirectoryEntry => {
        const { name, state, pinned, leases, model, found } = entry
        const asked = [...this.#names].filter(([, other]) => other === entry).map(([alias]) => alias)
        const listed = canonicalName({ id: listedId(entry), revision: name.revision })
        const aliases = new Set([...found.aliases, ...asked, ...(listed === canonicalName(name) ? [] : [listed])])
        return { name, aliases: [...aliases], state, pinned, leases, ...(model && { model }) }
      })
    const arriving = this.#arrivals.open.map(({ name }): DirectoryEntry => {
      return { name, state: { phase: 'loading', restarts: 0 }, pinned: false, leases: 0 }
    })
    return [...here, ...arriving]
  }

  counters(): DirectoryCounters {
    return this.#residency.counters
  }

  health(): { ok: boolean; reason?: string } {
    if (this.#closing.signal.aborted) return { ok: false, reason: 'shutting_down' }
    if (this.#options.pinned) return this.#pinnedEntry?.health() ?? { ok: false, reason: 'model_loading' }
    const ready = this.#residency.entries.filter(({ phase }) => phase === 'ready')
    return ready.map((entry) => entry.health()).find(({ ok }) => !ok) ?? { ok: true }
  }

  async close(): Promise<void> {
    const reason = new RequestError('shutting_down', 'The server is shutting down.')
    this.#closing.abort(reason)
    await Promise.all([this.#residency.close(), this.#arrivals.close(reason.message)])
  }

  /** A name that needs no look at the disk. */
  #known(name: string | undefined): { entry: ModelEntry; name: ServedModelName } | undefined {
    if (isPlaceholder(name)) {
      const entry = this.#pinnedEntry ?? (this.#options.pinned ? undefined : this.#only())
      return entry && { entry, name: entry.name }
    }
    const entry = this.#names.get(name!)
    if (!entry) return undefined
    const asked = this.#read(name!)?.name ?? entry.name
    return { entry, name: { ...asked, created: entry.name.created } }
  }

  /** The only model in memory that takes requests. */
  #only(): ModelEntry | undefined {
    const here = this.#residency.entries.filter(({ phase, dismissed }) => (phase === 'ready' || phase === 'loading') && !dismissed)
    return here.length === 1 ? here[0] : undefined
  }

  /** The model that a name means, its files here. Rejects with a RequestError. @param feed whom to tell how they come */
  async #find(name: string | undefined, feed?: LoadFeed): Promise<Meaning> {
    this.#closing.signal.throwIfAborted()
    if (this.#options.pinned) return this.#requirePinned(name, this.#options.pinned)
    const known = this.#known(name)
    if (known) return { found: known.entry.found, name: known.name }
    if (isPlaceholder(name)) throw await this.#nameRequired()
    const asked = this.#read(name!)
    if (!asked) throw notThere(name!)
    const arrival = this.#arrivals.of(asked)
    feed?.moveTo(arrival.feed)
    const found = await arrival.found
    return { found, name: { ...asked.name, created: found.created } }
  }

  // in the turn in which it is leased or watched: an entry that nobody wants is dropped
  #place({ found }: { found: FoundModel }, name?: string): ModelEntry {
    // the registry may have ended while the files were looked for
    this.#closing.signal.throwIfAborted()
    const entry = this.#residency.entry(found, this.#options.pinned !== undefined)
    if (entry.pinned) this.#pinnedEntry = entry
    if (name !== undefined) this.#remember(name, entry)
    return entry
  }

  #read(name: string): NamedModel | undefined {
    const { pinned, local } = this.#options
    return readName(name, pinned ? [pinned] : local)
  }

  #pinnedModel(pinned: ResolvedModel): Promise<FoundModel> {
    this.#pinned ??= this.#source.known(pinned)
    return this.#pinned
  }

  async #requirePinned(name: string | undefined, pinned: ResolvedModel): Promise<Meaning> {
    const model = await this.#pinnedModel(pinned)
    if (name === undefined || isPlaceholder(name) || namesModel(name, pinned)) return { found: model, name: nameOf(pinned) }
    const known = this.#known(name)
    if (known) return { found: model, name: known.name }
    const asked = readName(name)
    const found = asked && (await this.#look(asked))
    if (found?.identity !== model.identity) {
      throw new RequestError('model_pinned', `Server is pinned to '${pinned.id}'; requested '${name.slice(0, 200)}'.`, 'model')
    }
    return { found: model, name: { ...asked!.name, created: model.created } }
  }

  /** What is on this machine under a name; undefined: nothing that may be used. */
  async #look(asked: NamedModel): Promise<FoundModel | undefined> {
    try {
      return await this.#source.here(asked)
    } catch (error) {
      if (error instanceof RequestError) return undefined
      throw error
    }
  }

  async #inMemory(name: string): Promise<ModelEntry | undefined> {
    if (this.#options.pinned) await this.#requirePinned(name, this.#options.pinned)
    const asked = this.#read(name)
    const found = asked && (await this.#look(asked))
    return found && this.#residency.find(found.identity)
  }

  async #watch(name: string, watch: LoadWatch): Promise<void> {
    try {
      const known = name === '' ? undefined : this.#known(name)
      if (known) return known.entry.watch(watch)
      if (name === '' || (!this.#options.pinned && !this.#read(name))) {
        watch.loading('processor')
        throw notThere(name)
      }
      const feed = new LoadFeed()
      feed.add(watch)
      const meaning = await this.#find(name, feed)
      this.#place(meaning, name).watch(watch)
    } catch (error) {
      if (!(error instanceof RequestError)) this.#log('error', `A load failed: ${error instanceof Error ? error.stack : String(error)}`)
      watch.fail(error instanceof RequestError ? error.message : 'The model could not be loaded.')
    }
  }

  async #nameRequired(): Promise<RequestError> {
    const here = this.#residency.entries.filter(({ phase }) => phase === 'ready').map(({ name }) => name.id)
    const rows = await this.#rows.get().catch(() => [])
    const cached = rows.filter(({ loaded }) => !loaded).map(({ id }) => id)
    const some = (ids: readonly string[]): string => ids.slice(0, 5).join(', ') + (ids.length > 5 ? ', …' : '')
    const memory = here.length > 0 ? ` In memory: ${some(here)}.` : ''
    const cache = cached.length > 0 ? ` In the cache: ${some(cached)}.` : ''
    return new RequestError('model_required', `The request has to name a model in the field model.${memory}${cache}`, 'model')
  }

  #remember(name: string, entry: ModelEntry): void {
    if (this.#names.has(name)) return
    let names = 0
    for (const other of this.#names.values()) if (other === entry) names++
    if (names < maxNamesPerEntry) this.#names.set(name, entry)
  }

  #forgetNames(entry: ModelEntry): void {
    for (const [name, other] of this.#names) if (other === entry) this.#names.delete(name)
  }
}
