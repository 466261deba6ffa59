import { Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import type { GenerationDelta, StartedGeneration, TextModel } from '../../src/engine/types.js'
import { readChatRequest } from '../../src/protocol/chat-schema.js'
import { ApiKeys } from '../../src/server/api-keys.js'
import { BodyParser } from '../../src/server/body-parser.js'
import { Call } from '../../src/server/call.js'
import { ChatSession } from '../../src/server/chat-session.js'
import type { ServerContext } from '../../src/server/context.js'
import { LatestRun } from '../../src/server/latest-run.js'
import { LiveCalls } from '../../src/server/live-calls.js'
import { InProcessModel } from '../../src/server/served-model.js'
import { ResponseService } from '../../src/server/responses/service.js'
import { ServerMetrics } from '../../src/server/server-metrics.js'
import { SingleModelDirectory } from '../../src/server/single-model-directory.js'
import { UploadFolder } from '../../src/server/uploads/upload-folder.js'
import { Turn } from '../../src/server/turn.js'
import { WaitingLine } from '../../src/server/waiting-line.js'
import type { HttpExchange } from '../../src/server/transport/types.js'
import { FakeTextModel, fakeInfo } from '../support/fake-text-model.js'
import { chunks } from '../support/http-client.js'
import { hello } from '../support/test-server.js'

/** An exchange that keeps what it is given. */
class KeptExchange implements HttpExchange {
  readonly method = 'POST'
  readonly path = '/v1/chat/completions'
  readonly query = ''
  closed = false
  status = 0
  writes: string[] = []
  /** What write() answers. */
  keepsUp = true
  #writable: () => void = () => undefined
  #aborted: () => void = () => undefined
  header = () => undefined
  streamBody = (): AsyncIterable<Uint8Array> => Readable.from([])
  readBody = async <T>(_limit: number, read: (body: Uint8Array) => T | Promise<T>) => read(new Uint8Array())
  onAborted(listener: () => void) {
    this.#aborted = listener
  }
  send(status: number, _headers: object, body: string) {
    this.status = status
    this.writes.push(body)
    this.closed = true
  }
  begin(status: number) {
    this.status = status
  }
  write(text: string) {
    this.writes.push(text)
    return this.keepsUp
  }
  onWritable(listener: () => void) {
    this.#writable = listener
  }
  end(text?: string) {
    if (text !== undefined) this.writes.push(text)
    this.closed = true
  }
  destroy() {
    this.closed = true
  }
  catchUp() {
    this.keepsUp = true
    this.#writable()
  }
  leave() {
    this.closed = true
    this.#aborted()
  }
}

/** A model whose deltas a test sends by hand. */
class HandModel implements TextModel {
  readonly info = fakeInfo
  readonly calls: string[] = []
  send: (delta: Partial<GenerationDelta>) => void = () => undefined
  /** Sent before start() resolves. */
  early: Partial<GenerationDelta>[] = []
  async start(_request: unknown, onDelta: (delta: GenerationDelta) => void): Promise<StartedGeneration> {
    this.send = (delta) => onDelta({ choice: 0, text: '', tokens: [1], promptTokens: 3, cachedTokens: 0, outputTokens: 1, ...delta })
    for (const delta of this.early) this.send(delta)
    await Promise.resolve()
    const note = (name: string) => () => void this.calls.push(name)
    return { promptTokens: 3, abort: note('abort'), pause: note('pause'), resume: note('resume') }
  }
  stats = () => new FakeTextModel().stats()
}

async function session(fields: object, model = new HandModel()) {
  const models = new SingleModelDirectory(new InProcessModel(model))
  const chats = new LiveCalls()
  const logged: string[] = []
  const context: ServerContext = {
    options: {
      ...{
        host: 'localhost',
        port: 0,
        models,
        transport: 'auto',
        bodyLimit: 1e6,
        enableCors: false,
        allowUnknownFields: false,
        drainTimeoutMs: 1000,
      },
      ...{ slowReaderTimeoutMs: 1000, keepAliveMs: 1000, chatTemplateKwargs: {}, reasoning: 'auto', responseStore: {} },
      ...{ maxAudioBytes: 1e6, maxAudioSeconds: 60, speechThresholds: {} },
      log: (_, message) => void logged.push(message),
    },
    models,
    modelList: new LatestRun(() => models.list()),
    loads: new LiveCalls(),
    metrics: new ServerMetrics(),
    turn: new Turn((error) => logged.push(String(error))),
    parser: new BodyParser(),
    keys: new ApiKeys([]),
    waiting: new WaitingLine(),
    responses: new ResponseService({}, () => undefined),
    uploads: new UploadFolder({ totalBytes: 1e6, count: 1 }),
    chats,
    templateDefaults: {},
    draining: false,
  }
  const exchange = new KeptExchange()
  const chat = new ChatSession(new Call(context, exchange), readChatRequest({ messages: hello, ...fields }))
  await chat.run()
  return { chat, model, exchange, context, logged }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

describe('a chat session', () => {
  test('writes what one step brings to all choices at once', async () => {
    const { model, exchange } = await session({ stream: true, n: 3 })
    expect(exchange.writes).toHaveLength(0)
    for (let step = 1; step <= 4; step++) {
      for (const choice of [0, 1, 2]) model.send({ choice, text: `${step}`, outputTokens: step })
      await turn()
      expect(exchange.writes).toHaveLength(step)
    }
    for (const choice of [0, 1, 2]) model.send({ choice, text: 'x', outputTokens: 5, finishReason: 'stop' })
    await turn()
    expect(exchange.writes).toHaveLength(5)
    expect(exchange.writes.at(-1)?.endsWith('data: [DONE]\n\n')).toBe(true)
  })

  test('answers with a status when a stream fails before its first token', async () => {
    const { model, exchange } = await session({ stream: true })
    model.send({ finishReason: 'error', error: { code: 'model_crashed', message: 'gone' } })
    await turn()
    expect(exchange.status).toBe(503)
    expect(exchange.writes.join('')).not.toContain('data:')
  })

  test('keeps deltas that come before the request is known to be accepted', async () => {
    const model = new HandModel()
    model.early = [{ text: 'a' }, { text: 'b', outputTokens: 2, finishReason: 'stop' }]
    const { exchange, context } = await session({ stream: true }, model)
    await turn()
    expect(chunks(exchange.writes.join('')).map((chunk) => chunk.choices[0]?.delta)).toEqual([
      { role: 'assistant' },
      { content: 'a' },
      { content: 'b' },
      {},
    ])
    expect(context.chats.size).toBe(0)
  })

  test('pauses the generation while its client does not keep up', async () => {
    const { chat, model, exchange } = await session({ stream: true })
    exchange.keepsUp = false
    model.send({ text: 'a' })
    await turn()
    model.send({ text: 'b' })
    await turn()
    expect([model.calls, chat.paused]).toEqual([['pause'], true])
    exchange.catchUp()
    exchange.catchUp()
    expect([model.calls, chat.paused]).toEqual([['pause', 'resume'], false])
  })

  test('one failed choice ends the request and frees the others', async () => {
    const { model, exchange, context } = await session({ stream: true, n: 2 })
    model.send({ text: 'a' })
    model.send({ choice: 1, finishReason: 'error', error: { code: 'engine_error', message: 'broken' } })
    model.send({ text: 'never sent' })
    await turn()
    const text = exchange.writes.join('')
    expect(text).toContain('"content":"a"')
    expect(text).toContain('data: {"error":{"message":"broken","type":"server_error","param":null,"code":"engine_error"}}\n\n')
    expect(text).not.toContain('never sent')
    expect(text).not.toContain('[DONE]')
    expect(model.calls).toEqual(['abort'])
    expect(context.chats.size).toBe(0)
  })

  test('an abort that nobody here asked for is an error', async () => {
    const { model, exchange } = await session({})
    model.send({ finishReason: 'abort' })
    expect([exchange.status, exchange.closed]).toEqual([503, true])
  })

  test('says nothing to a client that has left', async () => {
    const { model, exchange, context } = await session({ stream: true })
    model.send({ text: 'a' })
    exchange.leave()
    const said = exchange.writes.length
    expect(model.calls).toEqual(['abort'])
    model.send({ text: 'b' })
    model.send({ finishReason: 'abort' })
    await turn()
    expect(exchange.writes.slice(said).join('')).not.toContain('"b"')
    expect([context.chats.size, context.metrics.requests.get('client_gone')]).toEqual([0, 1])
  })

  test('a fault while writing ends this request only', async () => {
    const { model, exchange, context, logged } = await session({})
    exchange.send = () => {
      throw new Error('a fault')
    }
    expect(() => model.send({ finishReason: 'stop' })).not.toThrow()
    expect(logged.join()).toContain('a fault')
    // nothing can be said: at least it does not wait for ever
    expect(exchange.closed).toBe(true)
    expect(context.chats.size).toBe(0)
  })

  test.each([false, true])('a reply that cannot be rendered is an error, not silence (stream: %s)', async (stream) => {
    const { model, exchange, context } = await session({ stream, logprobs: true })
    const logprob = { token: 'a', logprob: 0, bytes: [97], top_logprobs: [], toJSON: () => JSON.parse('no JSON') as unknown }
    model.send({ text: 'a', logprobs: [logprob], finishReason: 'stop' })
    await turn()
    expect(exchange.closed).toBe(true)
    expect(exchange.status).toBe(stream ? 200 : 500)
    expect(exchange.writes.join('')).toContain('"code":"internal_error"')
    expect(context.chats.size).toBe(0)
    expect([context.metrics.requests.get('failed'), context.metrics.requests.get('stop')]).toEqual([1, 0])
  })
})
