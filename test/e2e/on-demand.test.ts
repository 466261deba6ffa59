// The real command with models on demand, against a Hub of this machine and a cache that begins empty.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { cp, mkdir, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { LoadEvent } from '../../src/server/model-directory.js'
import { eventually, isAlive, runCommandWith, ServerProcess, startCommand } from '../support/cli.js'
import { HubServer } from '../support/hub-server.js'

const demo = fileURLToPath(new URL('../../models/tfserve-demo', import.meta.url))
const files = Object.fromEntries(
  readdirSync(demo)
    .filter((name) => name !== 'README.md')
    .map((name) => [name, readFileSync(join(demo, name))]),
)

interface Completion {
  model: string
  choices: { message: { content: string } }[]
  error?: { code: string; message: string }
}

let hub: HubServer
let home: string

beforeEach(async () => {
  hub = await HubServer.start()
  hub.add('org/a', files)
  hub.add('org/b', files)
  home = mkdtempSync(join(tmpdir(), 'tfserve-on-demand-'))
})

afterEach(async () => {
  await hub[Symbol.asyncDispose]()
  rmSync(home, { recursive: true, force: true })
})

const env = () => ({ HF_ENDPOINT: hub.endpoint, HF_HOME: home, HF_HUB_OFFLINE: '', HF_HUB_CACHE: '', HF_TOKEN: '', HF_TOKEN_PATH: '' })
const start = (...args: string[]) => ServerProcess.startWith(env(), 'serve', ...args)
const ask = { messages: [{ role: 'user', content: 'Hello' }], temperature: 0, max_tokens: 8 }

async function chat(server: ServerProcess, model?: string): Promise<{ status: number; body: Completion }> {
  const response = await server.post('/v1/chat/completions', { ...ask, ...(model !== undefined && { model }) })
  return { status: response.status, body: (await response.json()) as Completion }
}

async function load(server: ServerProcess, model: string): Promise<LoadEvent[]> {
  const text = await (await server.post('/load_model', { model })).text()
  return text
    .split('\n\n')
    .filter((block) => block.startsWith('data: '))
    .map((block) => JSON.parse(block.slice(6)) as LoadEvent)
}

const loadedIds = async (server: ServerProcess): Promise<string[]> => {
  const { data } = (await (await server.get('/v1/models')).json()) as { data: { id: string; loaded?: boolean }[] }
  return data.filter(({ loaded }) => loaded).map(({ id }) => id)
}

test('as transformers chat does: load_model of a cold model with progress, then a chat', async () => {
  hub.deliver = (path) => (path.endsWith('.safetensors') ? { delayMs: 10, chunkBytes: 131_072 } : {})
  await using server = await start()
  expect((await server.get('/health')).status).toBe(200)
  expect(server.workers()).toHaveLength(0)
  const events = await load(server, 'org/a')
  expect(new Set(events.map(({ model }) => model))).toEqual(new Set(['org/a@main']))
  const stages = events.map((event) => (event.status === 'loading' ? event.stage : event.status))
  expect(stages.filter((stage, i) => stage !== stages[i - 1])).toEqual(['processor', 'config', 'download', 'weights', 'ready'])
  for (const stage of ['download', 'weights']) {
    const counts = events.flatMap((event) =>
      event.status === 'loading' && event.stage === stage && event.progress ? [event.progress] : [],
    )
    expect(counts.length).toBeGreaterThan(3)
    expect(counts.map(({ current }) => current)).toEqual(counts.map(({ current }) => current).sort((a, b) => a - b))
    expect(counts.at(-1)!.current).toBe(counts.at(-1)!.total)
  }
  expect(events.at(-1)).toEqual({ status: 'ready', model: 'org/a@main', cached: false })
  expect(await load(server, 'org/a@main')).toEqual([{ status: 'ready', model: 'org/a@main', cached: true }])

  const { status, body } = await chat(server, 'org/a')
  expect([status, body.model]).toEqual([200, 'org/a@main'])
  // the only model in memory needs no name
  expect((await chat(server)).body.model).toBe('org/a@main')
  expect(await loadedIds(server)).toEqual(['org/a'])
  expect((await server.get('/v1/models/org/a')).status).toBe(200)
  expect(server.stderr).toMatch(/'org\/a' at revision 'main' is being downloaded: [\d.]+ MiB in \d+ files\./)
  expect(server.stderr).toMatch(/'org\/a' at revision 'main' is in the cache after/)
  expect(server.stderr).toMatch(/org\/a.*loaded in/)
})

test('requests load what they name, one load for all; a name that is nowhere is an error and the server goes on', async () => {
  await using server = await start()
  const replies = await Promise.all(['org/a', 'org/b', 'org/a', 'org/b@main', 'org/a'].map((model) => chat(server, model)))
  expect(replies.map(({ status, body }) => [status, body.model])).toEqual([
    [200, 'org/a@main'],
    [200, 'org/b@main'],
    [200, 'org/a@main'],
    [200, 'org/b@main'],
    [200, 'org/a@main'],
  ])
  expect(server.workers()).toHaveLength(2)
  expect(hub.bodies('org/a').filter(({ host, url }) => host === 'store' && url.includes('safetensors'))).toHaveLength(1)
  for (const model of ['org/none', 'org/a@none', '../../etc/passwd', demo]) {
    const { status, body } = await chat(server, model)
    expect([model, status, body.error?.code]).toEqual([model, 404, 'model_not_found'])
  }
  const unnamed = await chat(server)
  expect([unnamed.status, unnamed.body.error?.code]).toEqual([400, 'model_required'])
  expect((await chat(server, 'org/b')).status).toBe(200)
})

test('--model-timeout: an idle model goes, with its process, and comes back when it is named', async () => {
  await using server = await start('--model-timeout', '1')
  expect((await chat(server, 'org/a')).status).toBe(200)
  const [worker] = server.workers()
  await eventually(() => !isAlive(worker!))
  await eventually(async () => (await loadedIds(server)).length === 0)
  expect((await server.get('/health')).status).toBe(200)
  expect((await chat(server, 'org/a')).status).toBe(200)
  const metrics = await (await server.get('/metrics')).text()
  expect(metrics).toContain('tfserve_model_unloads_total{reason="idle"} 1\n')
  expect(metrics).toContain('tfserve_model_loads_total{outcome="ready"} 2\n')
})

test('--max-loaded-models: one makes room for the other; unload_model and reset', async () => {
  await using server = await start('--max-loaded-models', '1')
  const names = ['org/a', 'org/b', 'org/a', 'org/b', 'org/a', 'org/b']
  const replies = await Promise.all(names.map((model) => chat(server, model)))
  expect(replies.map(({ body }) => body.model)).toEqual(names.map((name) => `${name}@main`))
  await eventually(() => server.workers().length === 1)
  const [last] = await loadedIds(server)
  const unloaded = await server.post('/unload_model', { model: last })
  expect([unloaded.status, await unloaded.json()]).toEqual([200, { status: 'ok', model: last }])
  expect(server.workers()).toHaveLength(0)
  expect((await server.post('/unload_model', { model: last })).status).toBe(404)
  await chat(server, 'org/a')
  expect(await (await server.post('/reset', {})).json()).toEqual({ status: 'ok' })
  expect(server.workers()).toHaveLength(0)
})

test('--force-model pins: the id with and without @main, nothing else', async () => {
  await using server = await ServerProcess.startWith(env(), 'serve', '--force-model', 'org/a', '--model-timeout', '1')
  for (const model of [undefined, 'org/a', 'org/a@main']) {
    expect((await chat(server, model)).body.model).toBe('org/a@main')
  }
  const { status, body } = await chat(server, 'org/b')
  expect([status, body.error?.message]).toEqual([400, "Server is pinned to 'org/a'; requested 'org/b'."])
  expect((await load(server, 'org/b')).at(-1)).toMatchObject({ status: 'error' })
  expect((await server.post('/unload_model', { model: 'org/a' })).status).toBe(400)
  expect((await server.post('/reset', {})).status).toBe(200)
  expect(server.workers()).toHaveLength(1)
  expect(await loadedIds(server)).toEqual(['org/a'])
})

test('--allow-local: paths inside, and none outside', async () => {
  const allowed = join(home, 'allowed')
  await mkdir(allowed)
  await cp(demo, join(allowed, 'mine'), { recursive: true })
  await cp(demo, join(home, 'other'), { recursive: true })
  await symlink(join(home, 'other'), join(allowed, 'link'))
  await using server = await start('--allow-local', allowed, '--allow-local', join(home, 'nothing-there'))
  expect((await chat(server, join(allowed, 'mine'))).status).toBe(200)
  for (const path of [join(home, 'other'), join(allowed, '..', 'other'), `${allowed}/../other`, join(allowed, 'link'), '/etc']) {
    const { status, body } = await chat(server, path)
    expect([path, status, body.error?.code]).toEqual([path, 404, 'model_not_found'])
  }
})

test('with no model and no `serve`: the demo is there, others come on demand', async () => {
  await using server = await ServerProcess.startWith(env())
  expect(await loadedIds(server)).toEqual(['tfserve-demo'])
  expect((await chat(server)).body.model).toBe('tfserve-demo@main')
  expect((await chat(server, 'org/a')).body.model).toBe('org/a@main')
  expect((await chat(server)).body.model).toBe('tfserve-demo@main')
})

test('ctrl-C while a model is on its way to a request, and again: the download goes on where it stopped', async () => {
  hub.deliver = (path) => (path.endsWith('.safetensors') ? { delayMs: 50, chunkBytes: 65_536 } : {})
  const server = await start('--drain-timeout', '1')
  const watched = load(server, 'org/a')
  const asked = chat(server, 'org/a')
  await eventually(() => hub.bodies('safetensors').length > 0)
  await new Promise((resolve) => setTimeout(resolve, 500))
  server.kill('SIGINT')
  expect((await watched).at(-1)).toMatchObject({ status: 'error', message: 'The server is shutting down.' })
  expect((await asked).status).toBe(503)
  expect((await server.ended).code).toBe(0)
  hub.deliver = () => ({})
  await using next = await start()
  expect((await chat(next, 'org/a')).status).toBe(200)
  expect(hub.bodies('safetensors').at(-1)!.range).toMatch(/^bytes=[1-9]/)
})

test('ctrl-C during the download at the start, and again', async () => {
  hub.deliver = (path) => (path.endsWith('.safetensors') ? { delayMs: 50, chunkBytes: 65_536 } : {})
  const first = startCommand(env(), 'org/a', '--port', '0', '--threads', '1')
  await eventually(() => hub.bodies('safetensors').length > 0)
  await new Promise((resolve) => setTimeout(resolve, 500))
  first.child.kill('SIGINT')
  const { code, stderr } = await first.ended
  expect(code).toBe(130)
  expect(stderr).not.toMatch(/\n\s+at /)
  hub.deliver = () => ({})
  await using server = await ServerProcess.startWith(env(), 'org/a')
  expect((await chat(server)).body.model).toBe('org/a@main')
})

test('a model on the command line that cannot be loaded ends the process; on demand the server stays', async () => {
  hub.add('org/broken', { ...files, 'model.safetensors': Buffer.from('not a safetensors file at all') })
  const pinned = await runCommandWith(env(), 'org/broken', '--port', '0', '--threads', '1')
  expect(pinned.code).toBe(1)
  expect(pinned.stderr).toMatch(/^tfserve: error: .+/m)
  expect(pinned.stderr).not.toMatch(/\n\s+at /)
  await using server = await start()
  const { status, body } = await chat(server, 'org/broken')
  expect(status).toBeGreaterThanOrEqual(400)
  expect(body.error!.message).not.toContain(home)
  expect((await chat(server, 'org/a')).status).toBe(200)
})
