// Models that come from a Hub on this machine when they are asked for.
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { processBytes } from '../../src/models/memory-estimate.js'
import type { RegistryOptions } from '../../src/models/registry.js'
import type { LoadEvent } from '../../src/server/model-directory.js'
import { HubServer } from '../support/hub-server.js'
import { ask, settle, testRegistry, type TestRegistry, until, watch } from '../support/registry.js'

let hub: HubServer
let cache: string
let env: Record<string, string>
const open: TestRegistry[] = []
const checkpoint = {
  'config.json': '{"architectures":["LlamaForCausalLM"]}',
  'tokenizer.json': '{}',
  'model.safetensors': randomBytes(400_000),
}

beforeEach(async () => {
  hub = await HubServer.start()
  cache = mkdtempSync(join(tmpdir(), 'tfserve-hub-'))
  env = { HF_HUB_CACHE: cache, HF_ENDPOINT: hub.endpoint, HF_HOME: join(cache, 'home') }
})
afterEach(async () => {
  await Promise.all(open.splice(0).map(({ registry }) => registry.close()))
  await hub[Symbol.asyncDispose]()
  rmSync(cache, { recursive: true, force: true })
})

function make(options: RegistryOptions = {}, loadMs: number | undefined = 0): TestRegistry {
  const made = testRegistry({ env, ...options }, loadMs)
  open.push(made)
  return made
}

const stagesOf = (events: readonly LoadEvent[]): string[] => [
  ...new Set(events.map((event) => (event.status === 'loading' ? event.stage : event.status))),
]

describe('a model that is not in the cache', () => {
  it('is downloaded once for all who ask, and told to all who watch', async () => {
    hub.add('org/name', checkpoint)
    hub.deliver = (path) => (path.endsWith('.safetensors') ? { delayMs: 5, chunkBytes: 20_000 } : {})
    const { registry, fleet } = make()
    const first = watch(registry, 'org/name')
    const asked = [ask(registry, 'org/name'), ask(registry, 'org/name@main')]
    await until(() => first.events.some((event) => event.status === 'loading' && event.stage === 'download'))
    expect(registry.entries()).toMatchObject([{ name: { id: 'org/name' }, state: { phase: 'loading' } }])
    const late = watch(registry, 'org/name@main')
    const leaving = watch(registry, 'org/name')
    leaving.stop()
    await Promise.all(asked.map(({ done }) => done))
    await until(() => late.events.at(-1)?.status === 'ready')
    expect(asked.map(({ lease }) => lease?.name.revision)).toEqual(['main', 'main'])
    expect(stagesOf(first.events)).toEqual(['processor', 'config', 'download', 'ready'])
    expect(stagesOf(late.events)).toEqual(['download', 'ready'])
    const bytes = first.events.flatMap((event) => (event.status === 'loading' && event.progress ? [event.progress] : []))
    expect(bytes.length).toBeGreaterThan(5)
    expect(new Set(bytes.map(({ total }) => total)).size).toBe(1)
    expect(bytes.map(({ current }) => current)).toEqual([...bytes.map(({ current }) => current)].sort((a, b) => a - b))
    expect(bytes.at(-1)).toEqual({ current: bytes[0]!.total, total: bytes[0]!.total })
    expect(hub.bodies('model.safetensors').filter(({ host }) => host === 'store')).toHaveLength(1)
    expect(fleet.all).toHaveLength(1)
    for (const { lease } of asked) lease!.release()
    expect(registry.counters()).toMatchObject({ loads: { ready: 1 } })
    expect(registry.counters().loadSeconds).toBeGreaterThan(0.02)
  })

  it('asked for by a ref and by its commit at once is one model', async () => {
    const commit = hub.add('org/name', checkpoint)
    const made = make()
    const leases = await Promise.all(['org/name', `org/name@${commit}`].map((name) => made.registry.lease(name)))
    expect(new Set(leases.map(({ model }) => model)).size).toBe(1)
    expect(leases.map(({ name }) => name.revision)).toEqual(['main', commit])
    expect(made.fleet.all).toHaveLength(1)
  })

  it('goes on coming when those who asked leave, and is not asked for again', async () => {
    hub.add('org/name', checkpoint)
    hub.deliver = (path) => (path.endsWith('.safetensors') ? { delayMs: 5, chunkBytes: 20_000 } : {})
    const { registry, fleet } = make()
    const gone = new AbortController()
    const asked = ask(registry, 'org/name', gone.signal)
    await until(() => hub.bodies('model.safetensors').length > 0)
    gone.abort(new Error('gone'))
    await asked.done
    expect(asked.error).toEqual(new Error('gone'))
    await until(() => registry.entries().length === 0)
    await registry.lease('org/name')
    expect(fleet.all).toHaveLength(1)
    expect(hub.bodies('model.safetensors').filter(({ host }) => host === 'store')).toHaveLength(1)
  })

  it('that the Hub does not give is an error with what to do, told to requests and watchers alike', async () => {
    hub.add('org/gated', checkpoint, { gated: true })
    hub.add('org/private', checkpoint, { private: true })
    hub.add('org/name', checkpoint)
    hub.add('org/pickle', { 'config.json': '{}', 'pytorch_model.bin': 'x' })
    const { registry, fleet } = make()
    for (const [name, sentence] of [
      ['org/none', /There is no repository 'org\/none'/],
      ['org/private', /private or gated/],
      ['org/gated', /is gated\. Accept its terms on .*HF_TOKEN/],
      ['org/name@v9', /has no revision 'v9'/],
      ['org/name:Q4_K_M', /has no GGUF files/],
      ['org/pickle', /safetensors or a GGUF file are needed/],
    ] as const) {
      const error: unknown = await registry.lease(name).catch((each: unknown) => each)
      expect(error).toMatchObject({ code: 'model_not_found', param: 'model', message: expect.stringMatching(sentence) as string })
      expect((error as Error).message).not.toContain(cache)
      const { events } = watch(registry, name)
      await until(() => events.at(-1)?.status === 'error')
      expect(events.at(-1)).toMatchObject({ message: (error as Error).message })
      expect(stagesOf(events)).toEqual(['processor', 'error'])
    }
    expect(fleet.all).toHaveLength(0)
    expect(registry.entries()).toEqual([])
    // it has appeared meanwhile
    hub.add('org/none', checkpoint)
    await registry.lease('org/none')
  })

  it('a Hub that cannot be reached is not the request’s fault; a token’s place is not told', async () => {
    const log: string[] = []
    const far = make({ env: { ...env, HF_ENDPOINT: 'http://127.0.0.1:1' } })
    await expect(far.registry.lease('org/name')).rejects.toMatchObject({ code: 'hub_unavailable' })
    hub.add('org/name', checkpoint)
    const { registry } = make({ token: 'hf_wrong', log: (_level, message) => log.push(message) })
    await expect(registry.lease('org/name')).rejects.toMatchObject({
      code: 'model_not_found',
      message: "The Hub does not accept this server's token; the server's log says which.",
    })
    expect(log.join()).toContain('--token')
  })

  it('is not downloaded where that is forbidden, nor when it cannot fit', async () => {
    hub.add('org/name', checkpoint)
    const none = make({ allowDownload: false })
    await expect(none.registry.lease('org/name')).rejects.toMatchObject({
      code: 'model_not_found',
      message: "'org/name' at revision 'main' is not in the cache of this server, which downloads nothing.",
    })
    expect(hub.requests).toEqual([])
    hub.deliver = () => ({ delayMs: 20, chunkBytes: 10_000 })
    const small = make({ memoryLimit: processBytes + 100_000 })
    await expect(small.registry.lease('org/name')).rejects.toMatchObject({ code: 'model_too_large' })
    const received = hub.bodies('model.safetensors').length
    await settle()
    expect(hub.bodies('model.safetensors')).toHaveLength(received)
    expect(small.fleet.all).toHaveLength(0)
  })

  it('of a kind that cannot be run is refused by its configuration, without its weights', async () => {
    hub.add('org/name', { ...checkpoint, 'config.json': '{"architectures":["NovelForCausalLM"]}' })
    const { registry, fleet } = make()
    await expect(registry.lease('org/name')).rejects.toMatchObject({
      code: 'model_unsupported',
      message: expect.stringMatching(
        /'org\/name' cannot be served: the architecture NovelForCausalLM .* GGUF .*LlamaForCausalLM/,
      ) as string,
    })
    expect(hub.bodies('model.safetensors')).toEqual([])
    expect(fleet.all).toHaveLength(0)
  })

  it('a shutdown ends the download; the next one goes on where it stopped', async () => {
    hub.add('org/name', checkpoint)
    hub.deliver = (path, attempt) => (path.endsWith('.safetensors') && attempt === 1 ? { delayMs: 20, chunkBytes: 40_000 } : {})
    const { registry } = make()
    const watched = watch(registry, 'org/name')
    const asked = ask(registry, 'org/name')
    await until(() =>
      watched.events.some((event) => event.status === 'loading' && event.stage === 'download' && event.progress!.current > 60_000),
    )
    await registry.close()
    await asked.done
    expect(asked.error).toMatchObject({ code: 'shutting_down' })
    expect(watched.events.filter(({ status }) => status !== 'loading')).toMatchObject([{ status: 'error' }])
    await make().registry.lease('org/name')
    expect(hub.bodies('model.safetensors').at(-1)!.range).toMatch(/^bytes=[1-9]/)
  })
})
