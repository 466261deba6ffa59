import { brokenAudio, tooLong } from './audio-error.js'
import type { NativeResampler } from '../../native-audio.js'
import { createResampler, speechRate } from './resampler.js'

const maxRate = 768_000
const maxChannels = 64
/** Samples of float files beyond it are cut off there: their square still fits a float with room for a spectrum's sum. */
const loudest = 1e6

/** Where decoders put what they decode. */
export interface AudioSink {
  /** What the samples to come are; may change on the way. Throws an AudioError for what no recording has. */
  format(rate: number, channels: number): void
  /** One channel, full scale is 1. Throws an AudioError when the recording gets too long. */
  push(mono: Float32Array): void
}

/** A recording as it grows: one channel at 16 kHz, bounded in length. */
export class Recording implements AudioSink {
  #samples = new Float32Array(speechRate * 30)
  #length = 0
  #rate = 0
  /** Samples at the rate of now, and how many at 16 kHz there were before them. */
  #received = 0
  #before = 0
  #resampler: NativeResampler | undefined
  readonly #maxSamples: number

  constructor(
    private readonly maxSeconds: number,
    private readonly onProgress: (seconds: number) => void,
  ) {
    this.#maxSamples = Math.floor(maxSeconds * speechRate)
  }

  format(rate: number, channels: number): void {
    if (!Number.isInteger(rate) || rate < 1 || rate > maxRate) throw brokenAudio('its sample rate makes no sense')
    if (!Number.isInteger(channels) || channels < 1 || channels > maxChannels) throw brokenAudio('its number of channels makes no sense')
    if (rate === this.#rate) return
    this.#drain()
    this.#rate = rate
    this.#received = 0
    this.#before = this.#length
    this.#resampler = createResampler(rate)
  }

  push(mono: Float32Array): void {
    // before it is resampled: at a rate of 1 Hz some kilobytes would be gigabytes
    this.#received += mono.length
    if (this.#before + Math.ceil((this.#received * speechRate) / this.#rate) > this.#maxSamples) throw tooLong(this.maxSeconds)
    for (let i = 0; i < mono.length; i++) {
      const value = mono[i]!
      // a NaN fails both comparisons
      if (!(value >= -loudest && value <= loudest))
        mono[i] = value > 0 && value < Infinity ? loudest : value < 0 && value > -Infinity ? -loudest : 0
    }
    if (this.#resampler) this.#append(this.#resampler.push(mono))
  }

  /** All of it. Throws an AudioError when nothing came. */
  finish(): Float32Array<ArrayBuffer> {
    this.#drain()
    if (this.#length === 0) throw brokenAudio('there is no sound in it')
    return this.#samples.slice(0, this.#length)
  }

  #drain(): void {
    const resampler = this.#resampler
    this.#resampler = undefined
    if (resampler) this.#append(resampler.finish())
  }

  #append(samples: Float32Array): void {
    const length = this.#length + samples.length
    if (length > this.#samples.length) {
      const larger = new Float32Array(Math.min(this.#maxSamples, Math.max(length, this.#samples.length * 2)))
      larger.set(this.#samples.subarray(0, this.#length))
      this.#samples = larger
    }
    this.#samples.set(samples, this.#length)
    this.#length = length
    this.onProgress(length / speechRate)
  }
}

/** The mean of channels that lie apart, `offset` samples from their start on. */
export function mixPlanar(channels: readonly ArrayLike<number>[], scale: number, offset = 0): Float32Array {
  const count = channels.length
  const length = Math.max(0, Math.min(...channels.map((channel) => channel.length)) - offset)
  const mono = new Float32Array(length)
  for (let i = 0; i < length; i++) {
    let sum = 0
    for (let c = 0; c < count; c++) sum += channels[c]![offset + i]!
    mono[i] = (sum / count) * scale
  }
  return mono
}

/** The mean of `count` channels that alternate sample by sample. */
export function mixInterleaved(samples: ArrayLike<number>, count: number, scale: number): Float32Array {
  const length = Math.floor(samples.length / count)
  const mono = new Float32Array(length)
  for (let i = 0, at = 0; i < length; i++) {
    let sum = 0
    for (let c = 0; c < count; c++) sum += samples[at++]!
    mono[i] = (sum / count) * scale
  }
  return mono
}
