import { brokenAudio } from './audio-error.js'
import { mixInterleaved, type AudioSink } from './recording.js'

const formatTags = { pcm: 1, float: 3, alaw: 6, mulaw: 7, extensible: 0xfffe } as const

/** A 'fmt ' chunk that is longer than this is no format. */
const longestFormat = 4096

interface Encoding {
  /** Bytes of a sample of all channels. */
  blockAlign: number
  channels: number
  decode(block: Buffer): Float32Array
}

/** A coding that the reader does not know, so that another decoder may. */
export class UnknownWavCoding extends Error {}

/** Logarithmic eight bits of ITU-T G.711 to full scale 1. */
function companded(toLinear: (code: number) => number): Float32Array {
  return Float32Array.from({ length: 256 }, (_, code) => toLinear(code) / 32768)
}

const alaw = companded((code) => {
  const value = code ^ 0x55
  const segment = (value >> 4) & 7
  const mantissa = ((value & 15) << 4) + 8
  const magnitude = segment === 0 ? mantissa : (mantissa + 0x100) << (segment - 1)
  return value & 0x80 ? magnitude : -magnitude
})

const mulaw = companded((code) => {
  const value = ~code & 0xff
  const magnitude = ((((value & 15) << 3) + 0x84) << ((value >> 4) & 7)) - 0x84
  return value & 0x80 ? -magnitude : magnitude
})

function readFormat(chunk: Buffer): { rate: number; encoding: Encoding } {
  if (chunk.length < 16) throw brokenAudio('its format is cut off')
  let tag = chunk.readUInt16LE(0)
  const channels = chunk.readUInt16LE(2)
  const rate = chunk.readUInt32LE(4)
  const blockAlign = chunk.readUInt16LE(12)
  const bits = chunk.readUInt16LE(14)
  // the sub-format is a GUID that begins with the tag it stands for
  if (tag === formatTags.extensible && chunk.length >= 26) tag = chunk.readUInt16LE(24)
  const width = blockAlign / channels
  if (channels === 0 || blockAlign === 0) throw brokenAudio('its number of channels makes no sense')
  return { rate, encoding: { blockAlign, channels, decode: decoder(tag, bits, width, channels) } }
}

function decoder(tag: number, bits: number, width: number, channels: number): Encoding['decode'] {
  const values = (make: (block: Buffer) => ArrayLike<number>, scale: number) => (block: Buffer) =>
    mixInterleaved(make(block), channels, scale)
  const read = (get: (block: Buffer, at: number) => number) => (block: Buffer) => {
    const count = block.length / width
    const samples = new Float64Array(count)
    for (let i = 0; i < count; i++) samples[i] = get(block, i * width)
    return samples
  }
  // samples fill their container from the top: its full scale is theirs, whatever the number of bits
  if (tag === formatTags.pcm && Number.isInteger(width) && width >= 1 && width <= 4 && bits >= 1 && bits <= width * 8) {
    if (width === 1)
      return values(
        read((block, at) => block[at]! - 128),
        2 ** -7,
      )
    return values(
      read((block, at) => block.readIntLE(at, width)),
      2 ** (1 - 8 * width),
    )
  }
  if (tag === formatTags.float && width === 4)
    return values(
      read((block, at) => block.readFloatLE(at)),
      1,
    )
  if (tag === formatTags.float && width === 8)
    return values(
      read((block, at) => block.readDoubleLE(at)),
      1,
    )
  if (tag === formatTags.alaw && width === 1)
    return values(
      read((block, at) => alaw[block[at]!]!),
      1,
    )
  if (tag === formatTags.mulaw && width === 1)
    return values(
      read((block, at) => mulaw[block[at]!]!),
      1,
    )
  throw new UnknownWavCoding()
}

/**
 * Reads a WAV file (RIFF, RF64, BW64) as its bytes arrive. Sizes in headers are a hint only: a file that ends early gives what is there,
 * and a size of 0 or 0xFFFFFFFF, as programs that write into a pipe leave it, means to the end. Throws AudioError and UnknownWavCoding.
 */
export class WavStream {
  #pending: Buffer = Buffer.alloc(0)
  #encoding: Encoding | undefined
  /** Bytes to pass over before the next chunk. */
  #skip = 0
  /** Bytes of samples to come; undefined: not there yet. */
  #samples: number | undefined
  #begun = false
  #position = 0
  #riffEnd = Infinity

  constructor(private readonly sink: AudioSink) {}

  /** Nothing after the samples is of interest. */
  get done(): boolean {
    return this.#samples === 0
  }

  push(bytes: Uint8Array): void {
    this.#pending =
      this.#pending.length > 0 ? Buffer.concat([this.#pending, bytes]) : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    while (this.#samples === undefined && this.#header());
    if (this.#samples !== undefined) this.#decode()
    // the caller may use its memory again
    this.#pending = Buffer.from(this.#pending)
  }

  /** Throws when the file ended before its samples. */
  finish(): void {
    if (this.#samples === undefined) throw brokenAudio('it ends before its first sample')
  }

  #take(length: number): Buffer {
    const taken = this.#pending.subarray(0, length)
    this.#pending = this.#pending.subarray(length)
    this.#position += taken.length
    return taken
  }

  /** One piece of the header; false: more bytes are needed. */
  #header(): boolean {
    if (this.#skip > 0) {
      this.#skip -= this.#take(Math.min(this.#skip, this.#pending.length)).length
      return this.#skip === 0
    }
    if (!this.#begun) {
      if (this.#pending.length < 12) return false
      const riff = this.#take(12)
      const size = riff.readUInt32LE(4)
      if (size !== 0 && size !== 0xffffffff) this.#riffEnd = size + 8
      this.#begun = true
      return true
    }
    if (this.#pending.length < 8) return false
    const name = this.#pending.toString('latin1', 0, 4)
    const size = this.#pending.readUInt32LE(4)
    if (name === 'data') {
      this.#take(8)
      this.#startSamples(size)
      return false
    }
    if (name !== 'fmt ') {
      this.#take(8)
      this.#skip = size + (size & 1)
      return true
    }
    if (size > longestFormat) throw brokenAudio('its format makes no sense')
    if (this.#pending.length < 8 + size) return false
    this.#take(8)
    const { rate, encoding } = readFormat(this.#take(size))
    this.#skip = size & 1
    this.sink.format(rate, encoding.channels)
    this.#encoding = encoding
    return true
  }

  #startSamples(size: number): void {
    if (!this.#encoding) throw brokenAudio('it has no format')
    const unsaid = size === 0xffffffff || (size === 0 && (this.#riffEnd === Infinity || this.#riffEnd <= this.#position))
    this.#samples = unsaid ? Infinity : size
  }

  #decode(): void {
    const { blockAlign, decode } = this.#encoding!
    const available = Math.min(this.#pending.length, this.#samples!)
    const blocks = Math.floor(available / blockAlign)
    if (blocks > 0) this.sink.push(decode(this.#take(blocks * blockAlign)))
    this.#samples! -= blocks * blockAlign
    if (this.#samples! < blockAlign) this.#samples = 0
    if (this.done) this.#pending = Buffer.alloc(0)
  }
}
