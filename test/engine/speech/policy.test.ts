import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { checkpointVocabulary } from '../../../src/engine/speech/checkpoint-vocabulary.js'
import { compressionRatio, decodeWithFallback } from '../../../src/engine/speech/fallback.js'
import { languageCode } from '../../../src/engine/speech/languages.js'
import { checkRequest, previousTokens, promptTokens, requestedLanguage } from '../../../src/engine/speech/request.js'
import { windowSegments } from '../../../src/engine/speech/segments.js'
import { chunksOf } from '../../../src/engine/speech/stretches.js'
import { wordsOf } from '../../../src/engine/speech/words.js'
import type { TranscriptionThresholds } from '../../../src/engine/speech-types.js'
import { ScriptedBackend } from '../../support/scripted-backend.js'

const vocabulary = checkpointVocabulary(fileURLToPath(new URL('../../fixtures/whisper-random', import.meta.url)))
const golden = JSON.parse(readFileSync(new URL('../../fixtures/goldens/whisper-policy.json', import.meta.url), 'utf8')) as {
  segments: { tokens: number[]; frames: number; advance: number; segments: { start: number; end: number; tokens: number[] }[] }[]
  words: { language: string; text: string; ids: number[]; words: string[]; indices: number[][] }[]
  ratios: { tokens: number[]; size: number; ratio: number }[]
}

describe('segments of an answer', () => {
  it('are those of transformers, and the next window begins where it does there', () => {
    for (const { tokens, frames, advance, segments } of golden.segments) {
      const found = windowSegments(vocabulary, tokens, frames)
      const label = JSON.stringify(tokens)
      expect(found.advance, label).toBe(advance)
      const shown = found.segments.map(({ from, to, start, end }) => ({ start, end, tokens: tokens.slice(from, to) }))
      expect(shown, label).toEqual(
        segments.map(({ start, end, tokens: own }) => ({ start: expect.closeTo(start, 4), end: expect.closeTo(end, 4), tokens: own })),
      )
    }
  })

  it('an answer without a token is a segment without text', () => {
    expect(windowSegments(vocabulary, [], 3000)).toEqual({ segments: [{ from: 0, to: 0, start: 0, end: 30 }], advance: 3000 })
  })
})

describe('words', () => {
  it.each(golden.words)('of "$text" are those of transformers', ({ language, ids, words, indices }) => {
    const code = languageCode(language)!
    const found = wordsOf(
      vocabulary.text,
      ids,
      code,
      (index) => index,
      (index) => index + 0.5,
    )
    const expected = words.flatMap((word, i) => {
      const own = indices[i]!
      return word.trim() === '' ? [] : [{ word: word.trim(), start: own[0]!, end: own.at(-1)! + 0.5 }]
    })
    expect(found).toEqual(expected)
  })

  it('lose no token that ends within a character', () => {
    const ids = vocabulary.text.encode(' zähl').slice(0, -2)
    const cut = [...ids, ...vocabulary.text.encode('ä').slice(0, 1)]
    const found = wordsOf(
      vocabulary.text,
      cut,
      'de',
      (index) => index,
      (index) => index,
    )
    expect(found.at(-1)?.end).toBe(cut.length - 1)
  })
})

describe('the temperature ladder', () => {
  it('measures repetition as transformers does', () => {
    for (const { tokens, size, ratio } of golden.ratios) expect(compressionRatio(tokens, size)).toBeCloseTo(ratio, 1)
    expect(compressionRatio([], 100)).toBe(0)
  })

  const request = { prompt: [601], startAt: 0, maxNewTokens: 100, timestamps: false, topLogprobs: undefined }
  const climb = async (
    answers: { tokens?: number[]; avgLogprob?: number; noSpeechProb?: number }[],
    thresholds: TranscriptionThresholds,
  ) => {
    const backend = new ScriptedBackend(vocabulary, (attempt) => answers[attempt] ?? {})
    const answer = await decodeWithFallback(backend, request, [0, 0.2, 0.4], thresholds, (attempt) => 10 + attempt)
    return { answer, asked: backend.decodes.map(({ temperature, seed }) => [temperature, seed]) }
  }
  const repeated = Array.from({ length: 200 }, () => 7)

  it('stays at its first step where no threshold is set', async () => {
    const { answer, asked } = await climb([{ tokens: repeated, avgLogprob: -9, noSpeechProb: 1 }], {})
    expect(asked).toEqual([[0, 10]])
    expect(answer).toMatchObject({ temperature: 0, silent: false })
    expect(answer.compressionRatio).toBeGreaterThan(10)
  })

  it('climbs past unlikely and repeating answers', async () => {
    const thresholds = { compression_ratio_threshold: 2.4, logprob_threshold: -1 }
    const { answer, asked } = await climb(
      [{ avgLogprob: -1.5 }, { tokens: repeated, avgLogprob: -0.1 }, { tokens: [5], avgLogprob: -0.2 }],
      thresholds,
    )
    expect(asked).toEqual([
      [0, 10],
      [0.2, 11],
      [0.4, 12],
    ])
    expect(answer).toMatchObject({ temperature: 0.4, avgLogprob: -0.2, silent: false })
  })

  it('takes the last answer when none is good', async () => {
    const { answer, asked } = await climb([{ avgLogprob: -5 }, { avgLogprob: -4 }, { avgLogprob: -3 }], { logprob_threshold: -1 })
    expect(asked.length).toBe(3)
    expect(answer).toMatchObject({ temperature: 0.4, avgLogprob: -3 })
  })

  it('silence ends it, where the answer is unlikely too', async () => {
    const thresholds = { logprob_threshold: -1, no_speech_threshold: 0.6 }
    expect(await climb([{ avgLogprob: -2, noSpeechProb: 0.7 }], thresholds)).toMatchObject({ answer: { silent: true }, asked: [[0, 10]] })
    expect(await climb([{ avgLogprob: -0.5, noSpeechProb: 0.9 }], thresholds)).toMatchObject({
      answer: { silent: false },
      asked: [[0, 10]],
    })
    expect((await climb([{ avgLogprob: -2, noSpeechProb: 0.5 }], thresholds)).asked.length).toBeGreaterThan(1)
    expect(await climb([{ avgLogprob: -0.1, noSpeechProb: 0.9 }], { no_speech_threshold: 0.6 })).toMatchObject({ answer: { silent: true } })
  })
})

describe('what a request asks for', () => {
  const english = { ...vocabulary, multilingual: false, languages: new Map<string, number>(), tasks: undefined }
  const context = 448

  it('languages go by code or English name, in any case', () => {
    for (const [named, code] of [
      ['de', 'de'],
      ['German', 'de'],
      [' FRENCH ', 'fr'],
      ['castilian', 'es'],
      ['haitian creole', 'ht'],
    ]) {
      expect(requestedLanguage(named, vocabulary), named).toBe(code)
    }
    expect(requestedLanguage(undefined, vocabulary)).toBeUndefined()
    expect(requestedLanguage(undefined, english)).toBe('en')
    expect(requestedLanguage('english', english)).toBe('en')
  })

  it.each([
    [vocabulary, 'klingon', 'one of: en, zh, de'],
    [vocabulary, 'yue', 'Unknown language'],
    [vocabulary, '__proto__', 'Unknown language'],
    [vocabulary, '', 'Unknown language'],
    [english, 'de', 'knows English only'],
    [english, 'klingon', 'one of: en.'],
  ])('refuses a language that the model does not know (%#)', (model, named, message) => {
    expect(() => requestedLanguage(named, model)).toThrow(
      expect.objectContaining({ code: 'invalid_request', param: 'language', message: expect.stringContaining(message) }),
    )
  })

  it('refuses what cannot be done', () => {
    const audio = { path: '' }
    expect(() => checkRequest({ audio, task: 'translate' }, english)).toThrow('knows English only')
    for (const temperatures of [[], [-1], [NaN], [Infinity]])
      expect(() => checkRequest({ audio, temperatures }, vocabulary)).toThrow('temperatures')
    expect(() => checkRequest({ audio, task: 'translate', temperatures: [0, 1] }, vocabulary)).not.toThrow()
  })

  it('its control tokens are those of transformers', () => {
    const audio = { path: '' }
    const tokens = (more: object, model = vocabulary, timestamps = true, language = 'de') =>
      promptTokens(previousTokens({ audio, ...more }, model, context), { audio, ...more }, model, { language, timestamps }).tokens
    expect(tokens({})).toEqual([601, 604, 702])
    expect(tokens({ task: 'translate' })).toEqual([601, 604, 701])
    expect(tokens({}, vocabulary, false)).toEqual([601, 604, 702, 706])
    expect(tokens({}, english, true, 'en')).toEqual([601])
    expect(tokens({}, english, false, 'en')).toEqual([601, 706])
  })

  it('a prompt stands before them, its end where it is long', () => {
    const of = (prompt: string) =>
      promptTokens(previousTokens({ audio: { path: '' }, prompt }, vocabulary, context), { audio: { path: '' } }, vocabulary, {
        language: 'en',
        timestamps: true,
      })
    expect(of('  ')).toEqual({ tokens: [601, 602, 702], startAt: 0 })
    const short = of(' Ada, Zug \n')
    const ids = vocabulary.text.encode(' Ada, Zug')
    expect(short).toEqual({ tokens: [704, ...ids, 601, 602, 702], startAt: ids.length + 1 })
    const long = of('one two three '.repeat(100_000))
    expect(long.startAt).toBe(224)
    expect(long.tokens.slice(1, 224)).toEqual(vocabulary.text.encode(' one two three'.repeat(100)).slice(-223))
  })
})

describe('stretches of speech', () => {
  const samples = Float32Array.from({ length: 160_000 }, (_, i) => i)

  it('fill chunks, and their times lead back', () => {
    const chunks = [...chunksOf(samples, [1, 2, 4, 5.5, 7, 9], 48_000)]
    expect(chunks.map((chunk) => chunk.samples.length)).toEqual([40_000, 32_000])
    const [first, second] = chunks
    expect([...first!.samples.slice(15_999, 16_001)]).toEqual([31_999, 64_000])
    expect([0, 0.5, 1, 1.5, 2.5, 9].map((at) => first!.toRecording(at))).toEqual([1, 1.5, 2, 4.5, 5.5, 5.5])
    expect([0, 2, 3].map((at) => second!.toRecording(at))).toEqual([7, 9, 9])
    // the stretches meet at 1: what lasts over that is all in the one that has its middle
    expect([first!.toRecording(0.5, 0.8), first!.toRecording(1.1, 0.8)]).toEqual([1.5, 2])
    expect([first!.toRecording(0.9, 1.2), first!.toRecording(1.5, 1.2)]).toEqual([4, 4.5])
  })

  it('whatever is told of them stays within the recording', () => {
    expect([...chunksOf(samples, [], 48_000)]).toEqual([])
    const odd = [...chunksOf(samples, [-1, 0.5, 0.25, 0.75, 3, 2, 9.5, 99], 48_000)]
    expect(odd.map((chunk) => chunk.samples.length)).toEqual([12_000, 8_000])
    const long = [...chunksOf(samples, [0, 10], 48_000)]
    expect(long.map((chunk) => chunk.samples.length)).toEqual([48_000, 48_000, 48_000, 16_000])
    expect(long.map((chunk) => chunk.toRecording(0))).toEqual([0, 3, 6, 9])
    for (const chunk of long)
      for (let i = 1; i < 30; i++) expect(chunk.toRecording(i / 10)).toBeGreaterThanOrEqual(chunk.toRecording((i - 1) / 10))
  })

  it('no chunk goes on over a long silence, in which a segment would stand still', () => {
    const near = [...chunksOf(samples, [0, 1, 3, 4], 480_000)]
    expect(near.map((chunk) => chunk.samples.length)).toEqual([32_000])
    const far = [...chunksOf(samples, [0, 1, 3.1, 4], 480_000)]
    expect(far.map((chunk) => chunk.samples.length)).toEqual([16_000, 14_400])
    expect(far[1]!.toRecording(0.5)).toBeCloseTo(3.6, 6)
  })
})
