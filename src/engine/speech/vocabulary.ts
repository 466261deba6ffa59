// What the tokens of a Whisper model mean, and what its generation config says of them.
import type { TranscriptionThresholds } from '../speech-types.js'
import type { TextTokens } from './byte-pairs.js'

/** Seconds between two time tokens, and between two positions of the encoder's output. */
export const secondsPerTimeToken = 0.02

export interface SpeechVocabulary {
  readonly text: TextTokens
  /** Ids of the model, those without a meaning included. */
  readonly size: number
  /** <|startoftranscript|>. */
  readonly start: number
  /** <|endoftext|>; text tokens come before it. */
  readonly end: number
  /** <|notimestamps|>; time tokens follow it, from 0.00 s. */
  readonly noTimestamps: number
  /** <|startofprev|>, where there is one. */
  readonly previous: number | undefined
  /** <|nospeech|>. */
  readonly noSpeech: number
  /** Language code -> token; empty for a model that knows but one. */
  readonly languages: ReadonlyMap<string, number>
  readonly tasks: { readonly transcribe: number; readonly translate: number } | undefined
  readonly multilingual: boolean
  /** Never produced. */
  readonly suppress: Int32Array
  /** Never produced first. */
  readonly beginSuppress: Int32Array
  /** The first time token is at most so many after 0.00 s. */
  readonly maxInitialTime: number | undefined
  /** Layer and head of the cross-attention that follows the sound; undefined: the checkpoint does not say. */
  readonly alignmentHeads: readonly (readonly [layer: number, head: number])[] | undefined
  /** Positions of the median filter over their weights, odd. */
  readonly alignmentWidth: number
  /** Tokens of an answer, transformers' max_length. */
  readonly maxLength: number
  /** Those that the checkpoint itself sets. */
  readonly thresholds: TranscriptionThresholds
}

/** 0.00 s. */
export const firstTime = (vocabulary: SpeechVocabulary): number => vocabulary.noTimestamps + 1

export const isTime = (vocabulary: SpeechVocabulary, id: number): boolean => id > vocabulary.noTimestamps

/** What all published checkpoints have. */
export const defaultMaxLength = 448
export const defaultAlignmentWidth = 7
