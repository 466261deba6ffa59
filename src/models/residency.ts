// Which models are in memory: those that want in queue up in order of arrival, and the others make room for them.
import { type EngineOptions, RequestError } from '../engine/types.js'
import type { DirectoryCounters } from '../server/model-directory.js'
import type { ServedModelName } from '../server/served-model.js'
import { admit, type MemoryBounds } from './admission.js'
import { inUnits, leastKvBytes, processBytes } from './memory-estimate.js'
import { type EntryEvent, type EntryHost, ModelEntry, type RunningModel } from './model-entry.js'
import type { FoundModel } from './model-source.js'

export interface ResidencySettings {
  bounds: MemoryBounds
  engine: Omit<EngineOptions, 'path' | 'id' | 'revision' | 'kvCacheMemory'>
  /** The most that a model's KV cache is granted, in bytes. */
  kvCacheMemory: number
  idleMs: number
  launch: (name: ServedModelName, options: EngineOptions) => RunningModel
  /** The entry holds no memory and nobody wants it. */
  onGone: (entry: ModelEntry) => void
  log: (level: 'info' | 'warning' | 'error', message: string) => void
}

export class Residency implements EntryHost {
  readonly #entries = new Map<string, ModelEntry>()
  readonly #queue: ModelEntry[] = []
  readonly #counters: DirectoryCounters = { loads: { ready: 0, failed: 0 }, loadSeconds: 0, unloads: { idle: 0, asked: 0, evicted: 0 } }
  #timer: NodeJS.Timeout | undefined
  #planned = false
  #closed = false

  constructor(private readonly settings: ResidencySettings) {}

  get idleMs(): number {
    return this.settings.idleMs
  }

  get entries(): ModelEntry[] {
    return [...this.#entries.values()]
  }

  /** The entry of these files; there is one, however they were named. */
  entry(found: FoundModel, pinned = false): ModelEntry {
    const known = this.#entries.get(found.identity)
    if (known) return known
    const entry = new ModelEntry(found, pinned, this)
    this.#entries.set(found.identity, entry)
    return entry
  }

  find(identity: string): ModelEntry | undefined {
    return this.#entries.get(identity)
  }

  /** Why a model with so many bytes of weights is not even tried. */
  obstacle(id: string, weightBytes: number): RequestError | undefined {
    const { bounds, kvCacheMemory } = this.settings
    const least = Math.min(leastKvBytes, kvCacheMemory)
    return weightBytes + processBytes + least > bounds.bytes ? tooLarge(id, weightBytes, bounds.bytes) : undefined
  }

  wanted(entry: ModelEntry): void {
    if (!this.#queue.includes(entry) && entry.phase !== 'loading') this.#queue.push(entry)
    this.changed()
  }

  changed(): void {
    if (this.#planned || this.#closed) return
    this.#planned = true
    queueMicrotask(() => {
      this.#planned = false
      if (!this.#closed) this.#plan()
    })
  }

  launch(name: ServedModelName, options: EngineOptions): RunningModel {
    return this.settings.launch(name, options)
  }

  log(level: 'info' | 'warning' | 'error', message: string): void {
    this.settings.log(level, message)
  }

  get counters(): DirectoryCounters {
    return structuredClone(this.#counters)
  }

  count(event: EntryEvent): void {
    if ('unload' in event) this.#counters.unloads[event.unload]++
    else this.#counters.loads[event.load]++
    if ('seconds' in event) this.#counters.loadSeconds += event.seconds
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    await Promise.all(this.entries.map((entry) => entry.close()))
  }

  #plan(): void {
    clearTimeout(this.#timer)
    const making = new Set<ModelEntry>()
    for (let head = this.#head(); head; head = this.#head()) if (!this.#serve(head, making)) break
    // whose room nobody needs any more
    for (const entry of this.#entries.values()) if (entry.draining && !making.has(entry)) entry.undrain()
    for (const [identity, entry] of this.#entries) {
      if (entry.inMemory || entry.wished || entry.pinned) continue
      this.#entries.delete(identity)
      entry.forget()
      this.settings.onGone(entry)
    }
  }

  /** The next in order of arrival that is still wanted and can come now. */
  #head(): ModelEntry | undefined {
    for (const entry of [...this.#queue]) {
      if (!entry.wished || entry.phase === 'loading') this.#leaveQueue(entry)
    }
    // one that was told to go comes again when its open requests have ended: it does not hold up others meanwhile
    return this.#queue.find((entry) => !(entry.phase === 'ready' && entry.dismissed))
  }

  /** Does what can be done for the head of the queue. False: it has to wait. */
  #serve(head: ModelEntry, making: Set<ModelEntry>): boolean {
    if (head.phase === 'leaving') return false
    if (head.phase === 'ready') {
      // its turn is before that of anyone it was to make room for
      this.#leaveQueue(head)
      head.undrain()
      return true
    }
    const { bounds } = this.settings
    const { id, weightBytes } = head.found
    const obstacle = this.obstacle(id, weightBytes)
    if (obstacle) {
      this.#leaveQueue(head)
      head.refuse(obstacle)
      return true
    }
    const cache = this.#kvGrant(weightBytes)
    const residents = this.entries.filter((entry) => entry.inMemory)
    const now = performance.now()
    const admission = admit(weightBytes + processBytes + cache, residents, bounds, now)
    switch (admission.kind) {
      case 'load':
        this.#leaveQueue(head)
        head.load(this.settings.engine, cache)
        return true
      case 'never':
        this.#leaveQueue(head)
        head.refuse(tooLarge(id, weightBytes, bounds.bytes))
        return true
      case 'wait':
        for (const entry of admission.unload) {
          this.log('info', `${entry.name.id} is unloaded to make room for ${head.name.id}.`)
          void entry.unload('evicted')
        }
        for (const entry of admission.drain) {
          making.add(entry)
          entry.drain()
        }
        if (admission.again !== undefined) this.#planAt(admission.again - now)
        return false
    }
  }

  /** The most, or what the model leaves where that is less. */
  #kvGrant(weightBytes: number): number {
    return Math.min(this.settings.kvCacheMemory, this.settings.bounds.bytes - weightBytes - processBytes)
  }

  #planAt(ms: number): void {
    this.#timer = setTimeout(() => this.changed(), Math.max(1, Math.ceil(ms)))
    this.#timer.unref()
  }

  #leaveQueue(entry: ModelEntry): void {
    const at = this.#queue.indexOf(entry)
    if (at >= 0) this.#queue.splice(at, 1)
  }
}

function tooLarge(id: string, weightBytes: number, limit: number): RequestError {
  const need = weightBytes + processBytes + leastKvBytes
  return new RequestError(
    'model_too_large',
    `'${id}' needs at least ${inUnits(need)} of memory (${inUnits(weightBytes)} of them weights); this server may use ${inUnits(limit)}. ` +
      'Name a smaller or more strongly quantised model, or start the server with a higher --memory-limit.',
    'model',
  )
}
