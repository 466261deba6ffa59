// The real command with a small Whisper checkpoint: what transformers makes of its recordings, over HTTP and at the terminal.
import { createReadStream, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { childrenOf, eventually, runCommand, runCommandWith, ServerProcess, startCommand } from '../support/cli.js'
import { formBody, formType, recording, transcribe } from '../support/form.js'

const fixture = (path: string): string => fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url))
const audio = (name: string): string => fixture(`audio/${name}`)
const checkpoint = fixture('whisper-random')

interface Golden {
  file: string
  seconds: number
  language: { token: string }
  timestamps?: { text_with_timestamps: string }
  no_timestamps?: { text: string }
  /** With time tokens, with which the checkpoint was not taught to translate. */
  translate_timestamps?: { text: string }
}
const goldens = (JSON.parse(readFileSync(fixture('goldens/whisper-random.json'), 'utf8')) as { audio: Golden[] }).audio
const taught = goldens.filter(({ no_timestamps }) => no_timestamps)
const textOf = (file: string): string => taught.find((golden) => golden.file === file)!.no_timestamps!.text

const temporary = mkdtempSync(join(tmpdir(), 'transcription-e2e-'))
afterAll(() => rmSync(temporary, { recursive: true }))
const uploads = () => readdirSync(temporary).filter((name) => name.startsWith('tfserve-upload-'))

describe.each(['uws', 'node'])('transcriptions over %s', (transport) => {
  let server: ServerProcess
  let openai: OpenAI
  let port: number

  beforeAll(async () => {
    const flags = ['--transport', transport, '--max-audio-seconds', '60', '--max-audio-bytes', '4MiB']
    server = await ServerProcess.startWith({ HF_HUB_OFFLINE: '1', TMPDIR: temporary }, checkpoint, ...flags)
    openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: '-', maxRetries: 0 })
    port = Number(new URL(server.url).port)
  })
  afterAll(() => server.stop())
  const model = 'whisper-random'

  test.each(taught)(
    'what transformers hears in $file',
    async ({ file, no_timestamps, translate_timestamps, seconds, language, timestamps }) => {
      const { transcriptions, translations } = openai.audio
      const whole = await transcriptions.create({ model, file: createReadStream(audio(file)) })
      expect(whole.text).toBe(no_timestamps!.text)
      expect((whole.usage as { seconds: number }).seconds).toBeCloseTo(seconds, 2)
      const english = await translations.create({ model, file: createReadStream(audio(file)), response_format: 'verbose_json' })
      expect(english).toMatchObject({ task: 'translate', text: translate_timestamps!.text })
      const verbose = await transcriptions.create({ model, file: createReadStream(audio(file)), response_format: 'verbose_json' })
      const [, start, text, end] = /^<\|([\d.]+)\|>(.*)<\|([\d.]+)\|>$/.exec(timestamps!.text_with_timestamps)!
      expect(verbose.segments).toMatchObject([{ id: 0, start: Number(start), end: Number(end), text }])
      expect({ en: 'english', de: 'german', fr: 'french' }[language.token.slice(2, 4)]).toBe(verbose.language)
      const stream = await transcriptions.create({ model, file: createReadStream(audio(file)), stream: true })
      let streamed = ''
      for await (const event of stream) if (event.type === 'transcript.text.delta') streamed += event.delta
      expect(streamed).toBe(no_timestamps!.text)
    },
  )

  test.each(['mp3', 'flac', 'ogg', 'webm'])('the same in a container: %s', async (extension) => {
    const file = createReadStream(audio(`speech-short.${extension}`))
    expect((await openai.audio.transcriptions.create({ model, file })).text).toBe(textOf('speech-short.wav'))
  })

  test('words, in order and within the recording', async () => {
    const file = createReadStream(audio('speech-short.wav'))
    const { words = [] } = await openai.audio.transcriptions.create({
      ...{ model, file, response_format: 'verbose_json' },
      timestamp_granularities: ['word'],
    })
    expect(words.map(({ word }) => word)).toEqual(textOf('speech-short.wav').trim().split(' '))
    words.forEach(({ start, end }, i) => {
      expect(end).toBeGreaterThanOrEqual(start)
      expect(start).toBeGreaterThanOrEqual(i > 0 ? words[i - 1]!.start : 0)
      expect(end).toBeLessThanOrEqual(3.7)
    })
  })

  test('log probabilities belong to the text', async () => {
    const file = createReadStream(audio('speech-short.wav'))
    const { text, logprobs = [] } = await openai.audio.transcriptions.create({ model, file, include: ['logprobs'] })
    expect(Buffer.from(logprobs.flatMap(({ bytes = [] }) => bytes)).toString()).toBe(text)
    for (const { logprob } of logprobs) expect(logprob).toBeLessThanOrEqual(0)
  })

  test('raw bytes to the URL itself', async () => {
    const response = await fetch(server.url, {
      method: 'POST',
      body: readFileSync(audio('speech-short.flac')),
      headers: { 'content-type': 'audio/flac' },
    })
    expect(await response.json()).toEqual({ text: textOf('speech-short.wav') })
  })

  test('eight at once, two of them cut off', async () => {
    const cut = [0, 1].map(() => {
      const body = formBody([recording(readFileSync(audio('speech-other.wav')))])
      const socket = connect(port, '127.0.0.1')
      socket.on('error', () => undefined)
      socket.write(
        `POST /v1/audio/transcriptions HTTP/1.1\r\nhost: localhost\r\ncontent-type: ${formType}\r\ncontent-length: ${body.length}\r\n\r\n`,
      )
      socket.write(body.subarray(0, body.length / 2))
      return socket
    })
    const files = ['speech-short.wav', 'speech-other.wav', 'tone.wav', 'speech-short.wav', 'speech-other.wav', 'tone.wav']
    const whole = files.map((file) => openai.audio.transcriptions.create({ model, file: createReadStream(audio(file)) }))
    await eventually(() => uploads().length > 0)
    for (const socket of cut) socket.destroy()
    expect((await Promise.all(whole)).map(({ text }) => text)).toEqual(files.map(textOf))
    await eventually(() => uploads().length === 0)
  })

  test.each<[string, Uint8Array, number, string]>([
    ['nothing', Buffer.alloc(0), 400, 'audio_invalid'],
    ['a text', Buffer.from('This is a letter, whatever its name says.\n'.repeat(100)), 400, 'audio_invalid'],
    ['half a recording in mp3', readFileSync(audio('speech-short.mp3')).subarray(0, 40), 400, 'audio_invalid'],
    ['silence for longer than is allowed', wav(61 * 16_000), 400, 'audio_too_long'],
    ['too many bytes', wav(3 << 20), 413, 'body_too_large'],
  ])('%s is a clear error, and the next request works', async (_, bytes, status, code) => {
    const reply = await transcribe(port, { model }, { file: recording(bytes) })
    expect([reply.status, (JSON.parse(reply.text) as { error: { code: string } }).error.code]).toEqual([status, code])
    expect(reply.text).not.toContain(temporary)
    expect((await transcribe(port, { model }, { file: recording(readFileSync(audio('tone.wav'))) })).text).toContain(textOf('tone.wav'))
  })

  test('a header that claims four gigabytes is read for what is there, or refused', async () => {
    const claims = wav(32_000)
    claims.writeUInt32LE(0xfffffff0, 4)
    claims.writeUInt32LE(0xffffffcc, 40)
    expect([200, 400]).toContain((await transcribe(port, { model }, { file: recording(claims) })).status)
  })

  test('a speech model does not chat, and what it heard is counted', async () => {
    await transcribe(port, { model }, { file: recording(readFileSync(audio('tone.wav'))) })
    const chat = await server.post('/v1/chat/completions', { model, messages: [{ role: 'user', content: 'Hi' }] })
    expect([chat.status, ((await chat.json()) as { error: { code: string } }).error.code]).toEqual([400, 'model_task_mismatch'])
    const metrics = await (await server.get('/metrics')).text()
    expect(Number(/^tfserve_transcription_audio_seconds_total (\S+)/m.exec(metrics)?.[1])).toBeGreaterThanOrEqual(2)
  })
})

test('a server that is told twice to end leaves no upload behind', async () => {
  await using server = await ServerProcess.startWith({ HF_HUB_OFFLINE: '1', TMPDIR: temporary }, checkpoint)
  const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
  socket.on('error', () => undefined)
  const body = formBody([recording(Buffer.alloc(100_000))])
  const head = `POST /v1/audio/transcriptions HTTP/1.1\r\nhost: localhost\r\ncontent-type: ${formType}\r\ncontent-length: ${body.length}\r\n\r\n`
  socket.write(head)
  socket.write(body.subarray(0, 50_000))
  await eventually(() => uploads().length === 1)
  server.kill('SIGTERM')
  await eventually(() => server.stderr.includes('SIGTERM'))
  server.kill('SIGTERM')
  expect((await server.ended).code).toBe(143)
  expect(uploads()).toEqual([])
})

/** Silence: a wav header and samples of 16 bits at 16 kHz. */
function wav(samples: number): Buffer {
  const bytes = Buffer.alloc(44 + 2 * samples)
  bytes.write('RIFF', 0)
  bytes.writeUInt32LE(36 + 2 * samples, 4)
  bytes.write('WAVEfmt ', 8)
  bytes.writeUInt32LE(16, 16)
  bytes.writeUInt16LE(1, 20)
  bytes.writeUInt16LE(1, 22)
  bytes.writeUInt32LE(16_000, 24)
  bytes.writeUInt32LE(32_000, 28)
  bytes.writeUInt16LE(2, 32)
  bytes.writeUInt16LE(16, 34)
  bytes.write('data', 36)
  bytes.writeUInt32LE(2 * samples, 40)
  return bytes
}

describe('tfserve transcribe', () => {
  const common = ['--model', checkpoint, '--threads', '1', '--language']

  test('writes text to stdout, and subtitles to files', async () => {
    const { code, stdout, stderr } = await runCommand('transcribe', audio('speech-short.wav'), ...common, 'en')
    expect([code, stdout], stderr).toEqual([0, `${textOf('speech-short.wav').trim()}\n`])
    expect(stderr).toMatch(/^tfserve: speech-short\.wav: 3\.6 s in .* x real time\n$/)
    const out = join(temporary, 'subtitles')
    const two = ['transcribe', audio('speech-short.mp3'), audio('tone.wav'), '--format', 'srt', '-o', out]
    expect((await runCommand(...two, ...common.slice(0, -1))).code).toBe(0)
    expect(readFileSync(join(out, 'speech-short.srt'), 'utf8')).toMatch(
      /^1\n00:00:00,000 --> 00:00:03,\d{3}\nGood morning, everyone\.\n\n$/,
    )
    expect(readFileSync(join(out, 'tone.srt'), 'utf8')).toContain('Un son.')
  })

  test('names what cannot be read, and writes the rest', async () => {
    const broken = join(temporary, 'broken.wav')
    writeFileSync(broken, 'no sound')
    const { code, stdout, stderr } = await runCommand('transcribe', broken, audio('tone.wav'), ...common.slice(0, -1))
    expect([code, stdout]).toEqual([1, 'Un son.\n'])
    expect(stderr).toContain(broken)
    expect((await runCommand('transcribe', join(temporary, 'none.wav'))).code).toBe(2)
    expect((await runCommand('transcribe', audio('tone.wav'), '--model', fixture('models/llama'))).code).toBe(1)
    expect((await runCommandWith({ HF_HUB_OFFLINE: '1', HF_HUB_CACHE: temporary }, 'transcribe', audio('tone.wav'))).code).toBe(1)
  })

  test('an interruption ends it with 130', async () => {
    const long = join(temporary, 'long.wav')
    writeFileSync(long, wav(16_000 * 3000))
    const { child, ended } = startCommand({ HF_HUB_OFFLINE: '1' }, 'transcribe', long, ...common, 'en')
    await eventually(() => childrenOf(child.pid!).length > 0)
    await new Promise((resolve) => setTimeout(resolve, 300))
    child.kill('SIGINT')
    const { code, stdout } = await ended
    expect([code, stdout]).toEqual([130, ''])
  })
})
