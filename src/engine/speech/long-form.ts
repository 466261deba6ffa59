// A recording of any length, window by window: the sequential algorithm of transformers' Whisper generate().
import type { TranscriptionThresholds, TranscriptSegment } from '../speech-types.js'
import type { DecodedToken, SpeechBackend } from './backend.js'
import { textOf } from './byte-pairs.js'
import { decodeWithFallback, type WindowAnswer } from './fallback.js'
import { framesPerPosition, type WindowSegment, windowSegments } from './segments.js'
import { framesPerSecond, type Windows } from './spectrogram.js'
import type { Chunk } from './stretches.js'
import { isTime } from './vocabulary.js'
import { wordsOf } from './words.js'

export interface LongFormOptions {
  /** Tokens that precede each window's answer: what was said before, and the control tokens. */
  prompt: readonly number[]
  /** Where <|startoftranscript|> stands in it. */
  startAt: number
  /** Code of the language that is written. */
  language: string
  timestamps: boolean
  words: boolean
  temperatures: readonly number[]
  thresholds: TranscriptionThresholds
  seed: number
  /** Alternatives told of each token; undefined: not even its own log probability is asked for. */
  topLogprobs: number | undefined
  /** Seconds of the recording from seconds of the spectrogram. */
  toRecording: Chunk['toRecording']
  /** Segments that came before. */
  firstId: number
}

/** A window's part of the transcript. */
export interface DecidedWindow {
  segments: TranscriptSegment[]
  /** The text tokens of the segments. */
  tokens: DecodedToken[]
  /** Seconds of the spectrogram that are done. */
  position: number
}

// what a distribution gives a token that it forbids is no number for a wire
const leastLogprob = -1e9
const seedsPerWindow = 64

const inHundredths = (seconds: number): number => Math.round(seconds * 100) / 100

/** The transcript in order, a window at a time; a window may bring nothing. Rejects with what the backend rejects with. */
export async function* longForm(
  backend: SpeechBackend,
  windows: Windows,
  options: LongFormOptions,
): AsyncGenerator<DecidedWindow, void, undefined> {
  const { vocabulary, context } = backend
  const { frames } = windows.spectrogram
  const { prompt, startAt, timestamps, topLogprobs } = options
  const most = Math.min(vocabulary.maxLength + Math.min(Math.floor(context / 2) - 1, prompt.length), context)
  const request = { prompt, startAt, timestamps, topLogprobs, maxNewTokens: Math.max(1, most - prompt.length) }
  let nextId = options.firstId
  let index = 0
  for (let seek = 0; seek < frames; index++) {
    const windowFrames = Math.min(windows.length, frames - seek)
    await windows.hear(seek)
    const seedOf = (attempt: number): number => options.seed + index * seedsPerWindow + attempt
    const answer = await decodeWithFallback(backend, request, options.temperatures, options.thresholds, seedOf)
    if (answer.silent) {
      seek += windowFrames
      yield { segments: [], tokens: [], position: seek / framesPerSecond }
      continue
    }
    const ids = answer.tokens.map(({ id }) => id)
    const { segments, advance } = windowSegments(vocabulary, ids, windowFrames)
    const begins = options.words ? await tokenTimes(backend, windows, options, ids, seek) : undefined
    const decided: DecidedWindow = { segments: [], tokens: [], position: 0 }
    for (const segment of segments) {
      const shaped = shape(backend, options, answer, segment, { id: nextId, seek, ids, begins })
      if (shaped.text === '') continue
      nextId++
      decided.segments.push(shaped)
      const own = answer.tokens.slice(segment.from, segment.to)
      decided.tokens.push(...own.filter(({ id }) => vocabulary.text.bytes(id) !== undefined))
    }
    // a pair of 0.00 would stand still
    seek += advance > 0 ? advance : windowFrames
    decided.position = Math.min(seek, frames) / framesPerSecond
    yield decided
  }
}

/** Seconds from the window's start at which each token begins; as many as tokens. */
async function tokenTimes(
  backend: SpeechBackend,
  windows: Windows,
  { prompt }: LongFormOptions,
  ids: readonly number[],
  seek: number,
): Promise<ArrayLike<number>> {
  const left = Math.floor((windows.spectrogram.soundFrames - seek) / framesPerPosition)
  const positions = Math.min(backend.positions, Math.max(1, left))
  return ids.length === 0 ? [] : backend.align({ prompt, tokens: ids, positions })
}

interface Found {
  id: number
  seek: number
  ids: readonly number[]
  begins: ArrayLike<number> | undefined
}

function shape(
  { vocabulary }: SpeechBackend,
  { toRecording, language }: LongFormOptions,
  answer: WindowAnswer,
  { from, to, start, end }: WindowSegment,
  { id, seek, ids, begins }: Found,
): TranscriptSegment {
  const offset = seek / framesPerSecond
  const tokens = ids.slice(from, to)
  const at = (seconds: number): number => inHundredths(toRecording(offset + seconds))
  const segment: TranscriptSegment = {
    id,
    seek: Math.round(toRecording(offset) * framesPerSecond),
    start: at(start),
    end: at(end),
    text: textOf(vocabulary.text, tokens),
    tokens,
    temperature: answer.temperature,
    avg_logprob: Math.max(answer.avgLogprob, leastLogprob),
    compression_ratio: answer.compressionRatio,
    no_speech_prob: answer.noSpeechProb,
  }
  if (!begins) return segment
  const spoken = tokens.flatMap((token, index) => (isTime(vocabulary, token) ? [] : [from + index]))
  // a token's row aligns with what comes after it: a word is said between the time of the token before it and its own last one
  const startOf = (index: number): number => offset + (spoken[index]! > 0 ? begins[spoken[index]! - 1]! : 0)
  const endOf = (index: number): number => offset + begins[spoken[index]!]!
  const words = wordsOf(
    vocabulary.text,
    spoken.map((index) => ids[index]!),
    language,
    startOf,
    endOf,
  )
  // nobody is silent in the middle of a word
  const wordAt = (seconds: number, middle: number): number => inHundredths(toRecording(seconds, middle))
  segment.words = words.map(({ word, start, end }) => {
    const middle = (start + end) / 2
    return { word, start: wordAt(start, middle), end: wordAt(end, middle) }
  })
  return segment
}
