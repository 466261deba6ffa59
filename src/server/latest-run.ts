/**
 * A task whose result many want at once, and each no older than its own call: while one run is under way, all who come wait for one
 * more that begins after it.
 */
export class LatestRun<T> {
  #running: Promise<T> | undefined
  #next: Promise<T> | undefined

  constructor(private readonly task: () => Promise<T>) {}

  get(): Promise<T> {
    if (this.#next) return this.#next
    if (!this.#running) return this.#start()
    const start = (): Promise<T> => this.#start()
    this.#next = this.#running.then(start, start)
    return this.#next
  }

  #start(): Promise<T> {
    this.#next = undefined
    const run = this.task().finally(() => {
      if (this.#running === run) this.#running = undefined
    })
    this.#running = run
    return run
  }
}
