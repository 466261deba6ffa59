import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { UsageError } from '../../src/cli/options.js'
import { parseTranscribeArguments } from '../../src/cli/transcribe-options.js'
import { transcribeFiles } from '../../src/cli/transcribe.js'
import { TranscriptionProgress } from '../../src/cli/transcription-progress.js'
import { RequestError } from '../../src/engine/types.js'
import { FakeSpeechModel, type FakeSpeechOptions } from '../support/fake-speech-model.js'
import { FakeTextModel } from '../support/fake-text-model.js'
import { until } from '../support/http-client.js'

const directory = mkdtempSync(join(tmpdir(), 'transcribe-test-'))
afterAll(() => rmSync(directory, { recursive: true }))
const file = (name: string): string => {
  writeFileSync(join(directory, name), 'sound')
  return join(directory, name)
}
const [a, b] = [file('a.wav'), file('b.mp3')]

class Kept {
  text = ''
  readonly write = (text: string): void => void (this.text += text)
}

async function run(args: string[], options: FakeSpeechOptions = {}, stop = new AbortController()) {
  const model = new FakeSpeechModel(options)
  const [stdout, stderr] = [new Kept(), new Kept()]
  const lent = { open: 0 }
  const borrow = () => {
    lent.open++
    return Promise.resolve({ model, release: () => void lent.open-- })
  }
  const code = await transcribeFiles(borrow, parseTranscribeArguments(args)!, { stdout, stderr }, stop.signal)
  expect(lent.open).toBe(0)
  return { code, out: stdout.text, err: stderr.text, model }
}

test('the text of each recording is a line, and stderr tells how fast it went', async () => {
  const { code, out, err } = await run([a, b], { segments: [' Hello', ' there.'] })
  expect([code, out]).toEqual([0, 'Hello there.\nHello there.\n'])
  expect(err).toMatch(/^tfserve: a\.wav: 4\.0 s in \d+\.\d s, \d+\.\d x real time\ntfserve: b\.mp3: .*\n$/)
})

test('each format goes to a file of its name', async () => {
  const out = join(directory, 'out')
  mkdirSync(out)
  for (const [format, name, start] of [
    ['srt', 'a.srt', '1\n00:00:00,000 --> '],
    ['vtt', 'a.vtt', 'WEBVTT\n\n'],
    ['text', 'a.txt', 'The weather'],
    ['json', 'a.json', '{"text":" The'],
    ['verbose_json', 'a.json', '{"task":"transcribe"'],
  ] as const) {
    expect((await run([a, '--format', format, '-o', out])).out).toBe('')
    expect(readFileSync(join(out, name), 'utf8').startsWith(start), format).toBe(true)
  }
})

test('what is asked for reaches the model', async () => {
  const { model } = await run([
    ...[a, '--language', 'German', '--translate', '--prompt', 'x', '--temperature', '0.5', '--words', '--format', 'verbose_json'],
    ...['--max-audio-seconds', '60', '--no-speech-threshold', '0.6', '--logprob-threshold', '-1'],
  ])
  expect(model.requests[0]).toMatchObject({
    ...{ task: 'translate', language: 'german', prompt: 'x', temperatures: [0.5], timestamps: 'word', maxSeconds: 60 },
    thresholds: { no_speech_threshold: 0.6, logprob_threshold: -1 },
  })
})

test('one that fails is named, and the others are written', async () => {
  let asked = 0
  const { code, out, err } = await run([a, b], {
    onStart: () => {
      if (asked++ === 0) throw new RequestError('audio_invalid', 'This is no recording.', 'file')
    },
    segments: [' fine'],
  })
  expect([code, out]).toEqual([1, 'fine\n'])
  expect(err).toContain(`tfserve: ${a}: This is no recording.\n`)
  const failing = await run([a], { failure: { code: 'model_crashed', message: 'It died.' } })
  expect([failing.code, failing.err]).toEqual([1, `tfserve: ${a}: It died.\n`])
})

test('a model for text is refused', async () => {
  const [stdout, stderr] = [new Kept(), new Kept()]
  const borrow = () => Promise.resolve({ model: new FakeTextModel(), release: () => undefined })
  const signal = new AbortController().signal
  expect(await transcribeFiles(borrow, parseTranscribeArguments([a])!, { stdout, stderr }, signal)).toBe(1)
  expect(stderr.text).toContain('hears nothing')
})

test('an interruption ends the work and writes nothing', async () => {
  const stop = new AbortController()
  const segments = Array<string>(1000).fill(' on')
  const running = run([a, b], { stepMs: 5, segments, onStart: () => void setTimeout(() => stop.abort(), 50) }, stop)
  const { code, out, model } = await running
  expect([code, out, model.requests.length]).toEqual([130, '', 1])
  await until(() => model.live === 0, 'the work to end')
})

test.each([
  [[], 'at least one recording'],
  [[a, '--format', 'docx'], 'json, text, srt'],
  [[a, b, '--format', 'srt'], '--output-dir'],
  [[a, join(directory, 'x', 'a.mp3'), '-o', directory], 'a.txt'],
  [[a, '--words'], 'verbose_json'],
  [[a, '--temperature', '2'], 'from 0 to 1'],
  [[a, '--temperature', 'x'], 'from 0 to 1'],
  [[a, '--port', '1'], 'Unknown option --port'],
  [[a, '--dtype', 'int1'], '--dtype'],
  [[a, '--model', ''], '--model'],
])('%j is a mistake', (args, said) => {
  expect(() => parseTranscribeArguments(args)).toThrow(UsageError)
  expect(() => parseTranscribeArguments(args)).toThrow(said)
})

test('the bar shows how far it is where somebody can see it', () => {
  let now = 0
  const terminal = Object.assign(new Kept(), { isTTY: true, columns: 120 })
  const progress = new TranscriptionProgress('talk.mp3', 3700, terminal, 0, () => now)
  progress.update(0)
  now = 10_000
  progress.update(1850)
  expect(terminal.text).toContain('talk.mp3 [############............] 30:50 of 1:01:40, 185.0 x real time, 10s left')
  progress.clear()
  expect(terminal.text.endsWith('\r\x1b[K')).toBe(true)
  now = 20_000
  expect(progress.summary).toBe('talk.mp3: 3700.0 s in 20.0 s, 185.0 x real time')
  const pipe = new Kept()
  new TranscriptionProgress('talk.mp3', 10, pipe, 0).update(5)
  expect(pipe.text).toBe('')
})
