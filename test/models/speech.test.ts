import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { requireSpeechModel } from '../../src/engine/model-kinds.js'
import type { StartedTranscription, TranscribeRequest, TranscriptionDelta } from '../../src/engine/speech-types.js'
import { SupervisedModel } from '../../src/models/supervisor.js'
import type { WorkerModel } from '../../src/models/worker-model.js'
import { composed, recording, wavOf } from '../support/recordings.js'

const path = fileURLToPath(new URL('../fixtures/whisper-random', import.meta.url))
const golden = <T>(name: string): T => JSON.parse(readFileSync(new URL(`../fixtures/goldens/${name}.json`, import.meta.url), 'utf8')) as T

interface Answer {
  ids: number[]
  text: string
}
interface Golden {
  file: string
  seconds: number
  language: { token: string; margin: number }
  no_timestamps?: Answer
  timestamps?: Answer & { text_with_timestamps: string }
  translate?: Answer
}
interface LongGolden {
  made_of: { file: string; at: number }[]
  samples: number
  runs: { name: string; segments: { start: number; end: number; ids: number[]; text: string; token_times?: number[] }[] }[]
}

const { audio } = golden<{ audio: Golden[] }>('whisper-random')
const long = golden<LongGolden>('whisper-long')
const taught = audio.filter(({ no_timestamps }) => no_timestamps)

let folder: string
let longFile: string
let model: SupervisedModel

const load = (more: object = {}): SupervisedModel =>
  new SupervisedModel(
    { id: 'whisper-random', revision: 'main', created: 1 },
    { path, id: 'whisper-random', threads: 1, ...more },
    { restart: { firstDelayMs: 50 } },
  )

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tfserve-speech-'))
  longFile = join(folder, 'long.wav')
  writeFileSync(longFile, composed(long.made_of, long.samples))
  model = load()
  await model.start()
})
afterAll(async () => {
  await model.close()
  rmSync(folder, { recursive: true })
})

interface Heard {
  started: StartedTranscription
  deltas: TranscriptionDelta[]
  text: string
  last: TranscriptionDelta
}

async function hear(file: string, request: Partial<TranscribeRequest> = {}, of = model, signal?: AbortSignal): Promise<Heard> {
  const deltas: TranscriptionDelta[] = []
  const over = Promise.withResolvers<TranscriptionDelta>()
  const worker = requireSpeechModel(await of.get())
  const audioPath = file.startsWith('/') ? file : recording(file)
  const onDelta = (delta: TranscriptionDelta): void => {
    deltas.push(delta)
    if (delta.finishReason) over.resolve(delta)
  }
  const started = await worker.transcribe({ audio: { path: audioPath }, ...request }, onDelta, signal)
  const last = await over.promise
  return { started, deltas, text: deltas.map(({ text }) => text).join(''), last }
}

const segmentsOf = ({ deltas }: Heard) => deltas.flatMap(({ segments }) => segments)

describe('a Whisper checkpoint in its worker process', () => {
  it('says what it is', () => {
    expect(model.modelInfo).toMatchObject({
      kind: 'speech',
      architecture: 'WhisperForConditionalGeneration',
      vocabSize: 2208,
      multilingual: true,
      maxNumSeqs: 8,
    })
  })

  it.each(taught.map((each) => [each.file, each] as const))(
    'hears %s as transformers does',
    async (file, { seconds, language, ...said }) => {
      const code = language.token.slice(2, -2)
      const plain = await hear(file, { timestamps: 'none' })
      expect(plain.started).toMatchObject({ language: code, duration: expect.closeTo(seconds, 3) })
      expect(plain.text).toBe(said.no_timestamps!.text)
      expect(segmentsOf(plain).flatMap(({ tokens }) => tokens)).toEqual(said.no_timestamps!.ids)
      expect(plain.last).toEqual({ text: '', segments: [], position: expect.closeTo(seconds, 3), finishReason: 'stop' })

      const timed = await hear(file)
      expect(timed.text).toBe(said.timestamps!.text)
      expect(segmentsOf(timed).flatMap(({ tokens }) => tokens)).toEqual(said.timestamps!.ids)
      const end = Number(/<\|([\d.]+)\|>$/.exec(said.timestamps!.text_with_timestamps)![1])
      expect(segmentsOf(timed)).toMatchObject([{ id: 0, seek: 0, start: 0, end }])

      const translated = await hear(file, { task: 'translate', timestamps: 'none' })
      expect(translated.text).toBe(said.translate!.text)
    },
  )

  it('detects languages of recordings that it was not taught', async () => {
    for (const { file, language } of audio.filter(({ no_timestamps, file }) => !no_timestamps && file.endsWith('.wav'))) {
      expect((await hear(file)).started.language, file).toBe(language.token.slice(2, -2))
    }
  })

  it('goes by the language that it is told', async () => {
    const english = await hear('speech-short.wav', { language: 'English' })
    expect(english.started).toMatchObject({ language: 'en', languageName: 'english' })
    const [short] = taught
    expect(english.text).toBe(short!.timestamps!.text)
    expect((await hear('speech-short.wav', { language: 'fr' })).started.language).toBe('fr')
  })

  it.each(['flac', 'mp3', 'ogg', 'webm'])('hears the same in %s', async (ending) => {
    expect((await hear(`speech-short.${ending}`, { timestamps: 'none' })).text).toBe(taught[0]!.no_timestamps!.text)
  })

  it.each<[string, Partial<TranscribeRequest>]>([
    ['english', { language: 'en', timestamps: 'word' }],
    ['detected', { timestamps: 'none' }],
    ['prompted', { language: 'en', prompt: 'Ada and Zug' }],
    ['thresholds', { language: 'en', thresholds: { compression_ratio_threshold: 1.35, logprob_threshold: -1, no_speech_threshold: 0.6 } }],
  ])('a long recording is that of transformers: %s', async (name, request) => {
    const heard = await hear(longFile, request)
    const { segments } = long.runs.find((run) => run.name === name)!
    expect(segmentsOf(heard).map(({ start, end, tokens, text }) => ({ start, end, ids: tokens, text }))).toEqual(
      segments.map(({ start, end, ids, text }) => ({ start, end, ids, text })),
    )
    const times = segments[0]!.token_times
    if (!times) return
    // ' Good' is tokens 1 to 3, ' morning,' up to 7, ' everyone.' up to 13
    const [good, morning, everyone] = segmentsOf(heard)[0]!.words!
    const ends = [good, morning, everyone].map((word) => word!.end)
    expect([good!.word, morning!.word, everyone!.word]).toEqual(['Good', 'morning,', 'everyone.'])
    for (const end of ends) expect(Math.min(...times.map((time) => Math.abs(time - end)))).toBeLessThanOrEqual(0.2)
    expect(good!.start).toBeLessThanOrEqual(0.2)
    expect(everyone!.end).toBeCloseTo(times[13]!, 0)
  })

  it('log probabilities are those of the text, token by token', async () => {
    const heard = await hear('speech-short.wav', { logprobs: true, timestamps: 'none' })
    const logprobs = heard.deltas.flatMap((delta) => delta.logprobs ?? [])
    expect(logprobs.length).toBe(taught[0]!.no_timestamps!.ids.length)
    expect(Buffer.concat(logprobs.map(({ bytes }) => Buffer.from(bytes))).toString()).toBe(heard.text)
    for (const { logprob } of logprobs) {
      expect(logprob).toBeLessThanOrEqual(0)
      expect(logprob).toBeGreaterThan(-2)
    }
    expect(segmentsOf(heard)[0]!.avg_logprob).toBeGreaterThan(-1)
    expect((await hear('speech-short.wav')).deltas[0]).not.toHaveProperty('logprobs')
  })

  it('the same seed samples the same, another one another', async () => {
    const sampled = async (seed: number): Promise<number[]> => {
      const heard = await hear('speech-short.wav', { temperatures: [1.5], seed, timestamps: 'none' })
      return segmentsOf(heard).flatMap(({ tokens }) => tokens)
    }
    const [first, again, other] = [await sampled(1), await sampled(1), await sampled(2)]
    expect(again).toEqual(first)
    expect(other).not.toEqual(first)
  })

  it('a detector of speech leaves out what is silent', async () => {
    const apart = join(folder, 'apart.wav')
    writeFileSync(apart, composed([{ file: 'speech-short.wav', at: 20 }], 45 * 16_000))
    const heard = await hear(apart, { language: 'en', vad: {} })
    for (const { start, end } of segmentsOf(heard)) {
      expect(start).toBeGreaterThan(19)
      expect(end).toBeLessThan(26)
    }
    expect(segmentsOf(heard).length).toBeGreaterThan(0)
    const silent = await hear('silence.wav', { language: 'en', vad: {} })
    expect(silent.deltas).toEqual([{ text: '', segments: [], position: 2, finishReason: 'stop' }])
  })

  it.each([
    ['audio_invalid', Buffer.alloc(0)],
    ['audio_invalid', Buffer.from('This is a text and no sound.')],
    ['audio_too_long', wavOf(Buffer.alloc(16_000 * 2 * 12))],
  ])('refuses what it cannot hear with %s, and hears the next', async (code, content) => {
    const file = join(folder, 'refused.wav')
    writeFileSync(file, content)
    await expect(hear(file, { maxSeconds: 10 })).rejects.toMatchObject({ code, param: 'file' })
    await expect(hear(file, { maxSeconds: 10 })).rejects.not.toThrow(folder)
    expect((await hear('speech-short.wav', { timestamps: 'none' })).text).toBe(taught[0]!.no_timestamps!.text)
  })

  it('refuses what it cannot do', async () => {
    await expect(hear('tone.wav', { language: 'klingon' })).rejects.toMatchObject({ code: 'invalid_request', param: 'language' })
    await expect(hear(join(folder, 'nothing.wav'))).rejects.toMatchObject({ code: 'audio_invalid' })
    for (const vad of [{ threshold: 2 }, { prefixPaddingMs: 30_001 }, { silenceDurationMs: 30_001 }]) {
      await expect(hear('tone.wav', { vad })).rejects.toMatchObject({ code: 'invalid_request', param: 'chunking_strategy' })
    }
  })

  it('begins with more than an hour where nobody says how long a recording may be', async () => {
    const file = join(folder, 'hours.wav')
    writeFileSync(file, wavOf(Buffer.alloc(0)))
    truncateSync(file, 44 + 3700 * 16_000 * 2)
    // sizes in headers are a hint: 0 is to the end
    const worker = requireSpeechModel(await model.get())
    const leaving = new AbortController()
    const { duration } = await worker.transcribe({ audio: { path: file }, language: 'en' }, () => undefined, leaving.signal)
    leaving.abort()
    expect(duration).toBeGreaterThan(3600)
  })

  it('more recordings than places wait, and all are heard', async () => {
    const texts = await Promise.all(
      Array.from({ length: 24 }, (_, i) => hear(taught[i % 3]!.file, { timestamps: 'none' }).then(({ text }) => text)),
    )
    expect(texts).toEqual(Array.from({ length: 24 }, (_, i) => taught[i % 3]!.no_timestamps!.text))
  })

  it('200 that leave at any time leave nothing behind', async () => {
    const worker = (await model.get()) as WorkerModel
    let ended = 0
    await Promise.all(
      Array.from({ length: 200 }, async (_, i) => {
        await sleep(i * 4)
        const ending = new AbortController()
        setTimeout(() => ending.abort('left'), (i * 7) % 90)
        const file = i % 2 ? 'speech-other.wav' : longFile
        await hear(file, { timestamps: i % 3 ? 'word' : 'none' }, model, ending.signal).then(
          ({ last }) => expect(last.finishReason).toMatch(/^(?:abort|stop)$/),
          (error: unknown) => expect(error).toBe('left'),
        )
        ended++
      }),
    )
    expect(ended).toBe(200)
    await vi.waitFor(() => expect(worker.open).toBe(0), 10_000)
    await vi.waitFor(async () => expect(await worker.stats()).toMatchObject({ running: 0, waiting: 0 }), 10_000)
    expect((await hear('speech-short.wav', { timestamps: 'none' })).text).toBe(taught[0]!.no_timestamps!.text)
  })

  it('killed in the middle it is back with the same answers', async () => {
    const running = hear(longFile)
    await sleep(30)
    process.kill(model.pid!, 'SIGKILL')
    const { deltas } = await running.catch((error: unknown) => {
      expect(error).toMatchObject({ code: 'model_crashed' })
      return { deltas: [] as TranscriptionDelta[] }
    })
    if (deltas.length > 0) expect(deltas.at(-1)).toMatchObject({ finishReason: 'error', error: { code: 'model_crashed' } })
    expect((await hear('speech-short.wav', { timestamps: 'none' })).text).toBe(taught[0]!.no_timestamps!.text)
  })
})

describe('with one place and one who may wait', () => {
  it('a line is served, and refuses who comes too late', async () => {
    const small = load({ maxNumSeqs: 1, maxWaiting: 1 })
    try {
      await small.start()
      expect(small.modelInfo).toMatchObject({ maxNumSeqs: 1 })
      // one is heard, one made ready, one waits
      const asked = [0, 1, 2, 3].map((index) =>
        hear(longFile, { language: 'en' }, small).then(
          () => index,
          (error: unknown) => {
            expect(error).toMatchObject({ code: 'queue_full' })
            return -1
          },
        ),
      )
      expect(await Promise.all(asked)).toEqual([0, 1, 2, -1])
      await expect(small.get().then((worker) => worker.stats())).resolves.toMatchObject({ running: 0, waiting: 0 })
    } finally {
      await small.close()
    }
  })
})

describe('what cannot be loaded', () => {
  it.each([
    ['quantisation', { quantization: 'q8_0' }, 'cannot be quantised while they are loaded'],
    ['no tokenizer', { path: '' }, 'neither a tokenizer.json nor a vocab.json'],
  ])('is refused: %s', async (_, options, message) => {
    const bare = join(folder, 'bare')
    if ('path' in options) {
      const { cpSync } = await import('node:fs')
      cpSync(path, bare, { recursive: true })
      rmSync(join(bare, 'tokenizer.json'))
      options = { path: bare }
    }
    const broken = load(options)
    await expect(broken.start()).rejects.toThrow(message)
    await broken.close()
  })
})
