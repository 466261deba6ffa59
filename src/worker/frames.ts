// Frames of the channel between front and worker: u32 little-endian length, then that many bytes of msgpack.
import { Decoder, Encoder } from '@msgpack/msgpack'

/** Raised when a message of either side changes its meaning; both sides must agree. */
export const protocolVersion = 4

/** Longest payload of a frame, both ways. */
export const maxFrameBytes = 64 * 1024 * 1024

const headerBytes = 4
// an encoder keeps its buffer: one that a large frame has grown is given back
const keptEncoderBytes = 1024 * 1024

/** The bytes of the other side are not what the protocol allows, or a message is too long to send. */
export class FrameError extends Error {
  override readonly name = 'FrameError'
}

/** Encodes messages as frames. */
export class FrameWriter {
  #encoder = FrameWriter.#newEncoder()

  constructor(private readonly maxBytes = maxFrameBytes) {}

  static #newEncoder(): Encoder {
    return new Encoder({ ignoreUndefined: true })
  }

  /** One frame, header included. Throws a FrameError when the message is too long or not plain data. */
  encode(message: unknown): Buffer {
    let payload: Uint8Array
    try {
      payload = this.#encoder.encodeSharedRef(message)
    } catch (error) {
      this.#encoder = FrameWriter.#newEncoder()
      throw new FrameError(`A message cannot be encoded: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
    }
    if (payload.length > keptEncoderBytes) this.#encoder = FrameWriter.#newEncoder()
    if (payload.length > this.maxBytes) {
      throw new FrameError(`A message of ${payload.length} bytes is longer than a frame may be (${this.maxBytes}).`)
    }
    const frame = Buffer.allocUnsafe(headerBytes + payload.length)
    frame.writeUInt32LE(payload.length, 0)
    frame.set(payload, headerBytes)
    return frame
  }
}

/** Takes bytes as they come and gives whole messages back; each byte is copied at most once. */
export class FrameReader {
  readonly #decoder = new Decoder()
  readonly #header = Buffer.alloc(headerBytes)
  #headerFilled = 0
  // the payload under way; undefined while the header is incomplete
  #payload: Buffer | undefined
  #payloadFilled = 0

  constructor(private readonly maxBytes = maxFrameBytes) {}

  /** True between frames: a stream that ends here has lost nothing. */
  get idle(): boolean {
    return this.#headerFilled === 0 && this.#payload === undefined
  }

  /** The messages that `chunk` completes, decoded one by one. Throws a FrameError on what is not a frame; the stream is then lost. */
  *push(chunk: Buffer): Generator<unknown, void, undefined> {
    let at = 0
    while (at < chunk.length) {
      if (this.#payload === undefined) {
        const taken = Math.min(headerBytes - this.#headerFilled, chunk.length - at)
        chunk.copy(this.#header, this.#headerFilled, at, at + taken)
        this.#headerFilled += taken
        at += taken
        if (this.#headerFilled < headerBytes) return
        this.#headerFilled = 0
        const length = this.#header.readUInt32LE(0)
        if (length === 0 || length > this.maxBytes) throw new FrameError(`A frame of ${length} bytes: allowed are 1 to ${this.maxBytes}.`)
        if (chunk.length - at >= length) {
          const payload = chunk.subarray(at, at + length)
          at += length
          yield this.#decode(payload)
          continue
        }
        this.#payload = Buffer.allocUnsafeSlow(length)
        this.#payloadFilled = 0
      }
      const taken = Math.min(this.#payload.length - this.#payloadFilled, chunk.length - at)
      chunk.copy(this.#payload, this.#payloadFilled, at, at + taken)
      this.#payloadFilled += taken
      at += taken
      if (this.#payloadFilled < this.#payload.length) return
      const payload = this.#payload
      this.#payload = undefined
      yield this.#decode(payload)
    }
  }

  #decode(payload: Buffer): unknown {
    try {
      return this.#decoder.decode(payload)
    } catch (error) {
      throw new FrameError(`A frame is not msgpack: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
    }
  }
}
