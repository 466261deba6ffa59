// The library: one speech model in this process, transcripts as async iterators.
import { LoadedSpeechModel } from './speech/loaded-speech-model.js'
import type { SpeechModelInfo, TranscribeRequest, TranscriptionDelta } from './speech-types.js'
import { type EngineOptions, type EngineStats, type LoadProgress, RequestError } from './types.js'

export interface TranscribeOptions extends Omit<TranscribeRequest, 'audio'> {
  /** Ends the transcription; the iterator then throws the signal's reason. */
  signal?: AbortSignal
}

/** A transcription that has begun. */
export interface Transcription {
  /** Seconds of the recording. */
  readonly duration: number
  /** Code of the language that is spoken, and its English name. */
  readonly language: string
  readonly languageName: string
  /**
   * What each window of the recording brings, in order; to be read once. Leaving the loop ends the transcription. Throws a RequestError
   * when it fails.
   */
  readonly deltas: AsyncIterable<TranscriptionDelta>
}

/** One loaded speech model. `await using transcriber = await Transcriber.load({ path })` gives everything back at the end of the block. */
export class Transcriber implements AsyncDisposable {
  readonly #model: LoadedSpeechModel

  private constructor(model: LoadedSpeechModel) {
    this.#model = model
  }

  /** Loads a Whisper checkpoint directory or a ggml file. Rejects with a sentence for the user when that fails. */
  static async load(options: EngineOptions, onProgress?: (progress: LoadProgress) => void): Promise<Transcriber> {
    return new Transcriber(await LoadedSpeechModel.load(options, onProgress))
  }

  get info(): SpeechModelInfo {
    return this.#model.info
  }

  /** What a user should know about how the model was loaded. */
  get warnings(): readonly string[] {
    return this.#model.warnings
  }

  /** Transcribes a recording. Rejects with a RequestError for a file that cannot be read, or a request that cannot be served. */
  async transcribe(path: string, { signal, ...request }: TranscribeOptions = {}): Promise<Transcription> {
    const queue: TranscriptionDelta[] = []
    let wake: () => void = () => undefined
    const onDelta = (delta: TranscriptionDelta): void => {
      queue.push(delta)
      wake()
    }
    const started = await this.#model.transcribe({ ...request, audio: { path } }, onDelta, signal)
    const next = async (): Promise<TranscriptionDelta> => {
      while (queue.length === 0) await new Promise<void>((resolve) => (wake = resolve))
      return queue.shift()!
    }
    async function* deltas(): AsyncGenerator<TranscriptionDelta, void, undefined> {
      try {
        for (;;) {
          const delta = await next()
          if (delta.finishReason === 'abort') throw signal?.aborted ? signal.reason : new RequestError('shutting_down', 'It was ended.')
          if (delta.error) throw new RequestError(delta.error.code, delta.error.message)
          yield delta
          if (delta.finishReason) return
        }
      } finally {
        started.abort()
      }
    }
    const { duration, language, languageName } = started
    return { duration, language, languageName, deltas: deltas() }
  }

  stats(): Promise<EngineStats> {
    return this.#model.stats()
  }

  /** Aborts what still runs and gives all memory back. */
  close(): Promise<void> {
    return this.#model.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
