import { createReadStream, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI, { toFile } from 'openai'
import { afterAll, describe, expect, test } from 'vitest'
import { until } from '../support/http-client.js'
import { speechServer, transports } from '../support/test-server.js'

const model = 'test-org/whisper'
const client = (port: number) => new OpenAI({ baseURL: `http://127.0.0.1:${port}/v1`, apiKey: '-', maxRetries: 0 })
const directory = mkdtempSync(join(tmpdir(), 'openai-test-'))
const path = join(directory, 'speech.mp3')
writeFileSync(path, Buffer.alloc(200_000, 'sound'))
afterAll(() => rmSync(directory, { recursive: true }))
const file = () => createReadStream(path)

describe.each(transports)('the openai client transcribes over %s', (transport) => {
  test('a file, a stream of one and bytes', async () => {
    await using t = await speechServer(transport)
    const { audio } = client(t.port)
    const whole = await audio.transcriptions.create({ model, file: file() })
    expect(whole.text).toBe(t.model.text)
    expect(whole.usage).toEqual({ type: 'duration', seconds: 6 })
    expect(t.model.recordings[0]).toHaveLength(200_000)
    const named = await toFile(Buffer.from('RIFF'), 'ünï "x".wav')
    expect((await audio.transcriptions.create({ model, file: named })).text).toBe(t.model.text)
    expect(t.model.recordings[1]!.toString()).toBe('RIFF')
    expect((await audio.translations.create({ model, file: file() })).text).toBe(t.model.text)
    expect(t.model.requests.at(-1)!.task).toBe('translate')
  })

  test('every field that it has', async () => {
    await using t = await speechServer(transport)
    await client(t.port).audio.transcriptions.create({
      ...{ model, file: file(), language: 'en', prompt: 'Annembrillah', temperature: 0.2, response_format: 'json', stream: false },
      ...{
        keywords: ['a', 'b'],
        languages: ['en', 'de'],
        known_speaker_names: ['agent'],
        known_speaker_references: ['data:audio/wav;base64,UklGRg=='],
      },
      include: ['logprobs'],
      chunking_strategy: { type: 'server_vad', threshold: 0.4, silence_duration_ms: 300 },
    })
    expect(t.model.requests[0]).toMatchObject({
      ...{ language: 'en', prompt: 'Annembrillah', temperatures: [0.2], logprobs: true },
      vad: { threshold: 0.4, silenceDurationMs: 300 },
    })
  })

  test('words and segments', async () => {
    await using t = await speechServer(transport)
    const verbose = await client(t.port).audio.transcriptions.create({
      ...{ model, file: file(), response_format: 'verbose_json' },
      timestamp_granularities: ['word', 'segment'],
    })
    expect(verbose.segments).toHaveLength(3)
    expect(verbose.words?.[0]).toEqual({ word: 'The', start: 0, end: 0.5 })
    expect([verbose.language, verbose.duration]).toEqual(['english', 6])
  })

  test('text and subtitles are strings', async () => {
    await using t = await speechServer(transport)
    const { transcriptions } = client(t.port).audio
    expect(await transcriptions.create({ model, file: file(), response_format: 'text' })).toBe(t.model.text)
    expect(await transcriptions.create({ model, file: file(), response_format: 'srt' })).toMatch(/^1\n00:00:00,000 --> /)
    expect(await transcriptions.create({ model, file: file(), response_format: 'vtt' })).toMatch(/^WEBVTT\n\n/)
  })

  test('a stream of events', async () => {
    await using t = await speechServer(transport, { stepMs: 5 })
    const stream = await client(t.port).audio.transcriptions.create({ model, file: file(), stream: true, include: ['logprobs'] })
    let text = ''
    let done = ''
    for await (const event of stream) {
      if (event.type === 'transcript.text.delta') text += event.delta
      if (event.type !== 'transcript.text.done') continue
      done = event.text
      expect(event.usage?.total_tokens).toBeGreaterThan(0)
      expect(event.logprobs).toHaveLength(3)
    }
    expect([text, done]).toEqual([t.model.text, t.model.text])
  })

  test('a failure, and a stream that is left', async () => {
    await using t = await speechServer(transport, { failure: { code: 'model_crashed', message: 'The model process ended.' } })
    const { transcriptions } = client(t.port).audio
    const doomed = await transcriptions.create({ model, file: file(), stream: true })
    await expect(
      (async () => {
        for await (const event of doomed) void event
      })(),
    ).rejects.toThrow('The model process ended')
    await expect(transcriptions.create({ model: 'other/one', file: file() })).rejects.toBeInstanceOf(OpenAI.BadRequestError)
    await using endless = await speechServer(transport, { stepMs: 10, segments: Array<string>(500).fill(' on') })
    const left = await client(endless.port).audio.transcriptions.create({ model, file: file(), stream: true })
    for await (const event of left) if (event.type === 'transcript.text.delta') break
    await until(() => endless.model.live === 0, 'the work to end')
  })
})
