import type { Socket } from 'node:net'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { type GenerateRequest, type GenerationDelta, RequestError } from '../../src/engine/types.js'
import { WorkerModel, type WorkerModelEvents } from '../../src/models/worker-model.js'
import { FrameChannel } from '../../src/worker/frame-channel.js'
import { defaultOutboxLimits } from '../../src/worker/delta-outbox.js'
import { FrameWriter, protocolVersion } from '../../src/worker/frames.js'
import { MessageLoop, type MessageLoopOptions } from '../../src/worker/message-loop.js'
import { type FrontMessage, parseWorkerMessage, type ReceivedWorkerMessage, toJson } from '../../src/worker/messages.js'
import { scriptedModel } from '../support/scripted-model.mjs'
import { socketPair } from '../support/socket-pair.js'

const ask = (text: string, more: Partial<GenerateRequest> = {}): GenerateRequest => ({ input: { kind: 'text', text }, params: {}, ...more })

interface Pair {
  front: WorkerModel
  loop: MessageLoop
  model: ReturnType<typeof scriptedModel>
  frontSide: Socket
  workerSide: Socket
}

const ends: (() => void)[] = []
afterEach(() => {
  for (const end of ends.splice(0)) end()
})

async function pair(options: MessageLoopOptions = {}, events: WorkerModelEvents = {}, model = scriptedModel(RequestError)): Promise<Pair> {
  const [frontSide, workerSide] = await socketPair()
  const loop = new MessageLoop(workerSide, async () => model, { heartbeatMs: 10, ...options })
  const front = new WorkerModel(frontSide, { path: 'x' }, events)
  ends.push(() => front.abandon('test over'))
  await front.ready
  return { front, loop, model, frontSide, workerSide }
}

/** Runs one generation to its end. */
async function generate(front: WorkerModel, request: GenerateRequest): Promise<GenerationDelta[]> {
  const deltas: GenerationDelta[] = []
  let left = request.n ?? 1
  await new Promise<void>((resolve, reject) => {
    front
      .start(request, (delta) => {
        deltas.push(delta)
        if (delta.finishReason && --left === 0) resolve()
      })
      .catch(reject)
  })
  return deltas
}

const textOf = (deltas: readonly GenerationDelta[], choice = 0): string =>
  deltas
    .filter((delta) => delta.choice === choice)
    .map((delta) => delta.text)
    .join('')
const words = (count: number): string => Array.from({ length: count }, (_, i) => `${i} `).join('')

describe('worker and front', () => {
  it('load, generate, count and shut down', async () => {
    const onProgress = vi.fn()
    const onLog = vi.fn()
    const { front, loop, model } = await pair({}, { onProgress, onLog })
    expect(front.info.id).toBe('scripted')
    expect(onLog).toHaveBeenCalledWith('warning', 'made up')
    const deltas = await generate(front, ask('count 20', { n: 3 }))
    for (const choice of [0, 1, 2]) expect(textOf(deltas, choice)).toBe(words(20))
    expect(deltas.filter((delta) => delta.finishReason).map((delta) => delta.finishReason)).toEqual(['stop', 'stop', 'stop'])
    expect(deltas.at(-1)).toMatchObject({ promptTokens: 4, cachedTokens: 1, outputTokens: 20 })
    expect((await front.stats()).steps).toBe(20)
    expect(front.open).toBe(0)
    expect(loop.open).toBe(0)
    front.shutdown()
    expect(await loop.ended).toEqual({ reason: 'shutdown' })
    expect(model.closed).toBe(true)
    await expect(front.start(ask('count 1'), () => undefined)).rejects.toMatchObject({ code: 'shutting_down' })
  })

  it('deltas come after start has resolved, however early the model is', async () => {
    const { front } = await pair()
    const seen: string[] = []
    const generation = await front.start(ask('early 3'), (delta) => seen.push(delta.text))
    expect(seen).toEqual([])
    expect(generation.promptTokens).toBe(4)
    await vi.waitFor(() => expect(front.open).toBe(0))
    expect(seen.join('')).toBe(words(3))
  })

  it('refusals carry code, message and param; a bug is an engine_error', async () => {
    const onLog = vi.fn()
    const { front } = await pair({}, { onLog })
    await expect(front.start(ask('refuse'), () => undefined)).rejects.toMatchObject({
      name: 'RequestError',
      code: 'context_length_exceeded',
      message: 'too long',
      param: 'messages',
    })
    await expect(front.start(ask('broken'), () => undefined)).rejects.toMatchObject({ code: 'engine_error' })
    expect(onLog).toHaveBeenCalledWith('error', expect.stringContaining('a bug'))
    await expect(front.start(ask('count 1', { n: 0 }), () => undefined)).rejects.toMatchObject({ code: 'invalid_request' })
    let deep: unknown = 1
    for (let i = 0; i < 200_000; i++) deep = [deep]
    const nested = { input: { kind: 'chat', messages: [], tools: [deep] }, params: {} } satisfies GenerateRequest
    await expect(front.start(nested, () => undefined)).rejects.toMatchObject({ code: 'invalid_request' })
    await expect(front.start(ask('x'.repeat(70 * 1024 * 1024)), () => undefined)).rejects.toMatchObject({ code: 'invalid_request' })
    expect(textOf(await generate(front, ask('count 2')))).toBe(words(2))
    expect(front.open).toBe(0)
  })

  it('an abort ends every choice; 1,000 of them leave nothing open', async () => {
    const { front, loop, model } = await pair()
    const finished: (string | undefined)[] = []
    const generations = await Promise.all(
      Array.from({ length: 1000 }, (_, i) =>
        front.start(ask(i % 3 ? 'count 100000' : 'silent', { n: 1 + (i % 2) }), (delta) => {
          if (delta.finishReason) finished.push(delta.finishReason)
        }),
      ),
    )
    for (const [index, generation] of generations.entries()) {
      if (index % 5 === 0) generation.pause()
      generation.abort()
      if (index % 7 === 0) generation.abort()
    }
    await vi.waitFor(() => expect(front.open + loop.open + model.open.size).toBe(0), 10_000)
    expect(finished).toEqual(Array.from({ length: 1500 }, () => 'abort'))
  })

  it('a paused generation gives nothing until it is resumed, and then everything', async () => {
    const { front, loop } = await pair()
    const deltas: GenerationDelta[] = []
    const generation = await front.start(ask('count 300 every 1', { n: 2 }), (delta) => deltas.push(delta))
    await vi.waitFor(() => expect(deltas.length).toBeGreaterThan(5))
    generation.pause()
    const before = deltas.length
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(deltas.length).toBe(before)
    generation.resume()
    await vi.waitFor(() => expect(deltas.length).toBeGreaterThan(before))
    generation.pause()
    generation.resume()
    generation.pause()
    await vi.waitFor(() => expect(loop.open).toBe(1))
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(front.open).toBe(1)
    generation.resume()
    await vi.waitFor(() => expect(front.open).toBe(0))
    for (const choice of [0, 1]) {
      expect(textOf(deltas, choice)).toBe(words(300))
      expect(deltas.filter((delta) => delta.choice === choice).flatMap((delta) => delta.tokens)).toEqual(
        Array.from({ length: 300 }, (_, i) => i + 1),
      )
    }
    expect(deltas.length).toBeLessThan(600)
  })

  it('a pause before the first delta holds', async () => {
    const { front } = await pair()
    const deltas: GenerationDelta[] = []
    const generation = await front.start(ask('early 3'), (delta) => deltas.push(delta))
    generation.pause()
    await new Promise((resolve) => setTimeout(resolve, 30))
    expect(deltas).toEqual([])
    generation.resume()
    await vi.waitFor(() => expect(front.open).toBe(0))
    expect(textOf(deltas)).toBe(words(3))
  })

  it('a reader that is too slow is aborted by size and by time, and keeps what was kept', async () => {
    const bySize = await pair({ outbox: { ...defaultOutboxLimits, maxHeldBytes: 2000 } })
    const deltas: GenerationDelta[] = []
    const slow = await bySize.front.start(ask('count 100000 burst 100'), (delta) => deltas.push(delta))
    slow.pause()
    await vi.waitFor(() => expect(bySize.model.open.size).toBe(0))
    expect(deltas).toEqual([])
    slow.resume()
    await vi.waitFor(() => expect(bySize.front.open).toBe(0))
    expect(deltas.at(-1)!.finishReason).toBe('abort')
    expect(words(100_000).startsWith(textOf(deltas))).toBe(true)
    expect(textOf(deltas).length).toBeGreaterThan(100)

    const byTime = await pair({ outbox: { ...defaultOutboxLimits, maxHeldMs: 50 } })
    const late = await byTime.front.start(ask('silent'), () => undefined)
    late.pause()
    await vi.waitFor(() => expect(byTime.model.open.size).toBe(0))
  })

  it('a front that does not read: text is kept within bounds, then aborted; reading goes on afterwards', async () => {
    const model = scriptedModel(RequestError, { word: (i) => `${i} `.repeat(50) })
    const { front, loop, frontSide } = await pair({ outbox: { ...defaultOutboxLimits, maxTotalHeldBytes: 300_000 } }, {}, model)
    const finished: (string | undefined)[] = []
    const starts = Array.from({ length: 4 }, () =>
      front.start(ask('count 1000000 burst 50'), (delta) => {
        if (delta.finishReason) finished.push(delta.finishReason)
      }),
    )
    await Promise.all(starts)
    frontSide.pause()
    await vi.waitFor(() => expect(model.open.size).toBe(0), 10_000)
    expect(loop.open).toBe(4)
    frontSide.resume()
    await vi.waitFor(() => expect(front.open).toBe(0))
    expect(finished).toEqual(['abort', 'abort', 'abort', 'abort'])
    expect(loop.open).toBe(0)
  })

  it('a listener that throws ends its own generation only', async () => {
    const { front, model } = await pair()
    await front.start(ask('count 100000'), () => {
      throw new Error('listener')
    })
    expect(textOf(await generate(front, ask('count 30')))).toBe(words(30))
    await vi.waitFor(() => expect(model.open.size).toBe(0))
  })

  it('a worker that is gone ends what is open, choice by choice, and refuses what is not accepted', async () => {
    const { front } = await pair()
    const deltas: GenerationDelta[] = []
    await front.start(ask('count 100000', { n: 2 }), (delta) => deltas.push(delta))
    const waiting = front.start(ask('never'), () => undefined)
    await vi.waitFor(() => expect(deltas.length).toBeGreaterThan(10))
    front.abandon('gone')
    await expect(waiting).rejects.toMatchObject({ code: 'model_crashed' })
    const last = deltas.slice(-2)
    expect(last.map((delta) => [delta.choice, delta.finishReason, delta.error?.code])).toEqual([
      [0, 'error', 'model_crashed'],
      [1, 'error', 'model_crashed'],
    ])
    expect(last[0]!.outputTokens).toBeGreaterThan(0)
    expect(front.open).toBe(0)
    await expect(front.stats()).rejects.toMatchObject({ code: 'model_crashed' })
  })

  it('a front that is gone ends the worker and its generations', async () => {
    const { front, loop, model } = await pair()
    await front.start(ask('silent'), () => undefined)
    front.abandon('gone')
    expect(await loop.ended).toEqual({ reason: 'channel_closed' })
    expect(model.closed).toBe(true)
  })
})

describe('the front alone', () => {
  it('refuses a worker of another version, or one that does not begin with a hello', async () => {
    for (const [first, words] of [
      [{ type: 'hello', version: 999, pid: 1 }, /version 999/],
      [{ type: 'failed', message: 'x' }, /begin with a hello/],
      ['nonsense', /malformed/],
    ] as const) {
      const [frontSide, workerSide] = await socketPair()
      const front = new WorkerModel(frontSide, { path: 'x' })
      workerSide.write(new FrameWriter().encode(first))
      await expect(front.ready).rejects.toThrow(words)
      workerSide.destroy()
    }
  })

  it('refuses requests when too many bytes wait for a worker that does not read', async () => {
    const { front, workerSide } = await pair()
    workerSide.pause()
    const large = ask('count 1', { cacheSalt: 'x'.repeat(48 * 1024 * 1024) })
    const outcomes: string[] = []
    for (let i = 0; i < 5; i++) {
      void front
        .start(large, () => undefined)
        .then(
          () => outcomes.push('accepted'),
          (error: RequestError) => outcomes.push(error.code),
        )
    }
    await vi.waitFor(() => expect(outcomes).toEqual(['queue_full', 'queue_full']))
    workerSide.resume()
    await vi.waitFor(() => expect(outcomes.slice(2)).toEqual(['accepted', 'accepted', 'accepted']), 20_000)
    await vi.waitFor(() => expect(front.open).toBe(0))
  })
})

describe('the worker alone', () => {
  async function bare(load: ConstructorParameters<typeof MessageLoop>[1] = async () => scriptedModel(RequestError)): Promise<{
    send: (message: FrontMessage) => void
    raw: Socket
    got: ReceivedWorkerMessage[]
    loop: MessageLoop
  }> {
    const [raw, workerSide] = await socketPair()
    const loop = new MessageLoop(workerSide, load)
    const got: ReceivedWorkerMessage[] = []
    const channel = new FrameChannel<FrontMessage, ReceivedWorkerMessage>(raw, parseWorkerMessage, {
      onMessage: (message) => got.push(message),
      onClose: () => undefined,
    })
    ends.push(() => raw.destroy())
    return { send: (message) => channel.send(message), raw, got, loop }
  }

  it('refuses another version of the protocol in words', async () => {
    const { send, loop, got } = await bare()
    send({ type: 'hello', version: 999, options: toJson({ path: 'x' }) })
    expect(await loop.ended).toMatchObject({ reason: 'protocol_error', message: expect.stringContaining('999') })
    await vi.waitFor(() => expect(got.map((message) => message.type)).toEqual(['hello', 'failed']))
  })

  it('ends on garbage, and on a message before the hello', async () => {
    const garbage = await bare()
    garbage.raw.write(Buffer.from([1, 0, 0, 0, 0xc1]))
    expect((await garbage.loop.ended).reason).toBe('protocol_error')
    const early = await bare()
    early.send({ type: 'stats', seq: 1 })
    expect((await early.loop.ended).reason).toBe('protocol_error')
  })

  it('says why a model cannot be loaded', async () => {
    const { send, loop, got } = await bare(async () => {
      throw new Error('No weights.')
    })
    send({ type: 'hello', version: protocolVersion, options: toJson({ path: 'x' }) })
    expect(await loop.ended).toEqual({ reason: 'load_failed', message: 'No weights.', loader: 'failed' })
    await vi.waitFor(() => expect(got.at(-1)).toEqual({ type: 'failed', message: 'No weights.', loader: 'failed' }))
    const foreign = await bare(() => Promise.reject(Object.assign(new Error('No such family.'), { code: 'unsupported' })))
    foreign.send({ type: 'hello', version: protocolVersion, options: toJson({ path: 'x' }) })
    expect(await foreign.loop.ended).toEqual({ reason: 'load_failed', message: 'No such family.', loader: 'unsupported' })
  })

  it('sends one frame for the deltas of a turn, after the acceptance', async () => {
    const { send, got } = await bare()
    send({ type: 'hello', version: protocolVersion, options: toJson({ path: 'x' }) })
    await vi.waitFor(() => expect(got.some((message) => message.type === 'ready')).toBe(true))
    send({ type: 'submit', id: 1, request: toJson(ask('early 5', { n: 4 })) })
    await vi.waitFor(() => expect(got.some((message) => message.type === 'step')).toBe(true))
    const after = got.slice(got.findIndex((message) => message.type === 'accepted'))
    expect(after.map((message) => message.type).filter((type) => type !== 'heartbeat')).toEqual(['accepted', 'step'])
    expect(after.flatMap((message) => (message.type === 'step' ? message.rows : [])).map((row) => row.delta.text)).toEqual(
      Array(4).fill(words(5)),
    )
  })
})
