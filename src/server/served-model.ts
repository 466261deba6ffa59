import type { AnyModel } from '../engine/model-kinds.js'
import type { LoadProgress } from '../engine/types.js'

/** How the served model is named on the wire. */
export interface ServedModelName {
  /** As clients name it, e.g. `org/name`; without the revision. */
  id: string
  revision: string
  /** Unix seconds. */
  created: number
}

/** Where the model is in its life. */
export interface ServedModelState {
  /** 'restarting' is a load after a crash; 'failed' means that no further attempt will be made. */
  phase: 'loading' | 'ready' | 'restarting' | 'failed' | 'closed'
  /** The latest progress of a load under way. */
  progress?: LoadProgress
  /** Why it is down, as a sentence that may be told to clients. */
  reason?: string
  /** How often the model's process was started again. */
  restarts: number
  /** The model process' resident memory in bytes, where known. */
  residentBytes?: number
}

/** A model that may be loading, ready, or coming back after its process died. */
export interface ServedModel {
  /** Known from the start, before the model is loaded. */
  info(): ServedModelName
  /** Further names that clients may use for it. */
  readonly aliases: readonly string[]
  /** The model while it is ready, for those who do not want to wait. */
  readonly model: AnyModel | undefined
  /**
   * The model, ready for work. Where it is not, the request may wait within bounds; rejects with a RequestError
   * `model_loading`, `model_crashed` or `shutting_down`, and with the signal's reason when nobody waits any more.
   */
  get(signal?: AbortSignal): Promise<AnyModel>
  state(): ServedModelState
  health(): { ok: boolean; reason?: string }
  /** Calls the listener at each change of `state()`, until the function returned is called. */
  onChange(listener: (state: ServedModelState) => void): () => void
}

/** A model that lives in this process and is ready from the start. */
export class InProcessModel implements ServedModel {
  readonly aliases: readonly string[]

  constructor(
    readonly model: AnyModel,
    aliases: readonly string[] = [],
  ) {
    this.aliases = aliases
  }

  info(): ServedModelName {
    const { id, revision, created } = this.model.info
    return { id, revision, created }
  }

  get(): Promise<AnyModel> {
    return Promise.resolve(this.model)
  }

  state(): ServedModelState {
    return { phase: 'ready', restarts: 0 }
  }

  health(): { ok: boolean; reason?: string } {
    return { ok: true }
  }

  onChange(): () => void {
    return () => undefined
  }
}
