// Cuts the answer to a window into segments by its time tokens, and says where the next window begins: transformers' _retrieve_segment.
import { firstTime, isTime, secondsPerTimeToken, type SpeechVocabulary } from './vocabulary.js'

export interface WindowSegment {
  /** Seconds from the start of the window. */
  start: number
  end: number
  /** Tokens of the answer, from and up to. */
  from: number
  to: number
}

export interface WindowSegments {
  segments: WindowSegment[]
  /** 10 ms frames from this window to the next. */
  advance: number
}

/** Spectrogram frames of 10 ms per position of the encoder's output. */
export const framesPerPosition = 2

/**
 * Two time tokens one after the other part segments. What follows the last pair is a segment where a single time token ends the answer:
 * nothing was said after it; otherwise it is cut off by the window's end, and the next window begins at the pair. Without a pair all is
 * one segment. @param frames of the window that are not padding
 */
export function windowSegments(vocabulary: SpeechVocabulary, tokens: readonly number[], frames: number): WindowSegments {
  const first = firstTime(vocabulary)
  const time = (at: number): number => (tokens[at]! - first) * secondsPerTimeToken
  const isTimeAt = (at: number): boolean => at >= 0 && isTime(vocabulary, tokens[at]!)
  const last = tokens.length - 1
  const endsOnce = isTimeAt(last) && last > 0 && !isTimeAt(last - 1)

  const cuts: number[] = []
  for (let at = 1; at <= last; at++) if (isTimeAt(at - 1) && isTimeAt(at)) cuts.push(at)
  if (cuts.length === 0) return { segments: [wholeWindow(vocabulary, tokens, frames)], advance: frames }

  // of a pair that ends the answer both belong to the segment before it
  if (endsOnce) cuts.push(tokens.length)
  else cuts[cuts.length - 1]!++
  const segments = cuts.map((to, index): WindowSegment => {
    const from = index === 0 ? 0 : cuts[index - 1]!
    const isLast = index === cuts.length - 1
    return { from, to, start: time(from), end: time(isLast && !endsOnce ? to - 2 : to - 1) }
  })
  if (endsOnce) return { segments, advance: frames }
  return { segments, advance: (tokens[cuts.at(-1)! - 2]! - first) * framesPerPosition }
}

function wholeWindow(vocabulary: SpeechVocabulary, tokens: readonly number[], frames: number): WindowSegment {
  const first = firstTime(vocabulary)
  const lastTime = tokens.findLast((token) => isTime(vocabulary, token))
  const positions = lastTime !== undefined && lastTime !== first ? lastTime - first : Math.floor(frames / framesPerPosition)
  return { from: 0, to: tokens.length, start: 0, end: positions * secondsPerTimeToken }
}
