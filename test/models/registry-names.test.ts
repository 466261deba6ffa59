// Which names mean which model: refs and commits of a cache, paths, the pinned model, and no name at all.
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { RegistryOptions } from '../../src/models/registry.js'
import { resolveModel } from '../../src/models/resolve.js'
import { canonicalName } from '../../src/protocol/model-names.js'
import { startServer } from '../../src/server/server.js'
import { request } from '../support/http-client.js'
import { madeUp, testRegistry, type TestRegistry, until, watch } from '../support/registry.js'

const one = '1'.repeat(40)
const two = '2'.repeat(40)
let root: string
let env: Record<string, string>
const open: TestRegistry[] = []

function put(path: string, text = '{}'): string {
  const full = join(root, path)
  mkdirSync(dirname(full), { recursive: true })
  writeFileSync(full, text)
  return full
}

function checkpoint(folder: string): void {
  put(`${folder}/config.json`, '{"architectures":["LlamaForCausalLM"],"torch_dtype":"bfloat16"}')
  put(`${folder}/tokenizer.json`)
  put(`${folder}/model.safetensors`, 'x'.repeat(1000))
}

beforeAll(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'tfserve-')))
  env = { HF_HUB_CACHE: join(root, 'hub'), HF_HUB_OFFLINE: '1' }
  const repository = 'hub/models--org--name'
  put(`${repository}/refs/main`, one)
  put(`${repository}/refs/v1`, one)
  put(`${repository}/refs/old`, two)
  checkpoint(`${repository}/snapshots/${one}`)
  checkpoint(`${repository}/snapshots/${two}`)
  put('hub/models--org--gguf/refs/main', one)
  put(`hub/models--org--gguf/snapshots/${one}/a.Q4_0.gguf`, 'GGUF')
  put(`hub/models--org--gguf/snapshots/${one}/a.Q8_0.gguf`, 'GGUF')
  put('hub/models--org--leaky/refs/main', one)
  checkpoint(`hub/models--org--leaky/snapshots/${one}`)
  symlinkSync('/etc/hostname', join(root, `hub/models--org--leaky/snapshots/${one}/chat_template.jinja`))
  put('hub/models--org--part/refs/main', one)
  put(`hub/models--org--part/snapshots/${one}/config.json`)
  checkpoint('allowed/checkpoint')
  checkpoint('allowed/leaky')
  symlinkSync('/etc/hostname', join(root, 'allowed/leaky/chat_template.jinja'))
  checkpoint('secret/checkpoint')
  put('secret/model.gguf', 'GGUF')
  symlinkSync(join(root, 'secret/checkpoint'), join(root, 'allowed/link'))
  symlinkSync(join(root, 'allowed/checkpoint'), join(root, 'allowed/inside'))
  put('allowed/model.gguf', 'GGUF')
  put('allowed/notes.txt')
})
afterAll(() => rmSync(root, { recursive: true, force: true }))
afterEach(() => Promise.all(open.splice(0).map(({ registry }) => registry.close())))

function make(options: RegistryOptions = {}): TestRegistry {
  const made = testRegistry({ env, ...options }, 0)
  open.push(made)
  return made
}

/** What a reply would be signed with. */
async function reply({ registry }: TestRegistry, name: string | undefined): Promise<string> {
  const { name: served, release } = await registry.lease(name)
  release()
  return canonicalName(served)
}

const refusal = async ({ registry }: TestRegistry, name: string | undefined): Promise<{ code: string; message: string }> => {
  const error: unknown = await registry.lease(name).catch((each: unknown) => each)
  expect(error).toBeInstanceOf(Error)
  return error as { code: string; message: string } & Error
}

describe('names of the cache', () => {
  it('a ref, another ref and their commit are one model; replies carry the name as asked', async () => {
    const made = make()
    expect(await reply(made, 'org/name')).toBe('org/name@main')
    expect(await reply(made, 'org/name@main')).toBe('org/name@main')
    expect(await reply(made, 'org/name@v1')).toBe('org/name@v1')
    expect(await reply(made, `org/name@${one}`)).toBe(`org/name@${one}`)
    expect(made.fleet.all.map(({ options }) => options.path)).toEqual([join(root, 'hub/models--org--name/snapshots', one)])
    expect(await reply(made, 'org/name@old')).toBe('org/name@old')
    expect(made.fleet.all).toHaveLength(2)
  })

  it('also when they are asked for at once, and when they are watched or unloaded', async () => {
    const made = make()
    const names = ['org/name', `org/name@${one}`, 'org/name@v1', 'org/name@main']
    expect(await Promise.all(names.map((name) => reply(made, name)))).toEqual([
      'org/name@main',
      `org/name@${one}`,
      'org/name@v1',
      'org/name@main',
    ])
    expect(made.fleet.all).toHaveLength(1)
    const { registry } = make()
    await registry.lease('org/name').then(({ release }) => release())
    const watched = watch(registry, `org/name@${one}`)
    await until(() => watched.events.length > 0)
    expect(watched.events).toEqual([{ status: 'ready', model: `org/name@${one}`, cached: true }])
    expect(await registry.unload('org/name@v1')).toBe(true)
    expect(registry.entries()).toEqual([])
  })

  it('a loaded model keeps its names when a ref moves on, and the new commit is another model', async () => {
    const made = make()
    put('hub/models--org--moving/refs/main', one)
    checkpoint(`hub/models--org--moving/snapshots/${one}`)
    await reply(made, 'org/moving')
    put('hub/models--org--moving/refs/main', two)
    checkpoint(`hub/models--org--moving/snapshots/${two}`)
    await reply(made, 'org/moving')
    expect(made.fleet.all).toHaveLength(1)
    await reply(made, `org/moving@${two}`)
    expect(made.fleet.all).toHaveLength(2)
    await made.registry.unload('org/moving')
    await reply(made, 'org/moving')
    expect(made.fleet.last('org/moving').options.path).toContain(two)
  })

  it('GGUF files of one repository are models of their own, by file or quantisation', async () => {
    const made = make()
    expect(await reply(made, 'org/gguf:a.Q4_0.gguf')).toBe('org/gguf@main:a.Q4_0.gguf')
    expect(await reply(made, 'org/gguf@main:a.Q4_0.gguf')).toBe('org/gguf@main:a.Q4_0.gguf')
    expect(await reply(made, 'org/gguf:Q4_0')).toBe('org/gguf@main:Q4_0')
    expect(await reply(made, `org/gguf@${one}:q4_0`)).toBe(`org/gguf@${one}:q4_0`)
    expect(made.fleet.all).toHaveLength(1)
    expect(await reply(made, 'org/gguf:Q8_0')).toBe('org/gguf@main:Q8_0')
    expect(made.fleet.all).toHaveLength(2)
    const rows = await made.registry.list()
    expect(rows.filter(({ id }) => id.startsWith('org/gguf')).map(({ id, loaded }) => [id, loaded])).toEqual([
      ['org/gguf:a.Q4_0.gguf', true],
      ['org/gguf:a.Q8_0.gguf', true],
    ])
  })

  it('a loaded one is found by GET /v1/models/{id} under each name that it goes by', async () => {
    const made = make()
    put('hub/models--org--single/refs/main', one)
    put(`hub/models--org--single/snapshots/${one}/b.Q4_0.gguf`, 'GGUF')
    const server = await startServer({ port: 0, models: made.registry })
    const rowOf = async (name: string) => {
      const { status, text } = await request(server.port, 'GET', `/v1/models/${encodeURIComponent(name)}`)
      return [status, (JSON.parse(text) as { id?: string }).id]
    }
    const names = {
      'org/single': 'org/single:b.Q4_0.gguf',
      'org/single@main': 'org/single:b.Q4_0.gguf',
      'org/gguf:Q4_0': 'org/gguf:a.Q4_0.gguf',
      [`org/gguf@${one}:a.Q4_0.gguf`]: 'org/gguf:a.Q4_0.gguf',
      'org/name@v1': 'org/name@v1',
      [`org/name@${one}`]: 'org/name@v1',
    }
    for (const [name, row] of Object.entries(names)) {
      await reply(made, name)
      expect([name, ...(await rowOf(name))]).toEqual([name, 200, row])
    }
    expect(await rowOf('org/name')).toEqual([200, 'org/name'])
    await server.close()
    rmSync(join(root, 'hub/models--org--single'), { recursive: true })
  })

  it('what is not there, not whole or leads out of the cache is refused without a path', async () => {
    const made = make()
    for (const name of ['org/none', 'org/name@nope', 'org/part', 'org/gguf:Q2_K', 'org/leaky', 'a/b/c', '../../etc', 'org/name@../../x']) {
      const { code, message } = await refusal(made, name)
      expect([name, code]).toEqual([name, 'model_not_found'])
      expect(message).not.toContain(root)
    }
    expect((await refusal(made, 'org/none')).message).toBe(
      "'org/none' at revision 'main' is not in the cache of this server, which downloads nothing: HF_HUB_OFFLINE is set.",
    )
    expect((await refusal(made, 'org/leaky')).message).toContain('leads out of the Hugging Face cache')
    expect(made.fleet.all).toHaveLength(0)
    expect(made.registry.entries()).toEqual([])
  })

  it('are listed anew each time, what is in memory first', async () => {
    const made = make({ local: [madeUp('mine')] })
    const ids = async () => (await made.registry.list()).map(({ id, loaded }) => (loaded ? `*${id}` : id))
    const cold = ['org/gguf:a.Q4_0.gguf', 'org/gguf:a.Q8_0.gguf', 'org/name', 'org/name@old', 'org/name@v1', 'mine']
    expect((await ids()).filter((id) => !id.startsWith('org/m'))).toEqual(cold)
    await reply(made, 'org/name@v1')
    expect((await ids()).slice(0, 3)).toEqual(['*org/name@v1', '*org/name', 'org/gguf:a.Q4_0.gguf'])
    put('hub/models--org--new/refs/main', one)
    checkpoint(`hub/models--org--new/snapshots/${one}`)
    expect(await ids()).toContain('org/new')
    rmSync(join(root, 'hub/models--org--new'), { recursive: true })
    expect(await ids()).not.toContain('org/new')
  })
})

describe('paths', () => {
  it('are served from the allowed directories, under the name as asked', async () => {
    const made = make({ allowLocal: [join(root, 'allowed')] })
    const path = join(root, 'allowed/checkpoint')
    expect(await reply(made, path)).toBe(`${path}@main`)
    expect(await reply(made, `${path}@main`)).toBe(`${path}@main`)
    expect(await reply(made, `${path}/../inside`)).toBe(`${path}/../inside@main`)
    expect(made.fleet.all.map(({ options }) => options.path)).toEqual([path])
    await reply(made, join(root, 'allowed/model.gguf'))
    expect(made.fleet.all).toHaveLength(2)
  })

  it('anywhere else there is nothing, whatever is there', async () => {
    const made = make({ allowLocal: [join(root, 'allowed')] })
    const outside = [
      'secret/checkpoint',
      'secret/model.gguf',
      'secret',
      'none',
      'allowed/link',
      'allowed/../secret/checkpoint',
      'allowed/none',
    ]
    const sentences = new Set<string>()
    for (const name of outside) {
      const path = `${root}/${name}`
      const { code, message } = await refusal(made, path)
      expect(code).toBe('model_not_found')
      sentences.add(message.replace(path, 'X'))
    }
    expect([...sentences]).toEqual([
      "There is no model at 'X' that requests may name. Paths are served from the directories given by --allow-local.",
    ])
    for (const name of ['/etc', '/etc/hostname', '~/x', './package.json', `${root}/allowed\0/x`]) {
      expect((await refusal(made, name)).code).toBe('model_not_found')
    }
    for (const name of ['allowed/leaky', 'allowed/notes.txt', 'allowed']) {
      expect([name, (await refusal(made, join(root, name))).code]).toEqual([name, 'model_not_found'])
    }
    const closed = make()
    expect((await refusal(closed, join(root, 'allowed/checkpoint'))).code).toBe('model_not_found')
    expect([...made.fleet.all, ...closed.fleet.all]).toEqual([])
  })
})

describe('no name', () => {
  it('means the only model in memory; else what there is is told', async () => {
    const made = make({ local: [madeUp('mine')] })
    for (const name of [undefined, '', 'dummy', 'tgi']) {
      const { code, message } = await refusal(made, name)
      expect(code).toBe('model_required')
      expect(message).toContain('In the cache: org/gguf:a.Q4_0.gguf')
    }
    await reply(made, 'org/name@v1')
    for (const name of [undefined, '', 'dummy', 'tgi']) expect(await reply(made, name)).toBe('org/name@v1')
    await reply(made, 'mine')
    const { code, message } = await refusal(made, undefined)
    expect(code).toBe('model_required')
    expect(message).toContain('In memory: org/name, mine.')
  })
})

describe('a pinned model', () => {
  it('goes by its names, its commit and none; anything else is the recorded refusal', async () => {
    const made = make({ pinned: await resolveModel('org/name', { env }), allowLocal: [join(root, 'allowed')], modelTimeoutSeconds: 1 })
    expect(made.registry.health()).toEqual({ ok: false, reason: 'model_loading' })
    await made.registry.start()
    expect(made.registry.health()).toEqual({ ok: true })
    for (const name of [undefined, '', 'dummy', 'org/name', 'org/name@main']) expect(await reply(made, name)).toBe('org/name@main')
    expect(await reply(made, `org/name@${one}`)).toBe(`org/name@${one}`)
    expect(await reply(made, 'org/name@v1')).toBe('org/name@v1')
    expect(made.fleet.all).toHaveLength(1)
    for (const name of ['other/x', 'org/name@old', 'org/gguf:Q4_0', join(root, 'allowed/checkpoint'), '/etc', 'x y']) {
      expect(await refusal(made, name)).toMatchObject({
        code: 'model_pinned',
        message: `Server is pinned to 'org/name'; requested '${name}'.`,
      })
    }
    const { events } = watch(made.registry, 'other/x')
    await until(() => events.length > 0)
    expect(events).toEqual([{ status: 'error', model: 'other/x@main', message: "Server is pinned to 'org/name'; requested 'other/x'." }])
    expect(made.registry.entries()).toMatchObject([{ name: { id: 'org/name' }, pinned: true, leases: 0 }])
    expect((await made.registry.list()).map(({ id, loaded }) => [id, loaded])).toEqual([['org/name', true]])
  })

  it('stays: it is neither unloaded nor reset nor idle', async () => {
    const made = make({ pinned: madeUp('mine'), modelTimeoutSeconds: 0.05 })
    await made.registry.start()
    await expect(made.registry.unload('mine')).rejects.toMatchObject({ code: 'model_pinned' })
    await expect(made.registry.unload('org/name')).rejects.toMatchObject({ code: 'model_pinned' })
    await made.registry.reset()
    await new Promise((resolve) => setTimeout(resolve, 150))
    expect(made.fleet.alive.size).toBe(1)
  })

  it('under another name for clients answers to both', async () => {
    const resolved = await resolveModel('org/name', { env })
    const made = make({ pinned: { ...resolved, id: 'house', aliases: ['org/name'] } })
    expect(await reply(made, 'house')).toBe('house@main')
    expect(await reply(made, 'org/name')).toBe('house@main')
    expect(await reply(made, `org/name@${one}`)).toBe(`org/name@${one}`)
  })

  it('is listed under the name that it was given, a GGUF file too', async () => {
    const resolved = await resolveModel('org/gguf:a.Q4_0.gguf', { env })
    const made = make({ pinned: { ...resolved, id: 'house', aliases: ['org/gguf:a.Q4_0.gguf'] } })
    const ids = async () => (await made.registry.list()).map(({ id }) => id)
    expect(await ids()).toEqual(['house'])
    await made.registry.start()
    const [listed] = await ids()
    expect(await reply(made, listed)).toBe('house@main')
  })
})
