// What the policy of transcription asks of a model: one recording's place in it, window by window. The native engine answers; tests script it.
import type { SpeechVocabulary } from './vocabulary.js'

/** How the model's answer to a window is drawn. */
export interface DecodeRequest {
  /** Control tokens, and the prompt before them. */
  prompt: readonly number[]
  /** Where <|startoftranscript|> stands in it: the probability of silence is read there. */
  startAt: number
  maxNewTokens: number
  /** Whether the answer has time tokens. */
  timestamps: boolean
  /** 0: greedy. */
  temperature: number
  seed: number
  /** Alternatives told of each token, 0 to 20; undefined: no log probabilities are told. */
  topLogprobs: number | undefined
}

export interface DecodedToken {
  id: number
  /** Of the model's own distribution, before any rule; 0 where it was not asked for. */
  logprob: number
  top: readonly { id: number; logprob: number }[]
}

export interface Decoded {
  /** Without the token that ends it. */
  tokens: DecodedToken[]
  /** Whether the model ended it; else it is as long as it may be. */
  ended: boolean
  /** Over the answer and its end, of the distribution that it was drawn from; transformers' _retrieve_avg_logprobs. */
  avgLogprob: number
  noSpeechProb: number
}

export interface AlignRequest {
  prompt: readonly number[]
  /** The answer, without its end. */
  tokens: readonly number[]
  /** Of the encoder's output that are sound; the rest is padding. At least 1. */
  positions: number
}

/** Promises reject when the transcription is aborted. */
export interface SpeechBackend {
  readonly vocabulary: SpeechVocabulary
  /** Rows of a spectrogram. */
  readonly melBands: number
  /** Of the encoder's output; a window has twice as many spectrogram frames, each 10 ms. */
  readonly positions: number
  /** Tokens that the decoder sees at most, prompt and answer. */
  readonly context: number
  /** Hears a window: row-major [melBands][2 * positions]. All else is asked of the latest one. */
  encode(mel: Float32Array): Promise<void>
  decode(request: DecodeRequest): Promise<Decoded>
  /** Logits of `ids` after `tokens`. */
  score(tokens: readonly number[], ids: readonly number[]): Promise<ArrayLike<number>>
  /** Seconds from the window's start at which each token of the answer begins. */
  align(request: AlignRequest): Promise<ArrayLike<number>>
}
