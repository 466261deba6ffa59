// The speech models of the native addon as TypeScript sees them (native/addon/speech_object.h, native/speech/).

/** Options of the native loader; sizes in bytes. */
export interface NativeSpeechLoadOptions {
  /** A checkpoint directory, or a ggml file of whisper.cpp's converters. */
  path: string
  /** 'auto' (as stored), 'bfloat16', 'float16' or 'float32'. */
  dtype: string
  /** 0: as many as the machine gives. */
  threads: number
  /** Recordings at once, 1 to 1024. */
  maxSlots: number
  /** Of all slots together; fewer of them where it does not hold maxSlots. 0: no bound but maxSlots. */
  slotMemory: number
}

/** What the native side knows of a speech model. */
export interface NativeSpeechModelInfo {
  architecture: string
  /** Type of most weights in memory. */
  dtype: string
  parameters: number
  weightBytes: number
  vocabSize: number
  /** Rows of a spectrogram. */
  melBands: number
  /** Of the encoder's output; a window has twice as many spectrogram frames. */
  positions: number
  /** Tokens that the decoder sees at most. */
  context: number
  encoderLayers: number
  decoderLayers: number
  decoderHeads: number
  slots: number
  bytesPerSlot: number
  threads: number
  /** Instruction set of the matrix products. */
  kernel: string
  /** Milliseconds. */
  timings: { files: number; weights: number; context: number }
  /** Sentences for the log. */
  warnings: string[]
  /** Only for ggml files: bytes of the text tokens, token i from tokenOffsets[i] to tokenOffsets[i + 1]; ids behind them are special. */
  ggml?: { tokenBytes: Uint8Array; tokenOffsets: Float64Array }
}

/** Every operation has an id of the caller's, a whole number, which comes back with its results. */
export interface NativeDecodeRequest {
  op: number
  /** At least one token; prompt and answer together fit into the model's context. */
  prompt: Int32Array
  maxNewTokens: number
  eos: number
  /** Never produced. */
  suppress: Int32Array
  /** Never the first token. */
  beginSuppress: Int32Array
  /** Absent: no rules for time tokens. */
  timestamps?: { begin: number; noTimestamps: number; maxInitialIndex?: number | undefined } | undefined
  /** 0: greedy. */
  temperature: number
  /** 64 bits. */
  seed: bigint
  /** Whose probability is told, after which token of the prompt. */
  noSpeech?: { token: number; position: number } | undefined
  /** 0 to 20. */
  topLogprobs: number
}

export interface NativeScoreRequest {
  op: number
  tokens: Int32Array
  ids: Int32Array
}

export interface NativeAlignRequest {
  op: number
  prompt: Int32Array
  /** The answer, without its end. */
  tokens: Int32Array
  /** Of the encoder's output that are sound, at least 1. */
  positions: number
  /** [layer, head] of the decoder's cross-attention. */
  heads: readonly (readonly [number, number])[]
  /** Odd, 1 to 127. */
  medianWidth: number
}

export interface NativeSpeechToken {
  id: number
  /** Of the model's own distribution, before any rule. */
  logprob: number
  top: { id: number; logprob: number }[]
}

export interface NativeSpeechResult {
  op: number
  slot: number
  /**
   * '' while the operation goes on. 'done': encode, score or align; 'eos' and 'length': decode; 'aborted': by abort() or closeSlot();
   * 'error': see `error`.
   */
  finish: '' | 'done' | 'eos' | 'length' | 'aborted' | 'error'
  /** Decode: the new tokens, the one that ends the answer included. */
  tokens: NativeSpeechToken[]
  /** Decode, at the end: mean log probability of the answer and its end under the rules, as transformers' _retrieve_avg_logprobs. */
  avgLogprob: number
  /** Decode, at the end: 0 unless noSpeech was asked for. */
  noSpeechProb: number
  /** Score: the logits; align: seconds at which each token begins. */
  values: Float64Array
  error?: string
}

export interface NativeSpeechStats {
  /** Operations under way. */
  running: number
  /** Operations behind others of their slot. */
  waiting: number
  openSlots: number
  /** Of the decoder. */
  steps: number
  encodes: number
  /** Parts of long operations that were computed: grows inside of an encode, too. */
  progress: number
  promptTokens: number
  outputTokens: number
  /** Operations that were aborted. */
  aborts: number
  lastStepMs: number
  /** Steady clock; 0 before the first step. */
  lastStepEndS: number
}

/**
 * One loaded speech model with its engine. All methods are for the thread that loaded it; none of them waits for a step. Operations of a
 * slot are done in order, those of different slots side by side. encode, decode, score and align throw a RangeError with a sentence for
 * what can never be done.
 */
export interface NativeSpeechModel {
  readonly info: NativeSpeechModelInfo
  /** A slot for one recording, or -1 when all are taken. */
  open(): number
  /** Ends whatever runs in the slot and gives it back; results still come. */
  closeSlot(slot: number): void
  /** Hears a window: row-major [melBands][2 * positions]. All else is on the window encoded last. */
  encode(slot: number, mel: Float32Array, op: number): void
  decode(slot: number, request: NativeDecodeRequest): void
  score(slot: number, request: NativeScoreRequest): void
  align(slot: number, request: NativeAlignRequest): void
  /** Ends all operations of the slot, between two steps or inside an encode. */
  abort(slot: number): void
  /** All results since the last call, in order; to be called after each wake. */
  take(): NativeSpeechResult[]
  stats(): NativeSpeechStats
  /** Keeps the process alive while true; an idle model does not. */
  setBusy(busy: boolean): void
  /** Aborts everything, joins the engine's thread and frees the model. */
  close(): Promise<void>
}

export interface NativeSpeech {
  /** `onWake` runs once after steps that brought results, until take() is called. */
  loadSpeechModel(
    options: NativeSpeechLoadOptions,
    onWake: () => void,
    onProgress: (done: number, total: number) => void,
  ): Promise<NativeSpeechModel>
}
