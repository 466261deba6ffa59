// When a process that died may be started again.

export interface RestartLimits {
  /** Starts allowed within `windowMs`. */
  maxRestarts: number
  windowMs: number
  /** Before the first restart; doubled for each one that the window remembers. Milliseconds. */
  firstDelayMs: number
  maxDelayMs: number
  /** After the limit was hit: how long until a request may try again. */
  coolDownMs: number
}

export const defaultRestartLimits: RestartLimits = {
  maxRestarts: 5,
  windowMs: 5 * 60_000,
  firstDelayMs: 100,
  maxDelayMs: 30_000,
  coolDownMs: 60_000,
}

/** Exponential backoff with a limit on how often. Times are milliseconds of one clock that never goes back. */
export class RestartPolicy {
  #restarts: number[] = []
  #gaveUpAt: number | undefined

  constructor(private readonly limits: RestartLimits) {}

  /** The process died at `now`: milliseconds to wait before it is started again, or undefined when it stays down. */
  next(now: number): number | undefined {
    this.#restarts = this.#restarts.filter((at) => now - at < this.limits.windowMs)
    if (this.#restarts.length >= this.limits.maxRestarts) {
      this.giveUp(now)
      return undefined
    }
    const delay = Math.min(this.limits.firstDelayMs * 2 ** this.#restarts.length, this.limits.maxDelayMs)
    this.#restarts.push(now)
    return delay
  }

  /** It stays down, whatever the limit says: the first load failed, and another one would, too. */
  giveUp(now: number): void {
    this.#gaveUpAt = now
  }

  /** It stays down: may a request have it tried again? A true answer uses up the restarts of a whole window. */
  retry(now: number): boolean {
    if (this.#gaveUpAt !== undefined && now - this.#gaveUpAt < this.limits.coolDownMs) return false
    // one try a cool-down: when it fails or dies again within the window, it stays down for another one
    this.#restarts = Array<number>(this.limits.maxRestarts).fill(now)
    return true
  }
}
