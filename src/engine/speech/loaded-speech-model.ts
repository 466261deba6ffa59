// One speech model in this process: vocabulary, decoder of audio files and native engine behind the SpeechModel interface.
// The worker process is a message loop around it; the library exports it. There is no second implementation.
import { statSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { CheckpointError } from '../model-file.js'
import { defaultKvCacheMemory } from '../memory.js'
import { nativeAddon } from '../native.js'
import type { NativeSpeechModel, NativeSpeechModelInfo } from '../native-speech.js'
import { parseQuantization } from '../quantization.js'
import type {
  AudioFile,
  SpeechModel,
  SpeechModelInfo,
  StartedTranscription,
  TranscribeRequest,
  TranscriptionDelta,
} from '../speech-types.js'
import { type EngineOptions, type EngineStats, type LoadProgress, RequestError, type TokenLogprob } from '../types.js'
import { AudioDecoder } from './audio/decode-audio.js'
import { AudioError, type AudioErrorKind } from './audio/audio-error.js'
import type { DecodedToken } from './backend.js'
import { checkpointVocabulary } from './checkpoint-vocabulary.js'
import { ggmlVocabulary } from './ggml-vocabulary.js'
import { Hearing, type SoundTools } from './hearing.js'
import { languageName } from './languages.js'
import type { DecidedWindow } from './long-form.js'
import { type NativeSlot, NativeSlots } from './native-slots.js'
import { checkRequest, requestedLanguage } from './request.js'
import { framesPerSecond, sampleRate } from './spectrogram.js'
import { Turns } from './turns.js'
import type { SpeechVocabulary } from './vocabulary.js'

const defaultSlots = 8
const defaultMaxWaiting = 256
/** What the native side takes of samples and of values of a spectrogram. */
const mostValues = 2 ** 28

const audioErrors = { invalid: 'audio_invalid', unsupported: 'audio_unsupported', too_long: 'audio_too_long' } as const satisfies Record<
  AudioErrorKind,
  string
>

const shuttingDown = (): RequestError => new RequestError('shutting_down', 'The model is being unloaded.')

function refuseQuantization(options: EngineOptions): void {
  const { quantization = 'none' } = options
  if ((parseQuantization(quantization)?.name ?? quantization) === 'none') return
  throw new CheckpointError(
    'Speech models cannot be quantised while they are loaded: start without --quantization, or give a quantised ggml file.',
  )
}

function vocabularyOf({ ggml, vocabSize }: NativeSpeechModelInfo): SpeechVocabulary {
  if (!ggml) throw new CheckpointError('The file brings no vocabulary.')
  return ggmlVocabulary(ggml, vocabSize)
}

function modelInfo(
  options: EngineOptions,
  native: NativeSpeechModelInfo,
  multilingual: boolean,
  ms: { load: number; tokenizer: number },
): SpeechModelInfo {
  const path = resolve(options.path)
  return {
    kind: 'speech',
    id: options.id ?? basename(path),
    revision: options.revision ?? 'main',
    created: Math.floor(statSync(path).mtimeMs / 1000),
    architecture: native.architecture,
    dtype: native.dtype,
    parameters: native.parameters,
    weightBytes: native.weightBytes,
    vocabSize: native.vocabSize,
    multilingual,
    maxNumSeqs: native.slots,
    bytesPerSequence: native.bytesPerSlot,
    threads: native.threads,
    loadMs: ms.load,
    timings: { ...native.timings, quantize: 0, tokenizer: ms.tokenizer, vocabulary: 0, firstToken: 0 },
  }
}

/** What has to be given back when a transcription ends. */
interface Holdings {
  leave: (() => void)[]
  slot: NativeSlot | undefined
}

/** A loaded speech model and its engine. Make one with `LoadedSpeechModel.load`; end it with `close()` or `await using`. */
export class LoadedSpeechModel implements SpeechModel, AsyncDisposable {
  /** Things a user should know about the load. */
  readonly warnings: readonly string[]
  readonly #native: NativeSpeechModel
  readonly #slots: NativeSlots
  readonly #vocabulary: SpeechVocabulary
  readonly #tools: SoundTools
  readonly #decoder: AudioDecoder
  // one recording more than there are slots is made ready: decoded audio is large
  readonly #places: Turns
  readonly #turns: Turns
  readonly #maxWaiting: number
  readonly #mostSeconds: number
  readonly #ending = new Set<AbortController>()
  #audioPieces = 0
  #abortsWaiting = 0
  #abortsDecode = 0
  #closed: Promise<void> | undefined

  private constructor(
    native: NativeSpeechModel,
    { melBands, warnings }: NativeSpeechModelInfo,
    slots: NativeSlots,
    vocabulary: SpeechVocabulary,
    readonly info: SpeechModelInfo,
    maxWaiting: number,
  ) {
    this.warnings = warnings
    this.#mostSeconds = Math.floor(mostValues / Math.max(sampleRate, melBands * framesPerSecond))
    this.#native = native
    this.#slots = slots
    this.#vocabulary = vocabulary
    this.#tools = nativeAddon()
    this.#turns = new Turns(info.maxNumSeqs)
    this.#places = new Turns(info.maxNumSeqs + 1)
    this.#decoder = new AudioDecoder()
    this.#maxWaiting = maxWaiting
  }

  /** Counts what is done for recordings between the steps of the engine: audio that is decoded, parts of an encode. */
  get progress(): number {
    return this.#audioPieces + (this.#closed ? 0 : this.#native.stats().progress)
  }

  /**
   * Loads a Whisper checkpoint directory or a ggml file and starts its engine. Of the options those of text generation have no effect;
   * `maxNumSeqs` bounds the recordings at once, `kvCacheMemory` what they take.
   * Rejects with a CheckpointError (or an Error with a sentence for the user) when the model cannot be loaded.
   */
  static async load(options: EngineOptions, onProgress: (progress: LoadProgress) => void = () => {}): Promise<LoadedSpeechModel> {
    const started = performance.now()
    refuseQuantization(options)
    const addon = nativeAddon()
    addon.setLogLevel(options.logLevel ?? 'warning')
    onProgress({ stage: 'processor' })
    const found = statSync(options.path, { throwIfNoEntry: false })
    if (!found) throw new CheckpointError(`There is no file or directory '${basename(options.path)}'.`)
    const slots = new NativeSlots()
    const loading = addon.loadSpeechModel(
      {
        path: options.path,
        dtype: options.dtype ?? 'auto',
        threads: options.threads ?? 0,
        maxSlots: options.maxNumSeqs ?? defaultSlots,
        slotMemory: options.kvCacheMemory ?? defaultKvCacheMemory(),
      },
      () => slots.deliver(),
      (current, total) => onProgress({ stage: 'weights', current, total }),
    )
    // on this thread, while the weights are read on another
    const reading = performance.now()
    let native: NativeSpeechModel | undefined
    try {
      const own = found.isDirectory() ? checkpointVocabulary(options.path) : undefined
      const tokenizer = performance.now() - reading
      onProgress({ stage: 'config' })
      native = await loading
      onProgress({ stage: 'engine' })
      const known = native.info
      slots.attach(native, known)
      const vocabulary = own ?? vocabularyOf(known)
      const info = modelInfo(options, known, vocabulary.multilingual, { tokenizer, load: performance.now() - started })
      return new LoadedSpeechModel(native, known, slots, vocabulary, info, options.maxWaiting ?? defaultMaxWaiting)
    } catch (error) {
      const loaded = native ?? (await loading.catch(() => undefined))
      await loaded?.close()
      throw error
    }
  }

  /**
   * Begins a transcription; waits in order of arrival where all places are taken. Resolves when the recording is read and its language
   * known. `onDelta` is called from a later turn of the event loop.
   */
  async transcribe(
    request: TranscribeRequest,
    onDelta: (delta: TranscriptionDelta) => void,
    signal?: AbortSignal,
  ): Promise<StartedTranscription> {
    signal?.throwIfAborted()
    if (this.#closed) throw shuttingDown()
    checkRequest(request, this.#vocabulary)
    requestedLanguage(request.language, this.#vocabulary)
    if (this.#places.taken >= this.#places.places && this.#places.waiting >= this.#maxWaiting) {
      throw new RequestError(
        'queue_full',
        `${this.#places.places + this.#maxWaiting} recordings are already being transcribed or waiting. Try again later.`,
      )
    }
    const ending = new AbortController()
    const onSignal = (): void => ending.abort(signal?.reason)
    signal?.addEventListener('abort', onSignal, { once: true })
    this.#ending.add(ending)
    const held: Holdings = { leave: [], slot: undefined }
    const end = (): void => {
      signal?.removeEventListener('abort', onSignal)
      this.#ending.delete(ending)
      held.slot?.close()
      for (const leave of held.leave) leave()
    }
    try {
      const hearing = await this.#begin(request, held, ending.signal)
      setImmediate(() => void this.#run(hearing, onDelta, request.logprobs === true, ending.signal).finally(end))
      const { duration, language } = hearing
      return { duration, language, languageName: languageName(language), abort: () => ending.abort() }
    } catch (error) {
      if (ending.signal.aborted) this.#abortsWaiting++
      end()
      throw error instanceof AudioError ? new RequestError(audioErrors[error.kind], error.message, 'file') : error
    }
  }

  stats(): Promise<EngineStats> {
    const { steps, encodes, promptTokens, outputTokens, lastStepMs } = this.#native.stats()
    return Promise.resolve({
      running: this.#turns.taken,
      waiting: this.#places.waiting + this.#places.taken - this.#turns.taken,
      blocksTotal: 0,
      blocksFree: 0,
      blocksCached: 0,
      steps: steps + encodes,
      promptTokens,
      cachedPromptTokens: 0,
      computedTokens: promptTokens + outputTokens,
      outputTokens,
      preemptions: 0,
      prefixQueries: 0,
      prefixHits: 0,
      evictions: 0,
      blockCopies: 0,
      abortsWaiting: this.#abortsWaiting,
      abortsPrefill: 0,
      abortsDecode: this.#abortsDecode,
      lastStepMs,
    })
  }

  /** Aborts what still runs and gives all memory back. */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    for (const ending of this.#ending) ending.abort(shuttingDown())
    await this.#native.close()
    this.#slots.abandon()
  }

  async #begin(request: TranscribeRequest, held: Holdings, signal: AbortSignal): Promise<Hearing> {
    held.leave.push(await this.#places.take(signal))
    const maxSeconds = Math.min(request.maxSeconds ?? Infinity, this.#mostSeconds)
    const samples = await this.#decode(request.audio, maxSeconds, signal)
    held.leave.push(await this.#turns.take(signal))
    held.slot = await this.#slots.open(this.#vocabulary, signal)
    return Hearing.begin(held.slot, this.#tools, samples, request)
  }

  #decode(audio: AudioFile, maxSeconds: number, signal: AbortSignal): Promise<Float32Array> {
    return this.#decoder.decode(audio, { maxSeconds, signal, onProgress: () => this.#audioPieces++ })
  }

  async #run(hearing: Hearing, onDelta: (delta: TranscriptionDelta) => void, logprobs: boolean, signal: AbortSignal): Promise<void> {
    let position = 0
    try {
      for await (const window of hearing.windows()) {
        signal.throwIfAborted()
        position = window.position
        onDelta(this.#delta(window, logprobs))
      }
      onDelta({ text: '', segments: [], position: hearing.duration, finishReason: 'stop' })
    } catch (error) {
      const ended = { text: '', segments: [], position }
      if (signal.aborted) this.#abortsDecode++
      if (signal.aborted && !this.#closed) return onDelta({ ...ended, finishReason: 'abort' })
      const told = this.#closed ? shuttingDown() : error
      const { code, message } =
        told instanceof RequestError ? told : new RequestError('engine_error', 'The engine failed on this recording.')
      onDelta({ ...ended, finishReason: 'error', error: { code, message } })
    }
  }

  #delta({ segments, tokens, position }: DecidedWindow, logprobs: boolean): TranscriptionDelta {
    return {
      text: segments.map(({ text }) => text).join(''),
      segments,
      ...(logprobs && { logprobs: tokens.map((token) => this.#logprob(token)) }),
      position,
    }
  }

  #logprob({ id, logprob }: DecodedToken): TokenLogprob {
    const bytes = this.#vocabulary.text.bytes(id) ?? new Uint8Array()
    return { token: new TextDecoder().decode(bytes), logprob, bytes: [...bytes], top_logprobs: [] }
  }
}
