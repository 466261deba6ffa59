// /load_model, /unload_model, /reset and the list of models.
import { readFileSync } from 'node:fs'
import net from 'node:net'
import { describe, expect, test } from 'vitest'
import { startServer, type RunningServer, type ServerOptions } from '../../src/server/server.js'
import type { LoadEvent } from '../../src/server/model-directory.js'
import { FakeDirectory } from '../support/fake-directory.js'
import { post, request, sleep, until } from '../support/http-client.js'
import { hello, transports } from '../support/test-server.js'

// excerpts of what transformers serve sent
const recorded = (name: string): string => readFileSync(new URL(`../fixtures/load-model/${name}.sse`, import.meta.url), 'utf8')
const parsed = (text: string): LoadEvent[] =>
  text
    .split('\n\n')
    .filter((block) => block.startsWith('data: '))
    .map((block) => JSON.parse(block.slice(6)) as LoadEvent)
const json = (text: string): unknown => JSON.parse(text)
const smol = 'HuggingFaceTB/SmolLM2-135M-Instruct'

interface Running extends AsyncDisposable {
  port: number
  server: RunningServer
  models: FakeDirectory
  send(path: string, body: unknown): ReturnType<typeof request>
}

async function serve(transport: 'uws' | 'node', names: readonly string[] = [], options: Partial<ServerOptions> = {}): Promise<Running> {
  const models = new FakeDirectory(names)
  const server = await startServer({ port: 0, models, transport, ...options })
  const send = (path: string, body: unknown) => request(server.port, 'POST', path, typeof body === 'string' ? body : JSON.stringify(body))
  return { port: server.port, server, models, send, [Symbol.asyncDispose]: () => server.close() }
}

describe.each(transports)('models over %s', (transport) => {
  test('load_model of a cold model, to the letter as recorded', async () => {
    await using t = await serve(transport)
    const watching = [t.send('/load_model', { model: smol }), t.send('/load_model', { model: `${smol}@main` })]
    await until(() => t.models.loads.get(`${smol}@main`)?.watchers.size === 2, 'both watch')
    const load = t.models.loads.get(`${smol}@main`)!
    for (const event of parsed(recorded('cold'))) if (event.status === 'loading') load.tell(event)
    load.ready()
    for (const { status, headers, text } of await Promise.all(watching)) {
      expect(status).toBe(200)
      expect(headers['content-type']).toBe('text/event-stream; charset=utf-8')
      expect(text).toBe(recorded('cold'))
    }
  })

  test('load_model of a model in memory, and of one that is nowhere, as recorded', async () => {
    await using t = await serve(transport, [smol])
    expect((await t.send('/load_model', { model: smol })).text).toBe(recorded('cached'))
    const unknown = t.send('/load_model', { model: 'nope/does-not-exist' })
    await until(() => t.models.loads.has('nope/does-not-exist@main'), 'asked')
    const load = t.models.loads.get('nope/does-not-exist@main')!
    const [first, last] = parsed(recorded('unknown'))
    load.tell(first!)
    load.fail((last as { message: string }).message)
    expect((await unknown).text).toBe(recorded('unknown'))
  })

  test('load_model without a name, as recorded, and with a bad body', async () => {
    await using t = await serve(transport)
    for (const path of ['/load_model', '/unload_model']) {
      for (const body of [{}, { model: null }]) {
        const { status, text } = await t.send(path, body)
        expect([status, json(text)]).toMatchObject([422, { detail: 'Missing `model` field in the request body.' }])
        expect(json(text)).toMatchObject({ error: { code: 'missing_model' } })
      }
      expect((await t.send(path, { model: 123 })).status).toBe(400)
      expect((await t.send(path, { model: 'x'.repeat(2000) })).status).toBe(400)
      expect((await t.send(path, '{"model":')).status).toBe(422)
      expect((await t.send(path, '[]')).status).toBe(422)
      expect((await request(t.port, 'GET', path)).status).toBe(405)
    }
    expect(t.models.loads.size).toBe(0)
  })

  test('a watcher that leaves is forgotten, and the load goes on for the others', async () => {
    await using t = await serve(transport)
    const stays = t.send('/load_model', { model: 'org/a' })
    const body = JSON.stringify({ model: 'org/a' })
    const leaves = net.connect(t.port, '127.0.0.1').on('error', () => undefined)
    leaves.write(
      `POST /load_model HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    )
    await until(() => t.models.loads.get('org/a@main')?.watchers.size === 2, 'both watch')
    leaves.destroy()
    const load = t.models.loads.get('org/a@main')!
    await until(() => load.watchers.size === 1, 'one has left')
    load.ready()
    expect(parsed((await stays).text)).toEqual([{ status: 'ready', model: 'org/a@main', cached: false }])
    expect(load.watchers.size).toBe(0)
  })

  test('a silent load keeps the connection alive', async () => {
    await using t = await serve(transport, [], { keepAliveMs: 40 })
    const watching = t.send('/load_model', { model: 'org/a' })
    await until(() => t.models.loads.has('org/a@main'), 'asked')
    await sleep(200)
    t.models.loads.get('org/a@main')!.ready()
    const { text } = await watching
    expect(text).toContain(': keep-alive\n\n')
    expect(parsed(text)).toHaveLength(1)
  })

  test('a watcher that does not read costs no memory, and still gets the end', async () => {
    await using t = await serve(transport)
    const body = JSON.stringify({ model: 'org/a' })
    const socket = net.connect(t.port, '127.0.0.1').on('error', () => undefined)
    socket.write(
      `POST /load_model HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    )
    socket.pause()
    await until(() => t.models.loads.has('org/a@main'), 'asked')
    const load = t.models.loads.get('org/a@main')!
    const total = 200_000
    for (let current = 1; current <= total; current++) {
      load.tell({ status: 'loading', model: 'org/a@main', stage: 'weights', progress: { current, total } })
      if (current % 2000 === 0) await sleep(0)
    }
    load.ready()
    let text = ''
    socket.setEncoding('latin1').on('data', (piece: string) => (text += piece))
    socket.resume()
    await until(() => text.includes('"ready"'), 'the end', 10_000)
    // without the frames of the chunked body
    text = text.replace(/\r\n[0-9a-f]+\r\n/g, '')
    const seen = [...text.matchAll(/"current": (\d+)/g)].map((match) => Number(match[1]))
    expect(seen).toEqual([...seen].sort((a, b) => a - b))
    expect(seen.at(-1)).toBe(total)
    expect(seen.length).toBeLessThan(total / 2)
    socket.destroy()
  }, 30_000)

  test('drain ends the watchers at once, with an error event', async () => {
    await using t = await serve(transport, [], { drainTimeoutMs: 20_000 })
    const watching = t.send('/load_model', { model: 'org/a' })
    await until(() => t.models.loads.get('org/a@main')?.watchers.size === 1, 'watches')
    await t.server.drain()
    expect(parsed((await watching).text)).toEqual([{ status: 'error', model: 'org/a@main', message: 'The server is shutting down.' }])
    expect(t.models.loads.get('org/a@main')!.watchers.size).toBe(0)
  })

  test('unload_model: in memory, not there, pinned', async () => {
    await using t = await serve(transport, ['org/a', 'org/b'])
    t.models.pinned.add('org/b@main')
    const done = await t.send('/unload_model', { model: 'org/a' })
    expect([done.status, json(done.text)]).toEqual([200, { status: 'ok', model: 'org/a' }])
    const again = await t.send('/unload_model', { model: 'org/a' })
    expect([again.status, json(again.text)]).toMatchObject([404, { error: { code: 'model_not_found', param: 'model' } }])
    const pinned = await t.send('/unload_model', { model: 'org/b' })
    expect([pinned.status, json(pinned.text)]).toMatchObject([400, { detail: "'org/b' is pinned." }])
    expect(t.models.loaded.size).toBe(1)
  })

  test('reset, with a body and without', async () => {
    await using t = await serve(transport, ['org/a', 'org/b', 'org/c'])
    t.models.pinned.add('org/b@main')
    const reply = await request(t.port, 'POST', '/reset')
    expect([reply.status, reply.text]).toEqual([200, '{"status":"ok"}'])
    expect([...t.models.loaded.keys()]).toEqual(['org/b@main'])
    expect((await t.send('/reset', {})).status).toBe(200)
    expect((await request(t.port, 'GET', '/reset')).status).toBe(405)
  })

  test('models: loaded ones first, then the cache, fresh on each call', async () => {
    await using t = await serve(transport, ['org/a'])
    const row = (id: string) => ({ owned_by: 'org', id, object: 'model' as const, created: 7 })
    t.models.cached = [row('org/b'), row('org/b@v2'), row('org/c:x.Q4_K_M.gguf'), row('org/c@v2:x.Q4_K_M.gguf')]
    const list = async () => (json((await request(t.port, 'GET', '/v1/models')).text) as { data: { id: string; loaded?: true }[] }).data
    expect((await list()).map(({ id, loaded }) => [id, loaded])).toEqual([
      ['org/a', true],
      ['org/b', undefined],
      ['org/b@v2', undefined],
      ['org/c:x.Q4_K_M.gguf', undefined],
      ['org/c@v2:x.Q4_K_M.gguf', undefined],
    ])
    for (const [asked, id] of [
      ['org/a', 'org/a'],
      ['org/a@main', 'org/a'],
      ['org%2Fb', 'org/b'],
      ['org/b@v2', 'org/b@v2'],
      ['org/b%40v2', 'org/b@v2'],
      ['org/c:x.Q4_K_M.gguf', 'org/c:x.Q4_K_M.gguf'],
      ['org/c@main:x.Q4_K_M.gguf', 'org/c:x.Q4_K_M.gguf'],
      ['org%2Fc%40v2%3Ax.Q4_K_M.gguf', 'org/c@v2:x.Q4_K_M.gguf'],
    ]) {
      const { status, text } = await request(t.port, 'GET', `/v1/models/${asked}`)
      expect([asked, status, (json(text) as { id: string }).id]).toEqual([asked, 200, id])
    }
    for (const asked of ['org/d', 'org/b@v3', 'org/c', 'org/c:y.gguf', '..%2f..%2fetc', 'org/b/']) {
      expect([asked, (await request(t.port, 'GET', `/v1/models/${asked}`)).status]).toEqual([asked, 404])
    }
    t.models.cached = []
    expect(await list()).toHaveLength(1)
  })

  test('many who ask at once share a scan, and none gets one older than its question', async () => {
    await using t = await serve(transport, ['org/a'])
    let finish: () => void = () => undefined
    t.models.scanning = new Promise<void>((resolve) => (finish = resolve))
    const first = request(t.port, 'GET', '/v1/models')
    await until(() => t.models.scans === 1, 'a scan')
    t.models.cached = [{ owned_by: 'org', id: 'org/new', object: 'model', created: 7 }]
    const others = Array.from({ length: 20 }, () => request(t.port, 'GET', '/v1/models'))
    await sleep(50)
    expect(t.models.scans).toBe(1)
    finish()
    expect((await first).text).not.toContain('org/new')
    for (const { text } of await Promise.all(others)) expect(text).toContain('org/new')
    expect(t.models.scans).toBe(2)
  })

  test('a server with nothing in memory is healthy', async () => {
    await using t = await serve(transport)
    expect((await request(t.port, 'GET', '/health')).text).toBe('{"status":"ok"}')
    expect(json((await request(t.port, 'GET', '/v1/models')).text)).toEqual({ object: 'list', data: [] })
    const { status, text } = await request(t.port, 'GET', '/metrics')
    expect(status).toBe(200)
    expect(text).toContain('tfserve_models_loaded 0\n')
    expect(text).not.toContain('model=')
  })

  test('metrics: a row a model, and what became of others', async () => {
    await using t = await serve(transport, ['org/a', 'org/b'])
    void t.models.watchLoad('org/cold', () => undefined)
    await post(t.port, { messages: hello, model: 'org/b' })
    const { text } = await request(t.port, 'GET', '/metrics')
    for (const line of [
      'tfserve_models_loaded 2',
      'tfserve_model_ready{model="org/a@main"} 1',
      'tfserve_model_ready{model="org/cold@main"} 0',
      'tfserve_model_state{model="org/cold@main",state="loading"} 1',
      'tfserve_model_state{model="org/cold@main",state="ready"} 0',
      'tfserve_model_requests{model="org/a@main"} 0',
      'tfserve_engine_output_tokens_total{model="org/a@main"} 0',
      'tfserve_engine_output_tokens_total{model="org/b@main"} 7',
      'tfserve_model_loads_total{outcome="ready"} 3',
      'tfserve_model_loads_total{outcome="failed"} 1',
      'tfserve_model_load_seconds_sum 4.5',
      'tfserve_model_load_seconds_count 3',
      'tfserve_model_unloads_total{reason="evicted"} 2',
      'tfserve_requests_waiting_for_model 0',
    ]) {
      expect(text).toContain(`\n${line}\n`)
    }
    expect(text.match(/^# TYPE tfserve_engine_output_tokens_total /gm)).toHaveLength(1)
  })
})
