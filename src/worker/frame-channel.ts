// One side of the channel between front and worker: messages over a duplex stream.
import type { Duplex } from 'node:stream'
import { FrameReader, FrameWriter, FrameError } from './frames.js'

export interface ChannelEvents<Received> {
  onMessage(message: Received): void
  /** Called once: the other side is gone, or what it said was no message (then with the error). */
  onClose(error?: Error): void
  /** What was written has left; called after `send` returned false. */
  onDrain?(): void
}

// how long the other side may take to read the last messages
const lastWordsMs = 1000

export class FrameChannel<Sent, Received> {
  readonly #reader = new FrameReader()
  readonly #writer = new FrameWriter()
  #closed = false

  /** `parse` checks a decoded message and throws a FrameError. */
  constructor(
    private readonly stream: Duplex,
    parse: (message: unknown) => Received,
    private readonly events: ChannelEvents<Received>,
  ) {
    stream.on('data', (chunk: Buffer) => {
      try {
        for (const message of this.#reader.push(chunk)) {
          if (this.#closed) return
          events.onMessage(parse(message))
        }
      } catch (error) {
        if (!(error instanceof FrameError)) throw error
        this.#close(error)
      }
    })
    stream.on('drain', () => events.onDrain?.())
    stream.on('error', (error) => this.#close(error))
    stream.on('end', () => this.#close(this.#reader.idle ? undefined : new FrameError('The channel ended within a frame.')))
    stream.on('close', () => this.#close())
  }

  /** Bytes that wait for the other side to read. */
  get unsentBytes(): number {
    return this.stream.writableLength
  }

  get closed(): boolean {
    return this.#closed
  }

  /**
   * Returns false when the other side reads too slowly: wait for `onDrain` before sending what can wait.
   * After the end it does nothing. Throws a FrameError when the message is too long.
   */
  send(message: Sent): boolean {
    const frame = this.#writer.encode(message)
    if (this.#closed) return true
    return this.stream.write(frame)
  }

  /** Sends what is left, closes and calls back when all of it has been handed over or can no longer be. */
  end(done: () => void = () => undefined): void {
    this.#closed = true
    if (this.stream.destroyed) return done()
    let called = false
    const once = (): void => {
      if (called) return
      called = true
      done()
    }
    this.stream.once('close', once)
    this.stream.end(once)
    setTimeout(() => this.stream.destroy(), lastWordsMs).unref()
  }

  destroy(): void {
    this.#closed = true
    this.stream.destroy()
  }

  #close(error?: Error): void {
    if (this.#closed) return
    this.#closed = true
    this.stream.destroy()
    this.events.onClose(error)
  }
}
