import { nativeAddon } from '../../native.js'
import type { NativeResampler } from '../../native-audio.js'

/** Samples a second of what decodeAudioFile makes: what every speech model here hears. */
export const speechRate = 16_000

const unchanged: NativeResampler = { push: (samples) => samples, finish: () => new Float32Array(0) }

/** From `rate` samples a second, 1 to 768000, to speechRate. */
export function createResampler(rate: number): NativeResampler {
  return rate === speechRate ? unchanged : new (nativeAddon().Resampler)(rate)
}
