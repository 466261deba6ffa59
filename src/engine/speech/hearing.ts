// One recording as it is heard: in one piece, or the chunks in which somebody speaks; and the language of its beginning.
import type { TranscribeRequest } from '../speech-types.js'
import type { SpeechBackend } from './backend.js'
import { type DecidedWindow, longForm } from './long-form.js'
import { previousTokens, promptTokens, requestedLanguage } from './request.js'
import { framesPerPosition } from './segments.js'
import { hopLength, sampleRate, spectrogramFrames, Windows } from './spectrogram.js'
import { type Chunk, chunksOf } from './stretches.js'

/** Signal processing, off this thread. */
export interface SoundTools {
  /** Log-mel features, row-major [bands][frames]. */
  logMel(samples: Float32Array, bands: number, frames: number): Promise<Float32Array>
  /** Seconds of the first stretch's start and end, of the second's, ... */
  speechStretches(
    samples: Float32Array,
    options: { threshold: number; prefixPadding: number; silenceDuration: number; maxStretch: number },
  ): Promise<ArrayLike<number>>
}

/** OpenAI's server_vad. */
const vadDefaults = { threshold: 0.5, prefixPaddingMs: 300, silenceDurationMs: 200 }
const mostSeed = 2 ** 31

/** A stretch of the recording that is ready to be heard; its samples are not kept. */
interface Opened {
  windows: Windows
  /** Of its samples. */
  seconds: number
  toRecording: Chunk['toRecording']
}

export class Hearing {
  private constructor(
    private readonly backend: SpeechBackend,
    private readonly tools: SoundTools,
    private readonly request: TranscribeRequest,
    /** Seconds of the recording. */
    readonly duration: number,
    private readonly first: Opened | undefined,
    private readonly rest: Iterator<Chunk>,
    /** Code of the language. */
    readonly language: string,
  ) {}

  /** Hears the beginning. Rejects with a RequestError, or with what the backend rejects with. @param samples 16 kHz, one channel */
  static async begin(backend: SpeechBackend, tools: SoundTools, samples: Float32Array, request: TranscribeRequest): Promise<Hearing> {
    const asked = requestedLanguage(request.language, backend.vocabulary)
    const duration = samples.length / sampleRate
    let rest: Iterator<Chunk> = [].values()
    let first: Opened | undefined
    if (request.vad) {
      rest = await spokenChunks(backend, tools, samples, request.vad)
      first = await openNext(backend, tools, rest)
    } else first = await opened(backend, tools, { samples, toRecording: (seconds) => seconds })
    // where nobody speaks the beginning has to do
    const beginning = async (): Promise<Opened> =>
      opened(backend, tools, { samples: samples.subarray(0, windowSamples(backend)), toRecording: () => 0 })
    const language = asked ?? (await detect(backend, (first ?? (await beginning())).windows))
    return new Hearing(backend, tools, request, duration, first, rest, language)
  }

  /** The transcript window by window, times and positions in seconds of the recording. */
  async *windows(): AsyncGenerator<DecidedWindow, void, undefined> {
    const { backend, request, language } = this
    const { timestamps = 'segment', temperatures = [0], thresholds, logprobs } = request
    const seed = request.seed ?? Math.floor(Math.random() * mostSeed)
    const before = previousTokens(request, backend.vocabulary, backend.context)
    let firstId = 0
    for (let next = this.first; next; next = await openNext(backend, this.tools, this.rest)) {
      const { windows, seconds, toRecording } = next
      // longer recordings are put together by their time tokens, as in transformers
      const inTime = timestamps !== 'none' || windows.spectrogram.frames > windows.length
      const { tokens, startAt } = promptTokens(before, request, backend.vocabulary, { language, timestamps: inTime })
      const options = {
        prompt: tokens,
        startAt,
        language: request.task === 'translate' ? 'en' : language,
        timestamps: inTime,
        words: timestamps === 'word',
        temperatures,
        thresholds: { ...backend.vocabulary.thresholds, ...thresholds },
        seed,
        topLogprobs: logprobs ? 0 : undefined,
        toRecording,
        firstId,
      }
      for await (const window of longForm(backend, windows, options)) {
        firstId += window.segments.length
        yield { ...window, position: toRecording(Math.min(window.position, seconds)) }
      }
    }
  }
}

const windowSamples = ({ positions }: SpeechBackend): number => positions * framesPerPosition * hopLength

async function spokenChunks(
  backend: SpeechBackend,
  tools: SoundTools,
  samples: Float32Array,
  vad: NonNullable<TranscribeRequest['vad']>,
): Promise<Iterator<Chunk>> {
  const { threshold, prefixPaddingMs, silenceDurationMs } = { ...vadDefaults, ...vad }
  const most = windowSamples(backend)
  const stretches = await tools.speechStretches(samples, {
    threshold,
    prefixPadding: prefixPaddingMs / 1000,
    silenceDuration: silenceDurationMs / 1000,
    maxStretch: most / sampleRate,
  })
  return chunksOf(samples, stretches, most)
}

async function openNext(backend: SpeechBackend, tools: SoundTools, chunks: Iterator<Chunk>): Promise<Opened | undefined> {
  const { done, value } = chunks.next()
  return done ? undefined : opened(backend, tools, value)
}

async function opened(backend: SpeechBackend, tools: SoundTools, { samples, toRecording }: Chunk): Promise<Opened> {
  const frames = spectrogramFrames(samples.length, backend.positions * framesPerPosition)
  const values = await tools.logMel(samples, backend.melBands, frames)
  const windows = new Windows(backend, { values, frames, soundFrames: Math.ceil(samples.length / hopLength) })
  return { windows, seconds: samples.length / sampleRate, toRecording }
}

async function detect(backend: SpeechBackend, windows: Windows): Promise<string> {
  const { languages, start } = backend.vocabulary
  const codes = [...languages.keys()]
  await windows.hear(0)
  const logits = await backend.score([start], [...languages.values()])
  let best = 0
  for (let i = 1; i < codes.length; i++) if (logits[i]! > logits[best]!) best = i
  return codes[best]!
}
