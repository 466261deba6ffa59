import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { requireSpeechModel, requireTextModel } from '../../src/engine/model-kinds.js'
import type { TranscribeRequest, TranscriptionDelta } from '../../src/engine/speech-types.js'
import { RequestError } from '../../src/engine/types.js'
import { WorkerModel, type WorkerModelEvents } from '../../src/models/worker-model.js'
import { FrameChannel } from '../../src/worker/frame-channel.js'
import { protocolVersion } from '../../src/worker/frames.js'
import { type LocalModel, MessageLoop } from '../../src/worker/message-loop.js'
import { type FrontMessage, parseWorkerMessage, type ReceivedWorkerMessage, toJson } from '../../src/worker/messages.js'
import { scriptedModel } from '../support/scripted-model.mjs'
import { scriptedSpeech } from '../support/scripted-speech.mjs'
import { socketPair } from '../support/socket-pair.js'

const ends: (() => void)[] = []
afterEach(() => {
  for (const end of ends.splice(0)) end()
})

const ask = (prompt: string, more: Partial<TranscribeRequest> = {}): TranscribeRequest => ({
  audio: { path: '/tmp/x.wav' },
  prompt,
  ...more,
})

async function pair<M extends LocalModel>(model: M, events: WorkerModelEvents = {}) {
  const [frontSide, workerSide] = await socketPair()
  const loop = new MessageLoop(workerSide, async () => model, { heartbeatMs: 10 })
  const front = new WorkerModel(frontSide, { path: 'x' }, events)
  ends.push(() => front.abandon('test over'))
  await front.ready
  return { front, loop, model, workerSide }
}

/** Runs one transcription to its end. */
async function transcribe(front: WorkerModel, request: TranscribeRequest, signal?: AbortSignal): Promise<TranscriptionDelta[]> {
  const deltas: TranscriptionDelta[] = []
  const over = Promise.withResolvers<TranscriptionDelta[]>()
  await requireSpeechModel(front.model).transcribe(
    request,
    (delta) => {
      deltas.push(delta)
      if (delta.finishReason) over.resolve(deltas)
    },
    signal,
  )
  return over.promise
}

const textOf = (deltas: readonly TranscriptionDelta[]): string => deltas.map(({ text }) => text).join('')

describe('a speech model behind the channel', () => {
  it('transcribes, counts and shuts down', async () => {
    const { front, loop, model } = await pair(scriptedSpeech(RequestError))
    expect(front.info).toMatchObject({ kind: 'speech', id: 'scripted-speech', multilingual: true })
    const started = await front.transcribe(ask('say 2'), () => undefined)
    expect(started).toMatchObject({ duration: 2, language: 'en', languageName: 'english' })
    const deltas = await transcribe(front, ask('say 20', { timestamps: 'word', logprobs: true }))
    expect(textOf(deltas)).toBe(Array.from({ length: 20 }, (_, i) => ` w${i}`).join(''))
    expect(deltas.flatMap(({ segments }) => segments.map(({ id }) => id))).toEqual(Array.from({ length: 20 }, (_, i) => i))
    expect(deltas[3]).toMatchObject({
      position: 4,
      segments: [{ words: [{ word: 'w3', start: 3, end: 4 }] }],
      logprobs: [{ token: ' w3' }],
    })
    expect(deltas.at(-1)).toEqual({ text: '', segments: [], position: 20, finishReason: 'stop' })
    expect((await front.stats()).steps).toBe(22)
    await vi.waitFor(() => expect([front.open, loop.open]).toEqual([0, 0]))
    front.shutdown()
    expect(await loop.ended).toEqual({ reason: 'shutdown' })
    expect(model.closed).toBe(true)
    await expect(front.transcribe(ask('say 1'), () => undefined)).rejects.toMatchObject({ code: 'shutting_down' })
  })

  it('passes every field of a request on, and no other', async () => {
    const { front, model } = await pair(scriptedSpeech(RequestError))
    const request: TranscribeRequest = {
      audio: { path: '/tmp/a', name: 'a.wav' },
      task: 'translate',
      language: 'de',
      prompt: 'say 1',
      temperatures: [0, 0.2],
      thresholds: { compression_ratio_threshold: 1.35, logprob_threshold: -1, no_speech_threshold: 0.6 },
      seed: 3,
      timestamps: 'none',
      logprobs: true,
      vad: { threshold: 0.4, prefixPaddingMs: 100, silenceDurationMs: 300 },
      maxSeconds: 600,
    }
    await transcribe(front, request)
    await transcribe(front, { ...request, extra: 1 } as TranscribeRequest)
    expect(model.requests).toEqual([request, request])
    const wrong = { ...request, temperatures: 'hot' } as unknown as TranscribeRequest
    await expect(front.transcribe(wrong, () => undefined)).rejects.toMatchObject({ code: 'invalid_request' })
  })

  it('deltas come after transcribe has resolved, however early the model is', async () => {
    const { front } = await pair(scriptedSpeech(RequestError))
    const seen: string[] = []
    await front.transcribe(ask('early 3'), (delta) => seen.push(delta.text))
    expect(seen).toEqual([])
    await vi.waitFor(() => expect(front.open).toBe(0))
    expect(seen).toEqual([' w0', ' w1', ' w2', ''])
  })

  it('refusals carry code, message and param; a bug is an engine_error', async () => {
    const onLog = vi.fn()
    const { front } = await pair(scriptedSpeech(RequestError), { onLog })
    const refused = { name: 'RequestError', code: 'audio_unsupported', message: 'refused on purpose', param: 'file' }
    await expect(front.transcribe(ask('refuse audio_unsupported'), () => undefined)).rejects.toMatchObject(refused)
    await expect(front.transcribe(ask('broken'), () => undefined)).rejects.toMatchObject({ code: 'engine_error' })
    expect(onLog).toHaveBeenCalledWith('error', expect.stringContaining('a bug'))
    const failed = await transcribe(front, ask('fail'))
    expect(failed.at(-1)).toMatchObject({ finishReason: 'error', error: { code: 'engine_error', message: 'failed on purpose' } })
    expect(front.open).toBe(0)
  })

  it('each kind of model refuses what is for the other', async () => {
    const speech = await pair(scriptedSpeech(RequestError))
    const text = await pair(scriptedModel(RequestError))
    expect(() => requireTextModel(speech.front.model)).toThrow(expect.objectContaining({ code: 'model_task_mismatch', param: 'model' }))
    expect(() => requireSpeechModel(text.front.model)).toThrow(expect.objectContaining({ code: 'model_task_mismatch', param: 'model' }))
    const chat = { input: { kind: 'text' as const, text: 'Hi' }, params: {} }
    await expect(speech.front.start(chat, () => undefined)).rejects.toMatchObject({ code: 'model_task_mismatch' })
    await expect(text.front.transcribe(ask('say 1'), () => undefined)).rejects.toMatchObject({ code: 'model_task_mismatch' })
  })

  it('ends by abort, by the signal before and after it has begun; 300 of them leave nothing open', async () => {
    const { front, loop, model } = await pair(scriptedSpeech(RequestError))
    const finished: (string | undefined)[] = []
    const left: unknown[] = []
    const calls = Array.from({ length: 300 }, async (_, i) => {
      const ending = new AbortController()
      const prompt = ['never', 'silent', 'say 100000'][i % 3]!
      const asked = front.transcribe(ask(prompt), ({ finishReason }) => finishReason && finished.push(finishReason), ending.signal)
      asked.catch((error: unknown) => left.push(error))
      await sleep(i % 20)
      if (i % 3 === 0 || i % 2 === 0) return ending.abort('left')
      const started = await asked
      started.abort()
      started.abort()
    })
    await Promise.all(calls)
    await vi.waitFor(() => expect(front.open + loop.open + model.open.size).toBe(0), 10_000)
    expect(new Set(left)).toEqual(new Set(['left']))
    expect(new Set(finished)).toEqual(new Set(['abort']))
    expect(left.length + finished.length).toBe(300)
    const gone = AbortSignal.abort('before')
    await expect(front.transcribe(ask('say 1'), () => undefined, gone)).rejects.toBe('before')
  })

  it('a listener that fails ends its own transcription only', async () => {
    const onLog = vi.fn()
    const { front, loop } = await pair(scriptedSpeech(RequestError), { onLog })
    const other = transcribe(front, ask('say 30'))
    await front.transcribe(ask('say 100000'), () => {
      throw new Error('a bad listener')
    })
    expect(textOf(await other)).toContain('w29')
    await vi.waitFor(() => expect([front.open, loop.open]).toEqual([0, 0]))
    expect(onLog).toHaveBeenCalledWith('error', expect.stringContaining('a bad listener'))
  })

  it('a worker that is gone ends what is open: begun ones by an error, others by a refusal', async () => {
    const { front, workerSide } = await pair(scriptedSpeech(RequestError))
    const begun = transcribe(front, ask('silent'))
    const unanswered = front.transcribe(ask('never'), () => undefined)
    await vi.waitFor(() => expect(front.activity.active).toBe(2))
    workerSide.destroy()
    await expect(unanswered).rejects.toMatchObject({ code: 'model_crashed' })
    expect((await begun).at(-1)).toMatchObject({ finishReason: 'error', error: { code: 'model_crashed' } })
    expect(front.open).toBe(0)
  })

  it('a shutdown ends what is open', async () => {
    const { front, loop, model } = await pair(scriptedSpeech(RequestError))
    const begun = transcribe(front, ask('silent'))
    await vi.waitFor(() => expect(front.activity.active).toBe(1))
    const unanswered = front.transcribe(ask('never'), () => undefined)
    front.shutdown()
    await expect(unanswered).rejects.toMatchObject({ code: 'shutting_down' })
    expect((await begun).at(-1)).toMatchObject({ finishReason: 'error', error: { code: 'shutting_down' } })
    await loop.ended
    expect(model.open.size).toBe(0)
  })

  it('heartbeats count open transcriptions and their steps', async () => {
    const { front } = await pair(scriptedSpeech(RequestError))
    const started = await front.transcribe(ask('say 100000'), () => undefined)
    await vi.waitFor(() => expect(front.activity).toMatchObject({ active: 1 }))
    const { engineSteps } = front.activity
    await vi.waitFor(() => expect(front.activity.engineSteps).toBeGreaterThan(engineSteps))
    expect(front.activity.stepFrames).toBeGreaterThan(0)
    started.abort()
    await vi.waitFor(() => expect(front.activity.active).toBe(0))
  })

  it('a front that breaks the protocol is left', async () => {
    const model = scriptedSpeech(RequestError)
    const [frontSide, workerSide] = await socketPair()
    const loop = new MessageLoop(workerSide, async () => model)
    const received: ReceivedWorkerMessage[] = []
    const channel = new FrameChannel<FrontMessage, ReceivedWorkerMessage>(frontSide, parseWorkerMessage, {
      onMessage: (message) => received.push(message),
      onClose: () => undefined,
    })
    channel.send({ type: 'hello', version: protocolVersion, options: toJson({ path: 'x' }) })
    await vi.waitFor(() => expect(received.at(-1)?.type).toBe('ready'))
    channel.send({ type: 'transcribe', id: 1, request: toJson(ask('silent')) })
    channel.send({ type: 'transcribe', id: 1, request: toJson(ask('silent')) })
    expect(await loop.ended).toMatchObject({ reason: 'protocol_error', message: expect.stringContaining('id 1 twice') })
    expect(model.open.size).toBe(0)
  })
})
