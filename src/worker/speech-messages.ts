// The speech side of what front and worker say to each other: what is checked of requests, deltas and models.
import { z } from 'zod'
import type { SpeechModelInfo, TranscribeRequest, TranscriptionDelta } from '../engine/speech-types.js'
import type { ErrorCode, LoadTimings, TokenLogprob } from '../engine/types.js'

const count = z.int().min(0)
const number = z.number()

export const loadTimings = z.object({
  files: number,
  weights: number,
  quantize: number,
  tokenizer: number,
  vocabulary: number,
  context: number,
  firstToken: number,
}) satisfies z.ZodType<LoadTimings>

export const speechModelInfo = z.object({
  kind: z.literal('speech'),
  id: z.string(),
  revision: z.string(),
  created: number,
  architecture: z.string(),
  dtype: z.string(),
  parameters: number,
  weightBytes: number,
  vocabSize: number,
  multilingual: z.boolean(),
  maxNumSeqs: number,
  bytesPerSequence: number,
  threads: number,
  loadMs: number,
  timings: loadTimings,
}) satisfies z.ZodType<SpeechModelInfo>

const word = z.object({ word: z.string(), start: number, end: number })

const segment = z.object({
  id: count,
  seek: number,
  start: number,
  end: number,
  text: z.string(),
  tokens: z.array(count),
  temperature: number,
  avg_logprob: number,
  compression_ratio: number,
  no_speech_prob: number,
  words: z.array(word).exactOptional(),
})

// as in a step: nothing here relies on what a logprob holds
const logprobs = z.custom<TokenLogprob[]>((value) => Array.isArray(value))

export function transcriptionDelta(codes: readonly [ErrorCode, ...ErrorCode[]]) {
  return z.object({
    text: z.string(),
    segments: z.array(segment),
    logprobs: logprobs.exactOptional(),
    position: number,
    finishReason: z.enum(['stop', 'abort', 'error']).exactOptional(),
    error: z.object({ code: z.enum(codes), message: z.string() }).exactOptional(),
  }) satisfies z.ZodType<TranscriptionDelta>
}

const seconds = z.number().positive()
const share = z.number()

/** What worker and model rely on; what the values mean is for the model to judge. */
export const transcribeRequest = z.object({
  audio: z.object({ path: z.string().min(1), name: z.string().exactOptional() }),
  task: z.enum(['transcribe', 'translate']).exactOptional(),
  language: z.string().exactOptional(),
  prompt: z.string().exactOptional(),
  temperatures: z.array(z.number().min(0)).min(1).max(64).exactOptional(),
  thresholds: z
    .object({
      compression_ratio_threshold: share.exactOptional(),
      logprob_threshold: share.exactOptional(),
      no_speech_threshold: share.exactOptional(),
    })
    .exactOptional(),
  seed: z.number().exactOptional(),
  timestamps: z.enum(['none', 'segment', 'word']).exactOptional(),
  logprobs: z.boolean().exactOptional(),
  vad: z
    .object({
      threshold: share.exactOptional(),
      prefixPaddingMs: z.number().min(0).exactOptional(),
      silenceDurationMs: z.number().min(0).exactOptional(),
    })
    .exactOptional(),
  maxSeconds: seconds.exactOptional(),
}) satisfies z.ZodType<TranscribeRequest>
