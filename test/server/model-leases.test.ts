// Requests borrow the model that they name, wait for it while it loads, and give it back whatever way they end.
import { describe, expect, test } from 'vitest'
import { startServer, type RunningServer, type ServerOptions } from '../../src/server/server.js'
import { FakeDirectory } from '../support/fake-directory.js'
import { RequestError } from '../../src/engine/types.js'
import type { FakeTextModelOptions } from '../support/fake-text-model.js'
import { chunks, events, openChat, post, request, sleep, until } from '../support/http-client.js'
import { hello, transports } from '../support/test-server.js'

const endless = { messages: hello, model: 'org/a', ignore_eos: true, max_tokens: 1_000_000 }

interface Running extends AsyncDisposable {
  port: number
  server: RunningServer
  models: FakeDirectory
}

async function serve(
  transport: 'uws' | 'node',
  names: readonly string[] = ['org/a'],
  model: FakeTextModelOptions = {},
  options: Partial<ServerOptions> = {},
): Promise<Running> {
  const models = new FakeDirectory(names, model)
  const server = await startServer({ port: 0, models, transport, ...options })
  return { port: server.port, server, models, [Symbol.asyncDispose]: () => server.close() }
}

describe.each(transports)('leases over %s', (transport) => {
  test.each([
    ['org/a', 'org/a@main'],
    ['org/a@main', 'org/a@main'],
    ['org/a@v1', 'org/a@v1'],
    ['org/a:b.Q4_K_M.gguf', 'org/a@main:b.Q4_K_M.gguf'],
  ])('%s is answered as %s', async (asked, canonical) => {
    await using t = await serve(transport, ['org/a', 'org/a@v1', 'org/a@main:b.Q4_K_M.gguf'])
    for (const stream of [true, false]) {
      const { text } = await post(t.port, { messages: hello, model: asked, stream })
      expect(text).toContain(`"model":"${canonical}"`)
    }
    expect(t.models.model(canonical).requests).toHaveLength(2)
    expect(t.models.releases).toEqual([1, 1])
  })

  test.each([true, false])('given back once at the end (stream: %s)', async (stream) => {
    await using t = await serve(transport, ['org/a'], { stepMs: 5 })
    const reply = post(t.port, { ...endless, max_tokens: 5, stream })
    await until(() => t.models.held === 1, 'borrowed')
    expect((await reply).status).toBe(200)
    expect(t.models.releases).toEqual([1])
  })

  test.each([true, false])('given back when the client leaves (stream: %s)', async (stream) => {
    await using t = await serve(transport, ['org/a'], { stepMs: 5 })
    const socket = openChat(t.port, { ...endless, stream })
    await until(() => t.models.model('org/a').live === 1, 'started')
    socket.destroy()
    await until(() => t.models.held === 0, 'given back')
    await until(() => t.models.model('org/a').live === 0, 'aborted')
    expect(t.models.releases).toEqual([1])
  })

  test.each([true, false])('given back when the model refuses, and when it dies (stream: %s)', async (stream) => {
    await using t = await serve(transport, ['org/a'], {
      stepMs: 5,
      onStart: ({ params }) => {
        if (params.seed === 1) throw new RequestError('context_length_exceeded', 'too long', 'messages')
      },
    })
    expect((await post(t.port, { ...endless, stream, seed: 1 })).status).toBe(400)
    expect(t.models.releases).toEqual([1])
    const doomed = post(t.port, { ...endless, stream })
    await until(() => t.models.model('org/a').live === 1, 'started')
    t.models.model('org/a').crash()
    expect((await doomed).text).toContain('model_crashed')
    expect(t.models.releases).toEqual([1, 1])
  })

  test('given back when the client leaves before the model has accepted', async () => {
    let accept: () => void = () => undefined
    const accepted = new Promise<void>((resolve) => (accept = resolve))
    await using t = await serve(transport, ['org/a'], { onStart: () => accepted })
    const socket = openChat(t.port, { ...endless, stream: true })
    await until(() => t.models.held === 1, 'borrowed')
    socket.destroy()
    await until(() => t.models.held === 0, 'given back')
    accept()
    await until(() => t.models.model('org/a').calls.abort === 1, 'aborted')
    expect(t.models.releases).toEqual([1])
  })

  test('given back by a reader that is too slow', async () => {
    await using t = await serve(transport, ['org/a'], { pieces: ['x'.repeat(20_000)] }, { slowReaderTimeoutMs: 300 })
    const socket = openChat(t.port, { ...endless, stream: true })
    await new Promise((resolve) => socket.once('data', resolve))
    socket.pause()
    await until(() => t.models.held === 0, 'given back', 10_000)
    expect(t.models.releases).toEqual([1])
    socket.destroy()
  }, 15_000)

  test('given back at the end of a drain', async () => {
    await using t = await serve(transport, ['org/a'], { stepMs: 10 }, { drainTimeoutMs: 100 })
    const open = [post(t.port, { ...endless, stream: true }), post(t.port, endless)]
    await until(() => t.models.held === 2, 'borrowed')
    await t.server.drain()
    await Promise.all(open)
    expect(t.models.releases).toEqual([1, 1])
  })

  test('requests wait for a cold model, others go on meanwhile', async () => {
    await using t = await serve(transport)
    const waiting = [true, false, true].map((stream) => post(t.port, { messages: hello, model: 'org/cold', stream }))
    await until(() => t.models.loads.get('org/cold@main')?.waiters.size === 3, 'all wait')
    expect((await request(t.port, 'GET', '/metrics')).text).toContain('tfserve_requests_waiting_for_model 3\n')
    expect((await request(t.port, 'GET', '/health')).status).toBe(200)
    expect((await post(t.port, { messages: hello, model: 'org/a' })).status).toBe(200)
    t.models.loads.get('org/cold@main')!.ready()
    const replies = await Promise.all(waiting)
    expect(replies.map(({ status }) => status)).toEqual([200, 200, 200])
    for (const { text } of replies) expect(text).toContain('"model":"org/cold@main"')
    expect(t.models.releases).toEqual([1, 1, 1, 1])
  })

  test('a failed load is told to all who wait, with its status', async () => {
    await using t = await serve(transport)
    const waiting = [true, false].map((stream) => post(t.port, { messages: hello, model: 'org/cold', stream }))
    await until(() => t.models.loads.get('org/cold@main')?.waiters.size === 2, 'all wait')
    t.models.loads.get('org/cold@main')!.fail('The file is cut short.')
    for (const { status, text } of await Promise.all(waiting)) {
      expect([status, JSON.parse(text)]).toMatchObject([500, { error: { code: 'model_load_failed', message: 'The file is cut short.' } }])
    }
    expect((await request(t.port, 'GET', '/metrics')).text).toContain('tfserve_requests_waiting_for_model 0\n')
  })

  test('a stream that waits long gets keep-alives; the roles come when the model is there', async () => {
    await using t = await serve(transport, [], {}, { keepAliveMs: 50 })
    const socket = openChat(t.port, { messages: hello, model: 'org/cold', stream: true })
    let text = ''
    socket.setEncoding('utf8').on('data', (piece: string) => (text += piece))
    await until(() => text.split(': keep-alive').length > 2, 'keep-alives')
    expect(text).toContain('200 OK')
    expect(text).toContain(': keep-alive, waiting for the model\n\n')
    expect(text).not.toContain('data:')
    t.models.loads.get('org/cold@main')!.ready()
    await until(() => text.includes('[DONE]'), 'the rest')
    const role = text.indexOf('data: {')
    expect(text.slice(role, text.indexOf('\n\n', role))).toMatch(/"delta":\{"role":"assistant"\}.*"model":"org\/cold@main"/)
    expect(text.split('"role"').length).toBe(2)
    expect(text).not.toContain('"error"')
    socket.destroy()

    const doomed = post(t.port, { messages: hello, model: 'org/bad', stream: true })
    await until(() => t.models.loads.has('org/bad@main'), 'waits')
    await sleep(150)
    t.models.loads.get('org/bad@main')!.fail('No such model.')
    const { status, text: told } = await doomed
    expect(status).toBe(200)
    expect(events(told).at(-1)).toMatchObject({ error: { code: 'model_load_failed', message: 'No such model.' } })
  })

  test.each([true, false])('a client that leaves stops waiting (stream: %s)', async (stream) => {
    await using t = await serve(transport)
    const socket = openChat(t.port, { messages: hello, model: 'org/cold', stream })
    await until(() => t.models.loads.get('org/cold@main')?.waiters.size === 1, 'waits')
    socket.destroy()
    await until(() => t.models.loads.get('org/cold@main')?.waiters.size === 0, 'waits no more')
    t.models.loads.get('org/cold@main')!.ready()
    await sleep(20)
    expect(t.models.releases).toEqual([])
    expect((await request(t.port, 'GET', '/metrics')).text).toContain('tfserve_requests_total{outcome="client_gone"} 1\n')
  })

  test('drain: who still waits for a model when the time is up is told', async () => {
    await using t = await serve(transport, [], {}, { drainTimeoutMs: 100 })
    const waiting = [true, false].map((stream) => post(t.port, { messages: hello, model: 'org/cold', stream }))
    await until(() => t.models.loads.get('org/cold@main')?.waiters.size === 2, 'all wait')
    await t.server.drain()
    for (const { status, text } of await Promise.all(waiting)) {
      expect([status, JSON.parse(text)]).toMatchObject([503, { error: { code: 'shutting_down' } }])
    }
    expect(t.models.loads.get('org/cold@main')!.waiters.size).toBe(0)
  })

  test('no name where there is none to guess', async () => {
    await using t = await serve(transport)
    const reply = await post(t.port, { messages: hello })
    expect([reply.status, JSON.parse(reply.text)]).toMatchObject([400, { error: { code: 'model_required', param: 'model' } }])
  })

  test('two models side by side', async () => {
    await using t = await serve(transport, ['org/a', 'org/b'], { stepMs: 2 })
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, i) => post(t.port, { messages: hello, model: i % 2 ? 'org/a' : 'org/b', stream: true })),
    )
    replies.forEach(({ text }, i) => expect(chunks(text)[0]).toMatchObject({ model: i % 2 ? 'org/a@main' : 'org/b@main' }))
    expect(t.models.releases).toEqual(Array<number>(20).fill(1))
  })
})
