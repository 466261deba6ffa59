import { connect } from 'node:net'
import { describe, expect, test } from 'vitest'
import type { ServedModel, ServedModelState } from '../../src/server/served-model.js'
import { startServer } from '../../src/server/server.js'
import { SingleModelDirectory } from '../../src/server/single-model-directory.js'
import { RequestError } from '../../src/engine/types.js'
import { FakeTextModel } from '../support/fake-text-model.js'
import { post, request, until } from '../support/http-client.js'
import { hello, testServer, transports } from '../support/test-server.js'

const json = (text: string): unknown => JSON.parse(text)

/** A model whose state a test sets. */
class StagedModel implements ServedModel {
  readonly aliases = []
  readonly fake = new FakeTextModel()
  #state: ServedModelState = { phase: 'loading', restarts: 0 }
  #listeners = new Set<(state: ServedModelState) => void>()
  info = () => ({ id: 'org/staged', revision: 'abc', created: 1.5 })
  get model() {
    return this.#state.phase === 'ready' ? this.fake : undefined
  }
  state = () => this.#state
  health = (): { ok: boolean; reason?: string } => ({ ok: true })
  get = () =>
    this.#state.phase === 'ready'
      ? Promise.resolve(this.fake)
      : Promise.reject(new RequestError('model_loading', 'The model is being loaded.'))
  onChange(listener: (state: ServedModelState) => void) {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }
  set(state: ServedModelState) {
    this.#state = state
    for (const listener of this.#listeners) listener(state)
  }
  get listeners() {
    return this.#listeners.size
  }
}

describe.each(transports)('routes over %s', (transport) => {
  test('models: the served one, by any spelling of its id', async () => {
    await using t = await testServer(transport)
    const row = { owned_by: 'test-org', id: 'test-org/fake', object: 'model', created: 1_700_000_000, loaded: true }
    const list = await request(t.port, 'GET', '/v1/models')
    expect([list.status, list.text]).toEqual([200, JSON.stringify({ object: 'list', data: [row] })])
    expect((await request(t.port, 'OPTIONS', '/v1/models')).text).toBe(list.text)
    for (const id of ['test-org/fake', 'test-org%2Ffake', 'test-org/fake@main', 'test-org%2ffake%40main', 'short-name']) {
      const one = await request(t.port, 'GET', `/v1/models/${id}`)
      expect([one.status, json(one.text)]).toEqual([200, row])
    }
    const other = await request(t.port, 'GET', '/v1/models/no/such')
    expect(other.status).toBe(404)
    expect(json(other.text)).toMatchObject({ error: { code: 'model_not_found', param: 'model' } })
    expect((await request(t.port, 'GET', '/v1/models/%ff%')).status).toBe(400)
    expect((await request(t.port, 'GET', '/v1/models/')).status).toBe(404)
  })

  test('unknown paths and methods', async () => {
    await using t = await testServer(transport)
    const missing = await request(t.port, 'GET', '/nope?x=1')
    expect([missing.status, json(missing.text)]).toEqual([
      404,
      { error: { message: 'Not Found', type: 'invalid_request_error', param: null, code: 'not_found' }, detail: 'Not Found' },
    ])
    const get = await request(t.port, 'GET', '/v1/chat/completions')
    expect([get.status, get.headers.allow]).toEqual([405, 'POST'])
    expect(json(get.text)).toMatchObject({ error: { code: 'method_not_allowed' }, detail: 'Method Not Allowed' })
    for (const method of ['DELETE', 'PUT', 'PATCH', 'OPTIONS', 'HEAD']) {
      const reply = await request(t.port, method, '/v1/chat/completions')
      expect([method, reply.status, reply.headers.allow]).toEqual([method, 405, 'POST'])
    }
    expect((await request(t.port, 'POST', '/health', '{}')).headers.allow).toBe('GET, HEAD')
    expect((await request(t.port, 'HEAD', '/nope')).status).toBe(404)
  })

  test('HEAD is GET without the body', async () => {
    await using t = await testServer(transport)
    const head = await request(t.port, 'HEAD', '/health')
    expect([head.status, head.text, head.headers['content-length']]).toEqual([200, '', '15'])
  })

  test('x-request-id: echoed when it can be, else made', async () => {
    await using t = await testServer(transport)
    const id = async (sent?: string) =>
      (await request(t.port, 'GET', '/health', undefined, sent === undefined ? {} : { 'x-request-id': sent })).headers['x-request-id']
    expect(await id('my-id_1:2/3')).toBe('my-id_1:2/3')
    expect(await id()).toMatch(/^[0-9a-f-]{36}$/)
    expect(await id('a b')).toMatch(/^[0-9a-f-]{36}$/)
    expect(await id('x'.repeat(201))).toMatch(/^[0-9a-f-]{36}$/)
    for (const [method, path] of [
      ['GET', '/nope'],
      ['PUT', '/health'],
    ] as const) {
      expect((await request(t.port, method, path, undefined, { 'x-request-id': 'on-errors' })).headers['x-request-id']).toBe('on-errors')
    }
    const chat = await post(t.port, { messages: hello }, { 'x-request-id': 'twice' })
    expect(chat.headers['x-request-id']).toBe('twice')
    expect(chat.text).not.toContain('twice')
  })

  test('health: ready, loading, failed, draining', async () => {
    const model = new StagedModel()
    const server = await startServer({ port: 0, models: new SingleModelDirectory(model), transport })
    const ask = async () => {
      const { status, text } = await request(server.port, 'GET', '/health')
      return [status, json(text)]
    }
    expect(await ask()).toEqual([503, { status: 'unhealthy', reason: 'model_loading' }])
    const chat = await post(server.port, { messages: hello })
    expect([chat.status, chat.headers['retry-after']]).toEqual([503, '2'])
    model.set({ phase: 'ready', restarts: 0 })
    expect(await ask()).toEqual([200, { status: 'ok' }])
    model.set({ phase: 'failed', restarts: 3, reason: 'no such file' })
    expect(await ask()).toEqual([503, { status: 'unhealthy', reason: 'cb_worker_dead' }])
    model.set({ phase: 'restarting', restarts: 3 })
    expect(await ask()).toEqual([503, { status: 'unhealthy', reason: 'cb_worker_dead' }])
    model.set({ phase: 'ready', restarts: 3 })
    model.health = () => ({ ok: false, reason: 'stalled' })
    expect(await ask()).toEqual([503, { status: 'unhealthy', reason: 'stalled' }])
    await server.close()
  })

  test('load_model: ready at once, on the way, another model, bad bodies', async () => {
    const model = new StagedModel()
    const server = await startServer({ port: 0, models: new SingleModelDirectory(model), transport })
    const load = (body: object | string) =>
      request(server.port, 'POST', '/load_model', typeof body === 'string' ? body : JSON.stringify(body))
    const lines = (text: string) =>
      text
        .split('\n\n')
        .filter(Boolean)
        .map((line) => json(line.slice(6)))
    const name = 'org/staged@abc'

    const waiting = load({ model: 'org/staged' })
    await until(() => model.listeners === 1, 'a listener')
    model.set({ phase: 'loading', restarts: 0, progress: { stage: 'config' } })
    model.set({ phase: 'loading', restarts: 0, progress: { stage: 'weights', current: 1, total: 2 } })
    model.set({ phase: 'ready', restarts: 0 })
    const waited = await waiting
    expect(waited.headers['content-type']).toBe('text/event-stream; charset=utf-8')
    expect(lines(waited.text)).toEqual([
      { status: 'loading', model: name, stage: 'config' },
      { status: 'loading', model: name, stage: 'weights', progress: { current: 1, total: 2 } },
      { status: 'ready', model: name, cached: false },
    ])
    expect(model.listeners).toBe(0)

    expect(lines((await load({ model: name })).text)).toEqual([{ status: 'ready', model: name, cached: true }])
    expect(lines((await load({ model: 'a/b' })).text)).toMatchObject([{ status: 'error', model: 'a/b@main' }])
    for (const body of [{}, { model: null }]) {
      const reply = await load(body)
      expect([reply.status, json(reply.text)]).toMatchObject([422, { detail: 'Missing `model` field in the request body.' }])
    }
    expect((await load({ model: 5 })).status).toBe(400)
    expect((await load('{')).status).toBe(422)
    await server.close()
  })

  test('metrics: well formed, and they count', async () => {
    await using t = await testServer(transport)
    await post(t.port, { messages: hello })
    await post(t.port, { messages: hello, stream: true, max_tokens: 2 })
    await post(t.port, { messages: [] })
    const { text, headers } = await request(t.port, 'GET', '/metrics')
    expect(headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8')
    const model = '{model="test-org/fake@main"}'
    const value = (line: string) =>
      Number(
        text
          .split('\n')
          .find((l) => l.startsWith(`${line} `))
          ?.split(' ')
          .at(-1),
      )
    expect(value('tfserve_requests_total{outcome="stop"}')).toBe(1)
    expect(value('tfserve_requests_total{outcome="length"}')).toBe(1)
    expect(value('tfserve_requests_total{outcome="refused"}')).toBe(1)
    expect(value('tfserve_generation_tokens_total')).toBe(9)
    expect(value('tfserve_cached_prompt_tokens_total')).toBe(8)
    expect(value('tfserve_time_to_first_token_seconds_count')).toBe(2)
    expect(value('tfserve_inter_token_latency_seconds_count')).toBe(7)
    expect(value(`tfserve_kv_blocks${model}`)).toBe(64)
    expect(value(`tfserve_aborts_total{model="test-org/fake@main",phase="decode"}`)).toBe(0)
    expect(value(`tfserve_model_ready${model}`)).toBe(1)
    expect(value(`tfserve_model_requests${model}`)).toBe(0)
    expect(value('tfserve_requests_waiting_for_model')).toBe(0)
    expect(value(`tfserve_engine_steps_total${model}`)).toBeGreaterThan(0)
    expect(value('tfserve_process_resident_memory_bytes{process="server"}')).toBeGreaterThan(1e6)
    // each sample belongs to a family that was announced, and no family comes twice
    const families = [...text.matchAll(/^# TYPE (\S+) (counter|gauge|histogram|summary)$/gm)].map((match) => match[1] ?? '')
    expect(new Set(families).size).toBe(families.length)
    for (const line of text.split('\n').filter((l) => l !== '' && !l.startsWith('#'))) {
      expect(line).toMatch(/^[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+$/)
      const family = (/^[a-z_]+/.exec(line)?.[0] ?? '').replace(/_(bucket|sum|count)$/, '')
      expect(families.includes(family) || families.includes(/^[a-z_]+/.exec(line)?.[0] ?? '')).toBe(true)
    }
  })

  test('metrics answer while the engine does not', async () => {
    await using t = await testServer(transport)
    t.model.stalled = true
    const { status, text } = await request(t.port, 'GET', '/metrics')
    expect(status).toBe(200)
    expect(text).toContain('tfserve_requests_total')
    expect(text).not.toContain('tfserve_kv_blocks')
  })

  test('CORS only when enabled', async () => {
    const ask = {
      origin: 'http://a.example',
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'content-type,authorization',
    }
    await using off = await testServer(transport)
    expect((await request(off.port, 'OPTIONS', '/health', undefined, ask)).status).toBe(405)
    expect((await request(off.port, 'GET', '/health', undefined, ask)).headers['access-control-allow-origin']).toBeUndefined()
    await using on = await testServer(transport, {}, { enableCors: true })
    const preflight = await request(on.port, 'OPTIONS', '/v1/chat/completions', undefined, ask)
    expect([preflight.status, preflight.text]).toEqual([200, 'OK'])
    expect(preflight.headers).toMatchObject({
      'access-control-allow-origin': 'http://a.example',
      'access-control-allow-credentials': 'true',
      'access-control-max-age': '600',
      'access-control-allow-headers': 'content-type,authorization',
    })
    expect(preflight.headers['access-control-allow-methods']?.split(', ')).toEqual(['DELETE', 'GET', 'HEAD', 'OPTIONS', 'POST'])
    const simple = await request(on.port, 'GET', '/health', undefined, { origin: 'http://a.example' })
    expect(simple.headers).toMatchObject({ 'access-control-allow-origin': 'http://a.example', vary: 'Origin' })
  })

  test('a page of another origin cannot use a server of the local machine', async () => {
    await using t = await testServer(transport)
    for (const origin of ['http://evil.example', 'null', 'http://localhost.evil.example:8000', 'http://127.evil.example', 'nonsense']) {
      const reply = await post(t.port, { messages: hello }, { origin })
      expect([origin, reply.status, (json(reply.text) as { error: { code: string } }).error.code]).toEqual([origin, 403, 'foreign_origin'])
    }
    for (const origin of ['http://localhost:3000', 'http://127.0.0.1:8000', 'http://[::1]:8000']) {
      expect((await post(t.port, { messages: hello }, { origin })).status).toBe(200)
    }
    await using open = await testServer(transport, {}, { enableCors: true })
    expect((await post(open.port, { messages: hello }, { origin: 'http://a.example' })).status).toBe(200)
  })

  test('a request for a foreign host is refused, so that no page gets here by a name of its own', async () => {
    await using t = await testServer(transport)
    const ask = (path: string, host: string) => request(t.port, 'GET', path, undefined, { host })
    for (const host of ['evil.example', 'evil.example:8000', 'localhost.evil.example', '127.evil.example', '[::2]', 'localhost:8000:1']) {
      for (const path of ['/v1/models', '/metrics', '/nope']) {
        const { status, text } = await ask(path, host)
        expect([host, path, status, (json(text) as { error: { code: string } }).error.code]).toEqual([host, path, 403, 'foreign_host'])
      }
      expect((await post(t.port, { messages: hello }, { host })).status).toBe(403)
      expect((await ask('/health', host)).status).toBe(200)
    }
    for (const host of ['localhost', 'LOCALHOST:80', '127.0.0.1', '127.0.0.1:8000', '[::1]', '[::1]:8000']) {
      expect([host, (await ask('/v1/models', host)).status]).toEqual([host, 200])
    }
    await using open = await testServer(transport, {}, { enableCors: true })
    expect((await request(open.port, 'GET', '/v1/models', undefined, { host: 'a.example' })).status).toBe(200)
  })

  test('open to other machines: any host name, but pages of foreign origins are refused', async () => {
    await using t = await testServer(transport, {}, { host: '0.0.0.0' })
    expect((await post(t.port, { messages: hello }, { host: 'server.example' })).status).toBe(200)
    expect((await post(t.port, { messages: hello }, { origin: 'http://evil.example' })).status).toBe(403)
    expect((await post(t.port, { messages: hello }, { origin: 'http://localhost:3000' })).status).toBe(200)
    await using open = await testServer(transport, {}, { host: '0.0.0.0', enableCors: true })
    expect((await post(open.port, { messages: hello }, { origin: 'http://a.example' })).status).toBe(200)
  })

  // uWebSockets speaks HTTP/1.1 only
  test.runIf(transport === 'node')('a request that names no host passes', async () => {
    await using t = await testServer(transport)
    const socket = connect(t.port, '127.0.0.1')
    let text = ''
    socket.setEncoding('utf8').on('data', (piece: string) => (text += piece))
    socket.write('GET /v1/models HTTP/1.0\r\n\r\n')
    await until(() => text.includes('"object":"list"'), 'the models')
    socket.destroy()
  })

  test('listens on localhost, and says so when the port is taken', async () => {
    await using t = await testServer(transport)
    expect(t.server.url).toBe(`http://localhost:${t.port}`)
    expect(t.server.transport).toBe(transport)
    await expect(testServer(transport, {}, { port: t.port })).rejects.toThrow(/cannot listen on 127\.0\.0\.1/)
  })
})
