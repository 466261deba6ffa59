// The native addon as TypeScript sees it: loading the binary, and the types of what it exports (native/addon/).
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import type { ResolvedSampling } from './generation-config.js'
import type { NativeAudio } from './native-audio.js'
import type { NativeSpeech } from './native-speech.js'
import type { EngineStats, LoadTimings, ModelInfo } from './types.js'

/** Options of the native loader; sizes in bytes, 0 or absent = chosen. */
export interface NativeLoadOptions {
  path: string
  /** Stands for the checkpoint's tokenizer.json. */
  tokenizerJson?: string
  dtype: string
  /** A name of native/loader/quantization.cpp; '': not quantised. */
  quantization: string
  kvCacheDtype: string
  kvCacheMemory: number
  maxBatchTokens: number
  maxNumSeqs: number
  maxModelLen: number
  maxWaiting: number
  maxWaitingTokens: number
  blockSize: number
  prefixCaching: boolean
  continuousBatching: boolean
  pagedKv: boolean
  threads: number
  standIn?: { vocabSize: number; stepMicros: number; tokenMicros: number }
}

/** What the native side knows of a model: all of ModelInfo but its names, and what only loading needs. */
export interface NativeModelInfo extends Omit<ModelInfo, 'id' | 'revision' | 'created' | 'hasChatTemplate' | 'loadMs' | 'timings'> {
  /** Bytes of the longest token. */
  longestToken: number
  /** Positions that the model was made for. */
  contextLength: number
  timings: Omit<LoadTimings, 'tokenizer'>
  /** Sentences for the log; `notes` are nothing to worry about. */
  warnings: string[]
  notes: string[]
  /** Only for GGUF files: what the file says in place of the checkpoint's JSON files. */
  gguf?: { chatTemplate: string; bosToken: string; eosToken: string; eosTokenIds: number[] }
}

/** A compiled constraint, opaque; of the model that compiled it. */
export interface NativeConstraint {
  readonly nativeConstraint: never
}

export interface NativeRequest {
  id: number
  prompt: Int32Array
  sampling: ResolvedSampling
  n: number
  priority: number
  cacheSalt: string
  /** Absent: the output may be anything. */
  constraint?: NativeConstraint | undefined
}

export type NativeSubmitError = 'queue_full' | 'too_long' | 'does_not_fit' | 'invalid' | 'shutting_down'

export interface NativeTokenLogprob {
  token: number
  logprob: number
  bytes: Uint8Array
}

export interface NativeSampledToken extends NativeTokenLogprob {
  top: NativeTokenLogprob[]
}

export interface NativeDelta {
  id: number
  choice: number
  text: string
  tokens: number[]
  logprobs?: NativeSampledToken[]
  promptLogprobs?: (NativeSampledToken | null)[]
  /** '' while the sequence goes on. */
  finishReason: '' | 'stop' | 'length' | 'abort' | 'error'
  promptTokens: number
  cachedTokens: number
  outputTokens: number
  error?: string
}

/** One loaded model with its engine. All methods are for the thread that loaded it. */
export interface NativeModel {
  readonly info: NativeModelInfo
  /** Returns what speaks against the request, or undefined. Never waits for a step. */
  submit(request: NativeRequest): { error: NativeSubmitError; message: string } | undefined
  abort(id: number): void
  /** All deltas since the last call; to be called after each wake. */
  take(): NativeDelta[]
  stats(): EngineStats
  /** Ids of `text` by the GGUF file's own vocabulary; rejects for a checkpoint directory. */
  tokenize(text: string, addSpecialTokens: boolean): Promise<Int32Array>
  /** Bytes of a token as the model's vocabulary has them. */
  tokenBytes(id: number): Uint8Array
  /** Compiles a constraint tree (constraint.ts) given as JSON, off this thread; rejects with a sentence for whoever wrote it. */
  compileConstraint(json: string): Promise<NativeConstraint>
  /** Keeps the process alive while true; an idle model does not. */
  setBusy(busy: boolean): void
  /** Aborts everything, joins the engine's thread and frees the model. */
  close(): Promise<void>
}

export interface NativeAddon extends NativeAudio, NativeSpeech {
  systemInfo(): string
  /** 'debug' | 'info' | 'warning' | 'error'; library messages below it are dropped. */
  setLogLevel(level: string): void
  /** `onWake` runs once after steps that brought deltas, until take() is called. */
  loadModel(options: NativeLoadOptions, onWake: () => void, onProgress: (done: number, total: number) => void): Promise<NativeModel>
  /** Renders a chat template with upstream's Jinja engine, off this thread. `nowSeconds` is what strftime_now sees; 0 = the clock. */
  renderTemplate(template: string, contextJson: string, nowSeconds: number): Promise<string>
}

const packageRoot = fileURLToPath(new URL('../..', import.meta.url))
let addon: NativeAddon | undefined

/** The addon, loaded on first use. Throws with what to do when it has not been built. */
export function nativeAddon(): NativeAddon {
  if (!addon) {
    const require = createRequire(import.meta.url)
    try {
      addon = (require('node-gyp-build') as (dir: string) => NativeAddon)(packageRoot)
    } catch (cause) {
      throw new Error('The native engine has not been built for this machine. Run `npm rebuild tfserve` (or `npm run build` in a clone).', {
        cause,
      })
    }
  }
  return addon
}
