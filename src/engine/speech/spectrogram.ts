// A recording as the model hears it, and the windows that it is heard in.
import type { SpeechBackend } from './backend.js'
import { framesPerPosition } from './segments.js'

export const sampleRate = 16_000
/** Samples of a spectrogram frame. */
export const hopLength = 160
export const framesPerSecond = sampleRate / hopLength

/** Log-mel features, row-major [bands][frames], a frame each 10 ms. */
export interface Spectrogram {
  readonly values: Float32Array
  readonly frames: number
  /** Of the frames that are sound; the rest is the silence that fills the first window. */
  readonly soundFrames: number
}

/** Frames of the spectrogram of a recording: it fills at least one window. */
export const spectrogramFrames = (samples: number, windowFrames: number): number => Math.max(windowFrames, Math.floor(samples / hopLength))

/** Shows the model one window of a spectrogram after the other. */
export class Windows {
  #heard = -1

  constructor(
    private readonly backend: SpeechBackend,
    readonly spectrogram: Spectrogram,
  ) {}

  /** Frames of a window. */
  get length(): number {
    return framesPerPosition * this.backend.positions
  }

  /** Has the model hear the window that begins at a frame; what it heard last is not heard again. Frames behind the end are 0, as in transformers. */
  async hear(seek: number): Promise<void> {
    if (this.#heard === seek) return
    const { values, frames } = this.spectrogram
    const taken = Math.min(this.length, frames - seek)
    const window = new Float32Array(this.backend.melBands * this.length)
    for (let band = 0; band < this.backend.melBands; band++) {
      const row = band * frames + seek
      window.set(values.subarray(row, row + taken), band * this.length)
    }
    await this.backend.encode(window)
    this.#heard = seek
  }
}
