// Decodes a window at one temperature after the other until its answer can be trusted: transformers' generate_with_fallback.
import { deflateSync } from 'node:zlib'
import type { TranscriptionThresholds } from '../speech-types.js'
import type { Decoded, DecodeRequest, SpeechBackend } from './backend.js'

export interface WindowAnswer extends Decoded {
  temperature: number
  compressionRatio: number
  /** The thresholds say that nobody speaks: the answer does not count. */
  silent: boolean
}

/** Bytes of the tokens by bytes of the same deflated; what repeats itself is high. transformers' _retrieve_compression_ratio. */
export function compressionRatio(tokens: readonly number[], vocabularySize: number): number {
  if (tokens.length === 0) return 0
  const width = Math.floor(Math.log2(vocabularySize) / 8) + 1
  const bytes = Buffer.alloc(tokens.length * width)
  tokens.forEach((token, at) => bytes.writeUIntLE(token, at * width, width))
  return bytes.length / deflateSync(bytes).length
}

export type FallbackRequest = Omit<DecodeRequest, 'temperature' | 'seed'>

/** @param seedOf a seed for each attempt */
export async function decodeWithFallback(
  backend: SpeechBackend,
  request: FallbackRequest,
  temperatures: readonly number[],
  thresholds: TranscriptionThresholds,
  seedOf: (attempt: number) => number,
): Promise<WindowAnswer> {
  const { compression_ratio_threshold: mostRatio, logprob_threshold: leastLogprob, no_speech_threshold: mostSilence } = thresholds
  const { size, end } = backend.vocabulary
  for (let attempt = 0; ; attempt++) {
    const temperature = temperatures[attempt] ?? 0
    const decoded = await backend.decode({ ...request, temperature, seed: seedOf(attempt) })
    const ids = decoded.tokens.map(({ id }) => id)
    // the end counts as transformers counts it
    const ratio = compressionRatio(decoded.ended ? [...ids, end] : ids, size)
    const unlikely = leastLogprob !== undefined && decoded.avgLogprob < leastLogprob
    const silent = mostSilence !== undefined && decoded.noSpeechProb > mostSilence && (unlikely || leastLogprob === undefined)
    const repeats = mostRatio !== undefined && ratio > mostRatio
    if (silent || !(unlikely || repeats) || attempt + 1 >= temperatures.length) {
      return { ...decoded, temperature, compressionRatio: ratio, silent }
    }
  }
}
