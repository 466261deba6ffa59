// A number of places, and a line of those who wait for one, in the order in which they came.

export class Turns {
  readonly #line: (() => void)[] = []
  #taken = 0

  constructor(readonly places: number) {}

  get taken(): number {
    return this.#taken
  }

  get waiting(): number {
    return this.#line.length
  }

  /** Resolves with what gives the place back; to be called once. Rejects with the signal's reason when that goes off before. */
  async take(signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted()
    if (this.#taken < this.places) {
      this.#taken++
      return () => this.#leave()
    }
    await new Promise<void>((resolve, reject) => {
      const enter = (): void => {
        signal?.removeEventListener('abort', give)
        resolve()
      }
      const give = (): void => {
        this.#line.splice(this.#line.indexOf(enter), 1)
        reject(signal?.reason as Error)
      }
      signal?.addEventListener('abort', give, { once: true })
      this.#line.push(enter)
    })
    return () => this.#leave()
  }

  // the place goes straight to the next in line: nobody slips in between
  #leave(): void {
    const next = this.#line.shift()
    if (next) next()
    else this.#taken--
  }
}
