import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { LoadedSpeechModel } from '../../../src/engine/speech/loaded-speech-model.js'
import { Transcriber } from '../../../src/engine/transcriber.js'
import type { TranscriptionDelta } from '../../../src/engine/speech-types.js'
import { recording } from '../../support/recordings.js'

const path = fileURLToPath(new URL('../../fixtures/whisper-random', import.meta.url))
const [short] = (
  JSON.parse(readFileSync(new URL('../../fixtures/goldens/whisper-random.json', import.meta.url), 'utf8')) as {
    audio: { timestamps: { text: string } }[]
  }
).audio

async function all(deltas: AsyncIterable<TranscriptionDelta>): Promise<TranscriptionDelta[]> {
  const list: TranscriptionDelta[] = []
  for await (const delta of deltas) list.push(delta)
  return list
}

describe('the library', () => {
  let transcriber: Transcriber
  beforeAll(async () => {
    transcriber = await Transcriber.load({ path, threads: 1 })
  })
  afterAll(() => transcriber.close())

  it('transcribes a file', async () => {
    expect(transcriber.info).toMatchObject({ kind: 'speech', id: 'whisper-random', multilingual: true })
    expect(transcriber.warnings).toEqual([])
    const { duration, language, languageName, deltas } = await transcriber.transcribe(recording('speech-short.wav'))
    expect({ duration, language, languageName }).toEqual({ duration: expect.closeTo(3.6124, 3), language: 'en', languageName: 'english' })
    const heard = await all(deltas)
    expect(heard.map(({ text }) => text).join('')).toBe(short!.timestamps.text)
    expect(heard.at(-1)).toMatchObject({ finishReason: 'stop' })
  })

  it('a signal ends it, before it begins and while it is read', async () => {
    const file = recording('speech-other.wav')
    await expect(transcriber.transcribe(file, { signal: AbortSignal.abort('before') })).rejects.toBe('before')
    const soon = new AbortController()
    const asked = transcriber.transcribe(file, { signal: soon.signal })
    soon.abort('soon')
    await expect(asked).rejects.toBe('soon')
    const late = new AbortController()
    const { deltas } = await transcriber.transcribe(file, { signal: late.signal })
    late.abort('late')
    await expect(all(deltas)).rejects.toBe('late')
    expect(await transcriber.stats()).toMatchObject({ running: 0, waiting: 0 })
  })

  it('leaving the loop ends it', async () => {
    const { deltas } = await transcriber.transcribe(recording('speech-short.wav'))
    for await (const delta of deltas) {
      expect(delta.text).toBe(short!.timestamps.text)
      break
    }
    await expect.poll(async () => (await transcriber.stats()).running).toBe(0)
  })

  it('refuses what cannot be heard or done', async () => {
    await expect(transcriber.transcribe('/nonexistent/a.wav')).rejects.toMatchObject({ name: 'RequestError', code: 'audio_invalid' })
    await expect(transcriber.transcribe(recording('tone.wav'), { temperatures: [-1] })).rejects.toMatchObject({ code: 'invalid_request' })
    await expect(transcriber.transcribe(recording('tone.wav'), { seed: 0.5 })).rejects.toMatchObject({ param: 'seed' })
    await expect(Transcriber.load({ path: '/nonexistent' })).rejects.toThrow("There is no file or directory 'nonexistent'")
  })
})

describe('a model that is closed', () => {
  it('ends what it hears, and takes nothing more', async () => {
    const model = await LoadedSpeechModel.load({ path, threads: 1, maxNumSeqs: 1 })
    const audio = { path: recording('speech-short.wav') }
    const last = Promise.withResolvers<TranscriptionDelta>()
    await model.transcribe({ audio }, (delta) => delta.finishReason && last.resolve(delta))
    const others = [model.transcribe({ audio }, () => undefined), model.transcribe({ audio }, () => undefined)]
    const closed = model.close()
    for (const other of others) await expect(other).rejects.toMatchObject({ code: 'shutting_down' })
    expect((await last.promise).finishReason).toMatch(/^(?:error|stop)$/)
    await closed
    await expect(model.transcribe({ audio }, () => undefined)).rejects.toMatchObject({ code: 'shutting_down' })
  })

  it('tells of its work inside of an encode', async () => {
    const model = await LoadedSpeechModel.load({ path, threads: 1 })
    const { steps } = await model.stats()
    const before = model.progress
    const last = Promise.withResolvers<unknown>()
    await model.transcribe({ audio: { path: recording('tone.wav') }, language: 'fr' }, (delta) => delta.finishReason && last.resolve(delta))
    await last.promise
    // an encode is one step, and many parts
    expect(model.progress - before).toBeGreaterThan(20)
    expect((await model.stats()).steps - steps).toBeLessThan(20)
    await model.close()
  })
})
