// a reaction of a promise: queueMicrotask() makes a resource for async hooks and runs a dozen functions more
const settled = Promise.resolve()

/** Who has something to do when a turn of the event loop ends. */
export interface TurnListener {
  /** @param now performance.now() of the turn */
  onTurnEnd(now: number): void
}

/**
 * The present turn of the event loop: one frame of a model brings deltas for many streams, which share one reading of the clock, and one microtask
 * in which each writes what it got.
 */
export class Turn {
  #now: number | undefined
  #listeners: TurnListener[] = []
  readonly #end = (): void => this.#finish()

  /** @param onFault told what a listener threw; the others are called all the same */
  constructor(private readonly onFault: (error: unknown) => void) {}

  /** performance.now() when the turn was first asked for its time. */
  now(): number {
    return this.#now ?? this.#begin()
  }

  /** Calls the listener once, when the turn ends. */
  atEnd(listener: TurnListener): void {
    if (this.#now === undefined) this.#begin()
    this.#listeners.push(listener)
  }

  #begin(): number {
    void settled.then(this.#end)
    return (this.#now = performance.now())
  }

  #finish(): void {
    const now = this.now()
    const listeners = this.#listeners
    this.#now = undefined
    this.#listeners = []
    for (const listener of listeners) {
      try {
        listener.onTurnEnd(now)
      } catch (error) {
        this.onFault(error)
      }
    }
  }
}
