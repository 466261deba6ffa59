// Requests that wait for a model: no more than so many, none longer than so long.
import { RequestError } from '../engine/types.js'

export interface WaitingBounds {
  maxWaiters: number
  maxWaitMs: number
}

export class WaitingRoom {
  #waiting = 0

  constructor(private readonly bounds: WaitingBounds) {}

  get size(): number {
    return this.#waiting
  }

  /**
   * Runs `work` with a signal that goes off when the request leaves, or has waited for too long (`model_loading`); `work` then has
   * to reject with the signal's reason. Rejects with `queue_full` when there is no place.
   */
  async hold<T>(signal: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    signal?.throwIfAborted()
    if (this.#waiting >= this.bounds.maxWaiters) {
      throw new RequestError('queue_full', 'Too many requests wait for models to be loaded. Try again later.')
    }
    this.#waiting++
    const end = new AbortController()
    const leave = (): void => end.abort(signal?.reason)
    signal?.addEventListener('abort', leave, { once: true })
    const timer = setTimeout(
      () => end.abort(new RequestError('model_loading', 'The model is still being loaded. Try again in a moment.')),
      Math.min(this.bounds.maxWaitMs, 2 ** 31 - 1),
    )
    timer.unref()
    try {
      return await work(end.signal)
    } finally {
      this.#waiting--
      clearTimeout(timer)
      signal?.removeEventListener('abort', leave)
    }
  }
}

/** The promise's outcome, unless the signal goes off before: then its reason. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)
    const leave = (): void => reject(signal.reason)
    signal.addEventListener('abort', leave, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave))
  })
}
