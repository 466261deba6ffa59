// The words of speech recognition that the front process, the worker and the library share. Plain data and interfaces, no code.
import type { EngineStats, ErrorCode, LoadTimings, StartedGeneration, TokenLogprob } from './types.js'

/** Where a recording lies. Who asks owns the file, and removes it after the last delta. */
export interface AudioFile {
  path: string
  /** As the client named it: a hint for messages, never a path to open. */
  name?: string
}

/** How to cut a recording at silences before it is transcribed; OpenAI's server_vad. */
export interface VoiceActivityOptions {
  /** Probability of speech from which a frame counts as speech, 0 to 1. Default 0.5. */
  threshold?: number
  /** Kept before speech. Default 300. */
  prefixPaddingMs?: number
  /** Silence that ends a stretch of speech. Default 200. */
  silenceDurationMs?: number
}

/** When a window's answer is not trusted; transformers' thresholds under its names. Absent: not looked at. */
export interface TranscriptionThresholds {
  /** Above it the window is decoded again at the next temperature. */
  compression_ratio_threshold?: number
  /** Below it, on average, the same. */
  logprob_threshold?: number
  /** Above it, and with the average below logprob_threshold, the window is silence. */
  no_speech_threshold?: number
}

export interface TranscribeRequest {
  audio: AudioFile
  /** 'translate': into English. Default 'transcribe'. */
  task?: 'transcribe' | 'translate'
  /** A code ('de') or an English name ('german') of the checkpoint's languages; absent: detected in the first window. */
  language?: string
  /** Text that precedes the recording, for its spelling and style. */
  prompt?: string
  /** Sampling temperatures to try in turn until the thresholds hold; 0 is greedy. Default [0]. */
  temperatures?: readonly number[]
  thresholds?: TranscriptionThresholds
  /** For temperatures above 0. */
  seed?: number
  /** What is told of times. 'none': the text alone, without time tokens where the recording fits into one window. Default 'segment'. */
  timestamps?: 'none' | 'segment' | 'word'
  /** Whether deltas carry the log probabilities of their tokens. */
  logprobs?: boolean
  vad?: VoiceActivityOptions
  /** Longer recordings are refused with `audio_too_long`. Seconds; 16777 at most, which is the default. */
  maxSeconds?: number
}

/** A word of a segment, in seconds from the start of the recording. */
export interface TranscriptWord {
  /** Without the space before it. */
  word: string
  start: number
  end: number
}

/** A stretch of the transcript. The fields are those of OpenAI's verbose_json. */
export interface TranscriptSegment {
  /** From 0. */
  id: number
  /** 10 ms frames from the start of the recording to the window that the segment was found in. */
  seek: number
  /** Seconds from the start of the recording. */
  start: number
  end: number
  /** As the model wrote it, the space before it included. */
  text: string
  /** Text and time tokens. */
  tokens: number[]
  temperature: number
  /** Mean log probability of the window's tokens. */
  avg_logprob: number
  compression_ratio: number
  no_speech_prob: number
  /** With timestamps 'word'. */
  words?: TranscriptWord[]
}

/** News of a transcription, in the order of the recording. The texts of all deltas, one after the other, are the transcript. */
export interface TranscriptionDelta {
  text: string
  /** Segments that are decided, whose texts make up `text`. */
  segments: TranscriptSegment[]
  /** With logprobs: the text tokens behind `text`. */
  logprobs?: TokenLogprob[]
  /** Seconds of the recording that are done. */
  position: number
  /** Present on the last delta. 'stop': the recording is at its end. */
  finishReason?: 'stop' | 'abort' | 'error'
  /** With finishReason 'error'. */
  error?: { code: ErrorCode; message: string }
}

/** What is known when a transcription has begun: the file is read and its language known. */
export interface StartedTranscription extends Pick<StartedGeneration, 'abort'> {
  /** Seconds of the recording. */
  duration: number
  /** Code of the language that is spoken. */
  language: string
  /** Its English name, in lower case. */
  languageName: string
}

/** What is known of a loaded speech model. */
export interface SpeechModelInfo {
  kind: 'speech'
  /** As clients name it, without the revision. */
  id: string
  revision: string
  /** Unix seconds. */
  created: number
  architecture: string
  /** Type of most weights in memory. */
  dtype: string
  parameters: number
  weightBytes: number
  vocabSize: number
  multilingual: boolean
  /** Recordings that are decoded at once. */
  maxNumSeqs: number
  /** What one of them takes beside the weights. */
  bytesPerSequence: number
  threads: number
  loadMs: number
  timings: LoadTimings
}

/**
 * Something that transcribes speech: in this process or in a worker process. `transcribe` rejects with a RequestError
 * (audio_invalid, audio_unsupported, audio_too_long, invalid_request, queue_full, ...); deltas then arrive in order, the last one with
 * a finishReason.
 */
export interface SpeechModel {
  readonly info: SpeechModelInfo
  transcribe(request: TranscribeRequest, onDelta: (delta: TranscriptionDelta) => void, signal?: AbortSignal): Promise<StartedTranscription>
  stats(): Promise<EngineStats>
}
