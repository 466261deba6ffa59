import { BodyTooLargeError, ClientGoneError } from './types.js'

// bytes that wait to be taken before the client is held back
const highWater = 256 << 10

/** Holds a client back, and lets it send on. */
export interface BodyFlow {
  pause(): void
  resume(): void
}

/** One body as pieces for a reader that takes them in its own time. What comes when it has left is dropped. */
export class BodyStream implements AsyncIterable<Uint8Array> {
  readonly #pieces: Uint8Array[] = []
  #waiting = 0
  #received = 0
  #paused = false
  #complete = false
  #failure: unknown
  // nobody reads any more, or ever will
  #left = false
  #wake: () => void = () => undefined

  /**
   * @param limit bytes of the whole body
   * @param announced the content-length, where the client sent one
   * @param signal ends the reading with its reason
   */
  constructor(
    private readonly limit: number,
    announced: string | undefined,
    private readonly flow: BodyFlow,
    signal?: AbortSignal,
  ) {
    const stop = (): void => this.#fail(signal?.reason)
    if (signal?.aborted) stop()
    signal?.addEventListener('abort', stop, { once: true })
    if (announced !== undefined && Number(announced) > limit) this.#fail(new BodyTooLargeError('request'))
  }

  /** @param piece to keep: its buffer must not be written to afterwards */
  add(piece: Uint8Array): void {
    if (this.#left || this.#failure !== undefined || this.#complete) return
    this.#received += piece.length
    if (this.#received > this.limit) return this.#fail(new BodyTooLargeError('request'))
    this.#pieces.push(piece)
    this.#waiting += piece.length
    if (this.#waiting > highWater) this.#holdBack()
    this.#wake()
  }

  finish(): void {
    this.#complete = true
    this.#wake()
  }

  /** The client has gone. */
  abort(): void {
    if (!this.#complete) this.#fail(new ClientGoneError())
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void> {
    try {
      for (;;) {
        if (this.#failure !== undefined) throw this.#failure
        const piece = this.#pieces.shift()
        if (piece) {
          this.#waiting -= piece.length
          if (this.#waiting === 0) this.#letOn()
          yield piece
        } else if (this.#complete) return
        else await new Promise<void>((resolve) => (this.#wake = resolve))
      }
    } finally {
      this.#left = true
      this.#pieces.length = 0
      this.#letOn()
    }
  }

  // Not at once: the rest of what the socket brought, the end of the body perhaps, comes before the loop's next phase. A body that is whole is
  // not held back, as uWebSockets counts the idle time of a connection again once it is let on, and ends it before a slow answer.
  #holdBack(): void {
    setImmediate(() => {
      if (this.#paused || this.#complete || this.#left || this.#failure !== undefined || this.#waiting <= highWater) return
      this.#paused = true
      this.flow.pause()
    })
  }

  #letOn(): void {
    if (!this.#paused) return
    this.#paused = false
    this.flow.resume()
  }

  #fail(error: unknown): void {
    this.#failure ??= error
    this.#pieces.length = 0
    this.#letOn()
    this.#wake()
  }
}
