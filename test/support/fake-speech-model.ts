import { readFile } from 'node:fs/promises'
import type {
  SpeechModel,
  SpeechModelInfo,
  StartedTranscription,
  TranscribeRequest,
  TranscriptionDelta,
  TranscriptSegment,
} from '../../src/engine/speech-types.js'
import { type EngineStats, RequestError } from '../../src/engine/types.js'
import { sleep } from './http-client.js'

export interface FakeSpeechOptions {
  /** The transcript, a segment each, two seconds long. */
  segments?: readonly string[]
  /** Time between segments. */
  stepMs?: number
  /** Called with each request before it is begun; may throw a RequestError. */
  onStart?: (request: TranscribeRequest) => void | Promise<void>
  /** Ends with this instead of its last segment. */
  failure?: NonNullable<TranscriptionDelta['error']>
}

export const fakeSpeechInfo: SpeechModelInfo = {
  kind: 'speech',
  id: 'test-org/whisper',
  revision: 'main',
  created: 1_700_000_000,
  architecture: 'whisper',
  dtype: 'float32',
  parameters: 1,
  weightBytes: 4,
  vocabSize: 256,
  multilingual: true,
  maxNumSeqs: 4,
  bytesPerSequence: 1,
  threads: 1,
  loadMs: 0,
  timings: { files: 0, weights: 0, quantize: 0, tokenizer: 0, vocabulary: 0, context: 0, firstToken: 0 },
}

const fakeSegments = [' The weather in London', ' is "cold" today,\n', ' & 5 < 6 🎉 --> ok.']
const secondsEach = 2

/** One word after the other, evenly over the segment. */
function segmentOf(text: string, id: number, words: boolean): TranscriptSegment {
  const start = id * secondsEach
  const parts = text.trim().split(/\s+/)
  const each = secondsEach / parts.length
  const at = (i: number) => ({ word: parts[i] ?? '', start: start + i * each, end: start + (i + 1) * each })
  return {
    ...{ id, seek: 0, start, end: start + secondsEach, text, tokens: [50364 + id, ...parts.map((_, i) => i), 50365 + id] },
    ...{ temperature: 0, avg_logprob: -0.25, compression_ratio: 1.1, no_speech_prob: 0.01 },
    ...(words && { words: parts.map((_, i) => at(i)) }),
  }
}

/** A speech model without a model: it reads the file and says what it was told to, segment by segment. */
export class FakeSpeechModel implements SpeechModel {
  readonly info = fakeSpeechInfo
  readonly requests: TranscribeRequest[] = []
  /** What the files held when they were asked about. */
  readonly recordings: Buffer[] = []
  aborts = 0
  live = 0

  constructor(readonly options: FakeSpeechOptions = {}) {}

  get segments(): readonly string[] {
    return this.options.segments ?? fakeSegments
  }

  get text(): string {
    return this.segments.join('')
  }

  async transcribe(
    request: TranscribeRequest,
    onDelta: (delta: TranscriptionDelta) => void,
    signal?: AbortSignal,
  ): Promise<StartedTranscription> {
    this.requests.push(request)
    await this.options.onStart?.(request)
    const bytes = await readFile(request.audio.path)
    this.recordings.push(bytes)
    if (bytes.length === 0) throw new RequestError('audio_invalid', 'The file is empty.', 'file')
    signal?.throwIfAborted()
    const over = { aborted: false }
    const abort = (): void => {
      if (!over.aborted) this.aborts++
      over.aborted = true
    }
    signal?.addEventListener('abort', abort)
    this.live++
    void this.#speak(request, onDelta, over).finally(() => this.live--)
    return { duration: this.segments.length * secondsEach, language: 'en', languageName: 'english', abort }
  }

  stats(): Promise<EngineStats> {
    return Promise.reject(new Error('the fake has none'))
  }

  async #speak(request: TranscribeRequest, onDelta: (delta: TranscriptionDelta) => void, over: { aborted: boolean }): Promise<void> {
    let position = 0
    for (const [id, text] of this.segments.entries()) {
      await sleep(this.options.stepMs ?? 0)
      if (over.aborted) return onDelta({ text: '', segments: [], position, finishReason: 'abort' })
      if (this.options.failure && id === this.segments.length - 1) break
      position += secondsEach
      const token = { token: text, logprob: -0.5, bytes: [...Buffer.from(text)], top_logprobs: [] }
      onDelta({
        text,
        segments: [segmentOf(text, id, request.timestamps === 'word')],
        ...(request.logprobs && { logprobs: [token] }),
        position,
      })
    }
    const { failure } = this.options
    onDelta({ text: '', segments: [], position, finishReason: failure ? 'error' : 'stop', ...(failure && { error: failure }) })
  }
}
