import { BodyTooLargeError, ClientGoneError } from './types.js'

/** What the bodies that are being received or read may hold together, in bytes. */
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
  readonly #body: Promise<Uint8Array>
  // one buffer that grows: what a client sends in tiny pieces costs no more than what it sends at once
  #bytes = new Uint8Array(0)
  #length = 0
  readonly #expected: number
  #done = false
  #resolve!: (body: Uint8Array) => void
  #reject!: (error: Error) => void

  /** @param announced the content-length, where the client sent one */
  constructor(
    readonly limit: number,
    readonly budget: BodyBudget,
    announced: string | undefined,
  ) {
    this.#body = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // a handler that ended early has no use for the rejection
    this.#body.catch(() => undefined)
    this.#expected = announced === undefined ? limit : Number(announced)
    if (this.#expected > limit) this.#fail(new BodyTooLargeError('request'))
  }

  /** @param chunk is copied: its buffer may be written to afterwards */
  add(chunk: Uint8Array): void {
    if (this.#done) return
    const length = this.#length + chunk.length
    if (length > this.limit) return this.#fail(new BodyTooLargeError('request'))
    if (!this.budget.take(chunk.length)) return this.#fail(new BodyTooLargeError('server'))
    if (length > this.#bytes.length) this.#grow(length)
    this.#bytes.set(chunk, this.#length)
    this.#length = length
  }

  finish(): void {
    if (this.#done) return
    this.#done = true
    const body = this.#length === this.#bytes.length ? this.#bytes : this.#bytes.slice(0, this.#length)
    this.#bytes = new Uint8Array(0)
    this.#resolve(body)
  }

  abort(): void {
    if (!this.#done) this.#fail(new ClientGoneError())
  }

  /** Hands the body over when it is whole; it counts in the budget until `read` has ended. Call it once. */
  async use<T>(read: (body: Uint8Array) => T | Promise<T>): Promise<T> {
    const body = await this.#body
    try {
      return await read(body)
    } finally {
      this.#giveBack()
    }
  }

  #grow(needed: number): void {
    const grown = new Uint8Array(Math.max(needed, Math.min(2 * this.#bytes.length, this.#expected)))
    grown.set(this.#bytes.subarray(0, this.#length))
    this.#bytes = grown
  }

  #fail(error: Error): void {
    this.#done = true
    this.#bytes = new Uint8Array(0)
    this.#giveBack()
    this.#reject(error)
  }

  #giveBack(): void {
    this.budget.give(this.#length)
    this.#length = 0
  }
}
