// The part of the native addon that works on sound (native/speech/, native/addon/audio_functions.cpp): 16 kHz mono float samples.

/** Where speech is looked for; every field is given. */
export interface NativeSpeechStretchOptions {
  /** Probability of speech from which 10 ms count as speech, 0 to 1. */
  threshold: number
  /** Seconds kept before speech, 0 to 30. */
  prefixPadding: number
  /** Seconds of silence that end a stretch, 0 to 30. */
  silenceDuration: number
  /** Longer stretches are cut where it is quietest in their later half. Seconds, at least 1; 0: not cut. */
  maxStretch: number
}

/** Brings a recording that comes in chunks to 16 kHz; the chunks' sizes make no difference. */
export interface NativeResampler {
  /** What can be told after these samples. Throws a RangeError when more than 2^28 samples would have come out in all. */
  push(samples: Float32Array): Float32Array
  /** The rest: in all, ceil(samples * 16000 / rate). Nothing may be pushed after it; called again, it is empty. */
  finish(): Float32Array
}

/** Promises are of work off the JavaScript thread; the samples given to it are copied first. Numbers out of range throw RangeErrors at once. */
export interface NativeAudio {
  /** For threads that may be blocked. `rate`: 1 to 768000 samples a second. */
  Resampler: new (rate: number) => NativeResampler
  /** The whole recording at once. */
  resample(samples: Float32Array, rate: number): Promise<Float32Array>
  /**
   * Whisper's log-mel spectrogram, row-major [nMels][frames], a frame each 10 ms; nMels from 1 to 256, nMels * frames up to 2^28.
   * floor(samples / 160) frames are those of the recording as it is; for more, zeros follow it; for fewer, it is cut.
   */
  logMel(samples: Float32Array, nMels: number, frames: number): Promise<Float32Array>
  /** The stretches of speech, in order: start and end of the first, of the second, ... in seconds. */
  speechStretches(samples: Float32Array, options: NativeSpeechStretchOptions): Promise<Float64Array>
}
