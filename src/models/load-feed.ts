// Tells those who watch a load how far it is: several at a time, some of them late, each in the words of POST /load_model.
import type { LoadEvent } from '../server/model-directory.js'

type Loading = Extract<LoadEvent, { status: 'loading' }>
export type LoadStage = Loading['stage']
export type StageProgress = NonNullable<Loading['progress']>

const order: readonly LoadStage[] = ['processor', 'config', 'download', 'weights']

/** One who watches: never told anything twice, backwards, or after the end. */
export class LoadWatch {
  #stage = -1
  #current = -1
  #over = false

  /** @param model the name that the events carry */
  constructor(
    readonly model: string,
    private readonly listener: (event: LoadEvent) => void,
  ) {}

  get over(): boolean {
    return this.#over
  }

  loading(stage: LoadStage, progress?: StageProgress): void {
    const at = order.indexOf(stage)
    const current = progress?.current ?? 0
    if (this.#over || at < this.#stage || (at === this.#stage && current <= this.#current)) return
    this.#stage = at
    this.#current = current
    this.#tell({ status: 'loading', model: this.model, stage, ...(progress && { progress }) })
  }

  /** @param cached it was in memory when it was asked for */
  ready(cached: boolean): void {
    this.#end({ status: 'ready', model: this.model, cached })
  }

  fail(message: string): void {
    this.#end({ status: 'error', model: this.model, message })
  }

  /** Nobody listens any more. */
  leave(): void {
    this.#over = true
  }

  #end(event: LoadEvent): void {
    if (this.#over) return
    this.#over = true
    this.#tell(event)
  }

  // one who cannot be told must not keep the others from it, nor the load from its end
  #tell(event: LoadEvent): void {
    try {
      this.listener(event)
    } catch {
      this.#over = true
    }
  }
}

/** One load, for all who watch it. */
export class LoadFeed {
  readonly #watches = new Set<LoadWatch>()
  #latest: { stage: LoadStage; progress: StageProgress | undefined } | undefined

  /** Joins at the present moment. */
  add(watch: LoadWatch): void {
    this.#sweep()
    this.#watches.add(watch)
    if (this.#latest) watch.loading(this.#latest.stage, this.#latest.progress)
  }

  loading(stage: LoadStage, progress?: StageProgress): void {
    this.#latest = { stage, progress }
    for (const watch of this.#watches) watch.loading(stage, progress)
  }

  /** @param cached it has been in memory all the time */
  ready(cached: boolean): void {
    for (const watch of this.#take()) watch.ready(cached)
  }

  fail(message: string): void {
    for (const watch of this.#take()) watch.fail(message)
  }

  /** The rest of the load is told by another feed. */
  moveTo(other: LoadFeed): void {
    for (const watch of this.#take()) other.add(watch)
  }

  #take(): LoadWatch[] {
    const watches = [...this.#watches]
    this.#watches.clear()
    this.#latest = undefined
    return watches
  }

  // those who left are dropped as others come
  #sweep(): void {
    for (const watch of this.#watches) if (watch.over) this.#watches.delete(watch)
  }
}
