import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { textOf } from '../../../src/engine/speech/byte-pairs.js'
import { checkpointVocabulary } from '../../../src/engine/speech/checkpoint-vocabulary.js'
import { Hearing, type SoundTools } from '../../../src/engine/speech/hearing.js'
import type { DecidedWindow } from '../../../src/engine/speech/long-form.js'
import type { SpeechVocabulary } from '../../../src/engine/speech/vocabulary.js'
import type { TranscribeRequest } from '../../../src/engine/speech-types.js'
import { ScriptedBackend } from '../../support/scripted-backend.js'

const vocabulary = checkpointVocabulary(fileURLToPath(new URL('../../fixtures/whisper-random', import.meta.url)))
const english: SpeechVocabulary = { ...vocabulary, multilingual: false, languages: new Map(), tasks: undefined }
const say = (text: string): number[] => vocabulary.text.encode(text)
/** The token of a time within a window, in seconds. */
const t = (seconds: number): number => 707 + Math.round(seconds * 50)
const seconds = (count: number): Float32Array => new Float32Array(Math.round(count * 16_000))

const asked: { logMel: [samples: number, bands: number, frames: number][]; stretches: object[] } = { logMel: [], stretches: [] }
/** Features that count the frames of each band. */
const tools = (stretches: number[] = []): SoundTools => {
  asked.logMel = []
  asked.stretches = []
  return {
    logMel(samples, bands, frames) {
      asked.logMel.push([samples.length, bands, frames])
      return Promise.resolve(Float32Array.from({ length: bands * frames }, (_, i) => (i % frames) + 1 + 100_000 * Math.floor(i / frames)))
    },
    speechStretches(_, options) {
      asked.stretches.push(options)
      return Promise.resolve(stretches)
    },
  }
}

async function all(hearing: Hearing): Promise<DecidedWindow[]> {
  const windows: DecidedWindow[] = []
  for await (const window of hearing.windows()) windows.push(window)
  return windows
}

const request = (more: Partial<TranscribeRequest> = {}): TranscribeRequest => ({ audio: { path: '' }, ...more })

describe('a recording of one window', () => {
  it('is padded to 30 s, its language detected, its answer one segment', async () => {
    const backend = new ScriptedBackend(vocabulary, () => ({
      tokens: [t(0), ...say(' Guten Tag.'), t(2)],
      avgLogprob: -0.25,
      noSpeechProb: 0.125,
    }))
    backend.logits = (ids) => ids.map((id) => (id === 604 ? 3 : id === 602 ? 2 : 0))
    const hearing = await Hearing.begin(backend, tools(), seconds(2.5), request())
    expect(hearing).toMatchObject({ language: 'de', duration: 2.5 })
    expect(backend.scores).toEqual([{ tokens: [601], ids: [...vocabulary.languages.values()] }])
    expect(asked.logMel).toEqual([[40_000, 2, 3000]])
    const [window, ...others] = await all(hearing)
    expect(others).toEqual([])
    expect(backend.windows.length).toBe(1) // heard once for both
    expect(window).toMatchObject({ position: 2.5, tokens: say(' Guten Tag.').map((id) => ({ id })) })
    expect(window!.segments).toEqual([
      {
        id: 0,
        seek: 0,
        start: 0,
        end: 2,
        text: ' Guten Tag.',
        tokens: [t(0), ...say(' Guten Tag.'), t(2)],
        temperature: 0,
        avg_logprob: -0.25,
        compression_ratio: expect.any(Number),
        no_speech_prob: 0.125,
      },
    ])
    expect(backend.decodes).toMatchObject([{ prompt: [601, 604, 702], startAt: 0, maxNewTokens: 445, timestamps: true, temperature: 0 }])
  })

  it('is asked without time tokens when nobody wants times', async () => {
    const backend = new ScriptedBackend(english, () => ({ tokens: say(' Hi.') }))
    const [window] = await all(await Hearing.begin(backend, tools(), seconds(4), request({ timestamps: 'none', prompt: 'Ada' })))
    const before = [704, ...say(' Ada')]
    expect(backend.decodes).toMatchObject([{ prompt: [...before, 601, 706], startAt: before.length, timestamps: false }])
    expect(backend.scores).toEqual([])
    expect(window!.segments).toMatchObject([{ text: ' Hi.', start: 0, end: 30 }])
  })

  it('what is cut off at the last pair of times is heard again', async () => {
    const answers = [
      [t(0), ...say(' One.'), t(4), t(4), ...say(' Tw')],
      [t(0), ...say(' Two.'), t(3)],
    ]
    const backend = new ScriptedBackend(english, (index) => ({ tokens: answers[index] ?? [] }))
    const windows = await all(await Hearing.begin(backend, tools(), seconds(7), request()))
    expect(windows.flatMap(({ segments }) => segments.map(({ id, seek, start, end, text }) => [id, seek, start, end, text]))).toEqual([
      [0, 0, 0, 4, ' One.'],
      [1, 400, 4, 7, ' Two.'],
    ])
    expect(windows.map(({ position }) => position)).toEqual([4, 7])
    expect([backend.windows[1]![0], backend.windows[1]![2599], backend.windows[1]![2600], backend.windows[1]![3000]]).toEqual([
      401, 3000, 0, 100_401,
    ])
  })

  it('an answer without text is no segment', async () => {
    const backend = new ScriptedBackend(english, () => ({ tokens: [t(0), t(1)] }))
    expect(await all(await Hearing.begin(backend, tools(), seconds(1), request()))).toEqual([{ segments: [], tokens: [], position: 1 }])
  })

  it('times of words are those of the tokens before and at their end', async () => {
    const ids = [t(0), ...say(' one'), ...say(' two'), ...say('.'), t(3)]
    const backend = new ScriptedBackend(english, () => ({ tokens: ids }))
    const [window] = await all(await Hearing.begin(backend, tools(), seconds(3.61), request({ timestamps: 'word' })))
    expect(backend.aligns).toEqual([{ prompt: [601], tokens: ids, positions: 180 }])
    const first = say(' one').length
    const second = first + say(' two.').length
    expect(window!.segments[0]!.words).toEqual([
      { word: 'one', start: 0.5, end: (first + 1) * 0.5 },
      { word: 'two.', start: (first + 1) * 0.5, end: Math.min((second + 1) * 0.5, 3.6) },
    ])
  })
})

describe('translation', () => {
  it('its words are those of English, whatever is spoken', async () => {
    const ids = [t(0), ...say(' good morning'), t(3)]
    const backend = new ScriptedBackend(vocabulary, () => ({ tokens: ids }))
    const more = { task: 'translate', language: 'ja', timestamps: 'word' } as const
    const [window] = await all(await Hearing.begin(backend, tools(), seconds(4), request(more)))
    expect(window!.segments[0]!.words!.map(({ word }) => word)).toEqual(['good', 'morning'])
  })
})

describe('longer recordings', () => {
  it('go by windows and time tokens, even when nobody wants times', async () => {
    const answers = [
      [t(0), ...say(' A.'), t(10), t(10), ...say(' B.'), t(25), t(25)],
      [t(0), ...say(' C.'), t(20.4)],
      [t(0), ...say(' D.'), t(1)],
    ]
    const backend = new ScriptedBackend(vocabulary, (index) => ({ tokens: answers[index] ?? [] }))
    const hearing = await Hearing.begin(backend, tools(), seconds(51.605), request({ timestamps: 'none', language: 'en' }))
    const windows = await all(hearing)
    expect(asked.logMel).toEqual([[825_680, 2, 5160]])
    expect(windows.flatMap(({ segments }) => segments.map(({ id, start, end, text }) => [id, start, end, text]))).toEqual([
      [0, 0, 10, ' A.'],
      [1, 10, 25, ' B.'],
      [2, 25, 45.4, ' C.'],
    ])
    expect(windows.map(({ position }) => position)).toEqual([25, 51.6])
    expect(backend.decodes.every(({ timestamps }) => timestamps)).toBe(true)
    // behind the recording's end a window is 0
    expect([backend.windows[1]![0], backend.windows[1]![2659], backend.windows[1]![2660]]).toEqual([2501, 5160, 0])
  })

  it('silent windows are passed over', async () => {
    const backend = new ScriptedBackend(english, (index) => ({ tokens: [t(0), ...say(' x'), t(29)], noSpeechProb: index === 1 ? 0.9 : 0 }))
    const hearing = await Hearing.begin(backend, tools(), seconds(90), request({ thresholds: { no_speech_threshold: 0.6 } }))
    const windows = await all(hearing)
    expect(windows.map(({ segments, position }) => [segments.length, position])).toEqual([
      [1, 30],
      [0, 60],
      [1, 90],
    ])
    expect(windows[2]!.segments[0]).toMatchObject({ id: 1, start: 60, end: 89 })
  })

  it('a pair at 0.00 does not stand still', async () => {
    const backend = new ScriptedBackend(english, () => ({ tokens: [t(0), t(0), 5] }))
    expect((await all(await Hearing.begin(backend, tools(), seconds(60), request()))).length).toBe(2)
  })

  it('seeds differ from window to window and are the same again', async () => {
    const seeds = async (): Promise<number[]> => {
      const backend = new ScriptedBackend(english, () => ({ tokens: [t(0), 5, t(1)], avgLogprob: -2 }))
      const more = { seed: 5, temperatures: [0.2, 0.4], thresholds: { logprob_threshold: -1 } }
      await all(await Hearing.begin(backend, tools(), seconds(60), request(more)))
      return backend.decodes.map(({ seed }) => seed)
    }
    const first = await seeds()
    expect(new Set(first).size).toBe(4)
    expect(await seeds()).toEqual(first)
  })
})

describe('with a detector of speech', () => {
  it('only the stretches are heard, and times are those of the recording', async () => {
    const backend = new ScriptedBackend(english, (index) => ({
      tokens: [t(0), ...say(' a'), t(1.5), t(1.5), ...say(' b'), t(index ? 12 : 2.5)],
    }))
    const vad = { threshold: 0.3, silenceDurationMs: 500 }
    const hearing = await Hearing.begin(backend, tools([10, 12, 13.5, 14.5, 40, 69]), seconds(100), request({ vad, timestamps: 'word' }))
    expect(asked.stretches).toEqual([{ threshold: 0.3, prefixPadding: 0.3, silenceDuration: 0.5, maxStretch: 30 }])
    const windows = await all(hearing)
    expect(asked.logMel.map(([samples]) => samples)).toEqual([48_000, 464_000])
    expect(windows.flatMap(({ segments }) => segments.map(({ id, start, end }) => [id, start, end]))).toEqual([
      [0, 10, 11.5],
      [1, 11.5, 14],
      [2, 40, 41.5],
      [3, 41.5, 52],
    ])
    expect(windows.map(({ position }) => position)).toEqual([14.5, 69])
    expect(windows[0]!.segments[1]!.seek).toBe(1000)
  })

  it('a word is in the stretch of its middle, whatever was left out behind it', async () => {
    const ids = [t(0), ...say(' one'), ...say(' two'), t(3)]
    const ends = (say(' one').length + say(' two').length + 1) * 0.5
    const backend = new ScriptedBackend(english, () => ({ tokens: ids }))
    const stretches = [10, 10 + ends - 0.25, 10 + ends + 1.5, 25]
    const [window] = await all(await Hearing.begin(backend, tools(stretches), seconds(30), request({ vad: {}, timestamps: 'word' })))
    expect(window!.segments[0]!.words!.at(-1)).toMatchObject({ word: 'two', end: 10 + ends - 0.25 })
  })

  it('a recording without speech has no text; its language is that of its beginning', async () => {
    const backend = new ScriptedBackend(vocabulary, () => ({ tokens: [] }))
    const hearing = await Hearing.begin(backend, tools([]), seconds(80), request({ vad: {} }))
    expect(hearing).toMatchObject({ language: 'en', duration: 80 })
    expect(asked.logMel).toEqual([[480_000, 2, 3000]])
    expect(await all(hearing)).toEqual([])
    expect(backend.decodes).toEqual([])
  })
})

/** Numbers that follow from a seed. */
function* numbers(seed: number): Generator<number, never, undefined> {
  for (let state = seed * 2654435761; ;) {
    state = (Math.imul(state ^ (state >>> 15), 2246822519) + 0x9e3779b9) | 0
    yield ((state ^ (state >>> 13)) >>> 0) / 2 ** 32
  }
}

describe('whatever the model answers', () => {
  const answerOf = (random: Iterator<number, never>): number[] => {
    const below = (most: number): number => Math.floor(random.next().value * most)
    const ids: number[] = []
    let time = below(50)
    for (let i = below(5); i > 0; i--) {
      ids.push(707 + time, ...Array.from({ length: 1 + below(4) }, () => below(600)))
      time = Math.min(1500, time + 1 + below(500))
      ids.push(707 + time)
    }
    if (below(3) === 0) ids.push(707 + time)
    return below(10) === 0 ? ids.slice(0, -1) : ids
  }

  it.each(Array.from({ length: 40 }, (_, seed) => seed))('times go on, ids count, texts are those of the tokens (%i)', async (seed) => {
    const random = numbers(seed + 1)
    const duration = 1 + random.next().value * 200
    const vad = seed % 4 === 3 ? {} : undefined
    const stretches = Array.from({ length: 20 }, (_, i) => i * 10 + (i % 2 ? 4 : 0))
    const backend = new ScriptedBackend(vocabulary, () => ({ tokens: answerOf(random), avgLogprob: -2 * random.next().value }))
    const options = request({
      language: 'en',
      timestamps: 'word',
      thresholds: { logprob_threshold: -1 },
      temperatures: [0, 0.5],
      ...(vad && { vad }),
    })
    const hearing = await Hearing.begin(backend, tools(stretches), seconds(duration), options)
    let position = 0
    let id = 0
    let start = 0
    for await (const window of hearing.windows()) {
      expect(window.position).toBeGreaterThanOrEqual(position)
      expect(window.position).toBeLessThanOrEqual(duration + 0.001)
      position = window.position
      let text = ''
      for (const segment of window.segments) {
        expect(segment.id).toBe(id++)
        expect(segment.start).toBeGreaterThanOrEqual(start)
        expect(segment.end).toBeGreaterThanOrEqual(segment.start)
        start = segment.start
        expect(segment.text).toBe(textOf(vocabulary.text, segment.tokens))
        expect(segment.text).not.toBe('')
        const words = segment.words!
        expect(
          words
            .map(({ word }) => word)
            .join('')
            .replace(/\s/g, ''),
        ).toBe(segment.text.replace(/\s/g, ''))
        for (const [index, word] of words.entries()) {
          expect(word.end).toBeGreaterThanOrEqual(word.start)
          if (index > 0) expect(word.start).toBeGreaterThanOrEqual(words[index - 1]!.start)
        }
        text += segment.text
      }
      const tokens = window.segments.flatMap((segment) => segment.tokens.filter((token) => vocabulary.text.bytes(token) !== undefined))
      expect(window.tokens.map((token) => token.id)).toEqual(tokens)
      expect(text === '').toBe(window.segments.length === 0)
    }
    expect(position).toBeGreaterThan(0)
  })

  it('ends where the backend does, at any of its answers', async () => {
    const run = async (until: number): Promise<number> => {
      let turns = 0
      const random = numbers(5)
      const backend = new ScriptedBackend(vocabulary, () => ({ tokens: answerOf(random) }))
      backend.check = () => {
        if (++turns > until) throw new Error('aborted')
      }
      await all(await Hearing.begin(backend, tools(), seconds(100), request({ timestamps: 'word' })))
      return turns
    }
    const turns = await run(Infinity)
    expect(turns).toBeGreaterThan(10)
    for (let until = 0; until < turns; until++) await expect(run(until)).rejects.toThrow('aborted')
  })
})
