// What the server needs of the models behind it: find the one that a request means, load it, hold it while it works, let it go.
import type { ModelRow } from '../hub/model-rows.js'
import type { AnyModel } from '../engine/model-kinds.js'
import type { ServedModelName, ServedModelState } from './served-model.js'

/** A model that is loaded and stays so until `release()`. */
export interface ModelLease {
  /** Of any kind: requireTextModel and requireSpeechModel refuse what an endpoint is not for. */
  readonly model: AnyModel
  /** As the request named it; replies carry its `canonicalName`. */
  readonly name: ServedModelName
  /** The work has ended: the model may be unloaded when nobody else holds it. Harmless when called again. */
  release(): void
}

/** What POST /load_model tells, in the words of transformers serve. The last event is 'ready' or 'error', and there is just one of these. */
export type LoadEvent =
  | {
      status: 'loading'
      model: string
      stage: 'processor' | 'config' | 'download' | 'weights'
      /** Bytes received, tensors loaded; never goes back within a stage. */
      progress?: { current: number; total: number | null }
    }
  | { status: 'ready'; model: string; cached: boolean }
  | { status: 'error'; model: string; message: string }

/** A model that is in memory or on its way there, for /health and the metrics. */
export interface DirectoryEntry {
  readonly name: ServedModelName
  /** Further names that requests may use for it. */
  readonly aliases?: readonly string[]
  readonly state: ServedModelState
  /** Whether idleness does not unload it and no other model pushes it out. */
  readonly pinned: boolean
  /** Requests that hold it. */
  readonly leases: number
  /** The model, when it is ready: for its statistics. */
  readonly model?: AnyModel
}

/** Counts since the start, for the metrics. */
export interface DirectoryCounters {
  loads: { ready: number; failed: number }
  /** Seconds of the loads that became ready, downloads included. */
  loadSeconds: number
  /** Why models left the memory: nobody used them, somebody asked for it, another model needed the room. */
  unloads: { idle: number; asked: number; evicted: number }
}

/** The models that a server can serve. */
export interface ModelDirectory {
  /**
   * The model that a request means, ready for work. No name, or a placeholder name: the pinned model, else the only one in memory.
   * Where it is not loaded the request waits, within bounds and in order of arrival. Rejects with a RequestError (`model_pinned`,
   * `model_not_found`, `model_required`, `model_too_large`, `model_load_failed`, `model_loading`, `model_crashed`, `queue_full`,
   * `shutting_down`), and with the signal's reason when nobody waits any more.
   */
  lease(name: string | undefined, signal?: AbortSignal): Promise<ModelLease>
  /**
   * Loads a model for whoever watches; the load goes on when a watcher leaves. The listener is called now or later, never after
   * the terminal event or after the function returned was called. A mistake in the name is an 'error' event.
   */
  watchLoad(name: string, listener: (event: LoadEvent) => void): () => void
  /** Takes a model out of memory once its open requests have ended; returns false when it was not there. Rejects with a RequestError for a pinned model. */
  unload(name: string): Promise<boolean>
  /** Takes every model that is not pinned out of memory, as `unload` does. */
  reset(): Promise<void>
  /** What can be served: in memory first, then the cache, scanned anew. */
  list(): Promise<ModelRow[]>
  /** In memory or on their way, the pinned one first. */
  entries(): readonly DirectoryEntry[]
  counters(): DirectoryCounters
  /** Whether a request would be worked on; an empty directory is healthy. The reason is /health's: `model_loading`, `cb_worker_dead`, … */
  health(): { ok: boolean; reason?: string }
  /** Ends all models; open work ends with `shutting_down`. */
  close(): Promise<void>
}
