// Speech without the silence between: stretches of a recording, put together into chunks that fill a window, and the way back.
import { sampleRate } from './spectrogram.js'

// a segment that begins before a silence and ends behind it would stand through it: over a silence this long no chunk goes on
const longestSilence = 2 * sampleRate

/** Samples of a recording, one after the other. */
export interface Chunk {
  samples: Float32Array
  /** Seconds of the recording from seconds of the chunk. @param middle of what lasts until or from then: all of it is in the stretch of its middle */
  toRecording: (seconds: number, middle?: number) => number
}

interface Stretch {
  from: number
  to: number
}

/** Stretches in samples from pairs of seconds: within the recording, in order, none over another. */
function stretchesOf(seconds: ArrayLike<number>, length: number): Stretch[] {
  const stretches: Stretch[] = []
  let done = 0
  for (let i = 0; i + 1 < seconds.length; i += 2) {
    const from = Math.max(done, Math.floor(seconds[i]! * sampleRate))
    const to = Math.min(length, Math.ceil(seconds[i + 1]! * sampleRate))
    if (to <= from) continue
    stretches.push({ from, to })
    done = to
  }
  return stretches
}

/**
 * Puts as many stretches into a chunk as fit and lie close to each other.
 * @param seconds start and end of the first stretch, of the second, ...
 * @param most samples of a chunk; a longer stretch is cut
 */
export function* chunksOf(samples: Float32Array, seconds: ArrayLike<number>, most: number): Generator<Chunk, void, undefined> {
  let taken: Stretch[] = []
  let length = 0
  for (const { from, to } of stretchesOf(seconds, samples.length)) {
    for (let at = from; at < to; at += most) {
      const stretch = { from: at, to: Math.min(to, at + most) }
      const size = stretch.to - stretch.from
      const silence = at - (taken.at(-1)?.to ?? at)
      if (length > 0 && (length + size > most || silence > longestSilence)) {
        yield chunk(samples, taken, length)
        taken = []
        length = 0
      }
      taken.push(stretch)
      length += size
    }
  }
  if (length > 0) yield chunk(samples, taken, length)
}

function chunk(recording: Float32Array, stretches: readonly Stretch[], length: number): Chunk {
  const samples = new Float32Array(length)
  const begins: number[] = []
  let at = 0
  for (const { from, to } of stretches) {
    samples.set(recording.subarray(from, to), at)
    begins.push(at)
    at += to - from
  }
  const toRecording = (seconds: number, middle = seconds): number => {
    // where two stretches meet a time belongs to the end of the first
    let index = stretches.length - 1
    while (index > 0 && begins[index]! >= middle * sampleRate) index--
    const { from, to } = stretches[index]!
    const sample = from + seconds * sampleRate - begins[index]!
    return Math.min(Math.max(sample, from), to) / sampleRate
  }
  return { samples, toRecording }
}
