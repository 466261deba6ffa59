import { BodyTooLargeError, ClientGoneError } from './types.js'

/** What the bodies that are being received may hold together, in bytes. */
export class BodyBudget {
  #used = 0

  constructor(readonly limit: number) {}

  take(bytes: number): boolean {
    if (this.#used + bytes > this.limit) return false
    this.#used += bytes
    return true
  }

  give(bytes: number): void {
    this.#used -= bytes
  }
}

/** Gathers one body within its own limit and the server's budget. */
export class BodyCollector {
  readonly body: Promise<Uint8Array>
  #chunks: Uint8Array[] = []
  #length = 0
  #done = false
  #resolve!: (body: Uint8Array) => void
  #reject!: (error: Error) => void

  /** @param announced the content-length, where the client sent one */
  constructor(
    readonly limit: number,
    readonly budget: BodyBudget,
    announced: string | undefined,
  ) {
    this.body = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // a handler that ended early has no use for the rejection
    this.body.catch(() => undefined)
    if (announced !== undefined && Number(announced) > limit) this.#fail(new BodyTooLargeError('request'))
  }

  /** @param chunk is kept: the caller hands over a buffer that nobody else writes to */
  add(chunk: Uint8Array): void {
    if (this.#done) return
    if (this.#length + chunk.length > this.limit) return this.#fail(new BodyTooLargeError('request'))
    if (!this.budget.take(chunk.length)) return this.#fail(new BodyTooLargeError('server'))
    this.#chunks.push(chunk)
    this.#length += chunk.length
  }

  finish(): void {
    if (this.#done) return
    const only = this.#chunks.length === 1 ? this.#chunks[0] : undefined
    const body = only ?? Buffer.concat(this.#chunks, this.#length)
    this.#release()
    this.#resolve(body)
  }

  abort(): void {
    if (!this.#done) this.#fail(new ClientGoneError())
  }

  #fail(error: Error): void {
    this.#release()
    this.#reject(error)
  }

  #release(): void {
    this.#done = true
    this.budget.give(this.#length)
    this.#chunks = []
    this.#length = 0
  }
}
