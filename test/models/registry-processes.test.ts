// The registry over processes that are some: scripted workers, and two real models whose memory comes back.
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { type AnyModel, requireSpeechModel, requireTextModel } from '../../src/engine/model-kinds.js'
import type { TranscriptionDelta } from '../../src/engine/speech-types.js'
import type { GenerateRequest } from '../../src/engine/types.js'
import { ModelRegistry, type RegistryOptions } from '../../src/models/registry.js'
import { type ResolvedModel, resolveModel } from '../../src/models/resolve.js'
import { SupervisedModel } from '../../src/models/supervisor.js'
import { until, watch } from '../support/registry.js'

const workerEntry = fileURLToPath(new URL('../support/scripted-worker.mjs', import.meta.url))
const open: ModelRegistry[] = []
const folders: string[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((registry) => registry.close()))
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

/** A model whose worker does what the path says. */
const scripted = (id: string, path: string): ResolvedModel => ({ path, id, revision: 'main', aliases: [], created: 1 })

interface Started {
  registry: ModelRegistry
  processes: SupervisedModel[]
}

function start(options: RegistryOptions): Started {
  const processes: SupervisedModel[] = []
  const registry = new ModelRegistry({
    env: { HF_HUB_CACHE: '/nonexistent', HF_HUB_OFFLINE: '1' },
    launch: (name, engine) => {
      const process = new SupervisedModel(name, engine, {
        ...options.supervisor,
        restart: { firstDelayMs: 10, maxDelayMs: 20, maxRestarts: 2 },
      })
      processes.push(process)
      return process
    },
    ...options,
  })
  open.push(registry)
  return { registry, processes }
}

const request = (text: string): GenerateRequest => ({ input: { kind: 'text', text }, params: { max_new_tokens: 8, do_sample: false } })

async function generate(leased: AnyModel, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = ''
    requireTextModel(leased)
      .start(request(text), (delta) => {
        answer += delta.text
        if (delta.finishReason) resolve(delta.error ? delta.error.code : answer)
      })
      .catch(reject)
  })
}

describe('over scripted workers', () => {
  const local = [
    scripted('ok', 'ok'),
    scripted('slow', 'slow 300'),
    scripted('fail', 'fail'),
    scripted('exit', 'exit'),
    scripted('speech', 'speech'),
  ]

  it('loads, generates, tells why a load failed, and tries it anew', async () => {
    const { registry, processes } = start({ local, supervisor: { workerEntry } })
    const { model, release } = await registry.lease('ok')
    expect(await generate(model, 'count 3')).toBe('0 1 2 ')
    release()
    for (const attempt of [2, 3]) {
      await expect(registry.lease('fail')).rejects.toMatchObject({
        code: 'model_load_failed',
        message: "'fail' could not be loaded. There is no such model.",
      })
      expect(processes).toHaveLength(attempt)
    }
    await expect(registry.lease('exit')).rejects.toMatchObject({
      code: 'model_load_failed',
      message: "'exit' could not be loaded. The server's log says why.",
    })
    expect(registry.entries().map(({ name }) => name.id)).toEqual(['ok'])
  })

  it('a crash keeps the place and the charge of the model, its next request waits until it is back', async () => {
    const { registry, processes } = start({ local, maxLoadedModels: 1, supervisor: { workerEntry } })
    const held = await registry.lease('ok')
    expect(await generate(held.model, 'kill')).toBe('model_crashed')
    expect(registry.health()).toEqual({ ok: false, reason: 'cb_worker_dead' })
    expect(registry.entries()).toMatchObject([{ name: { id: 'ok' }, state: { phase: 'restarting' }, leases: 1 }])
    const next = await registry.lease('ok')
    expect(await generate(next.model, 'count 2')).toBe('0 1 ')
    expect(registry.health()).toEqual({ ok: true })
    expect(processes).toHaveLength(1)
    held.release()
    next.release()
    await registry.lease('slow').then(({ release }) => release())
    expect(registry.entries().map(({ name }) => name.id)).toEqual(['slow'])
  })

  it('one that keeps dying is down for its own requests, and makes room for others', async () => {
    const { registry } = start({ local, maxLoadedModels: 1, supervisor: { workerEntry } })
    for (let death = 0; death < 3; death++) {
      const { model, release } = await registry.lease('ok')
      expect(await generate(model, 'kill')).toBe('model_crashed')
      release()
    }
    await vi.waitFor(() => expect(registry.entries()[0]?.state.phase).toBe('failed'))
    await expect(registry.lease('ok')).rejects.toMatchObject({ code: 'model_crashed' })
    expect((await registry.lease('slow')).name.id).toBe('slow')
  })

  it('a speech model is leased, crashes and comes back like any other', async () => {
    const { registry } = start({ local, supervisor: { workerEntry } })
    const { model, release } = await registry.lease('speech')
    expect(() => requireTextModel(model)).toThrow('/v1/audio/transcriptions')
    const last = Promise.withResolvers<TranscriptionDelta>()
    const audio = { path: '/nonexistent' }
    const speech = requireSpeechModel(model)
    await speech.transcribe({ audio, prompt: 'kill' }, (delta) => delta.finishReason && last.resolve(delta))
    expect(await last.promise).toMatchObject({ position: 1, finishReason: 'error', error: { code: 'model_crashed' } })
    release()
    const again = await registry.lease('speech')
    expect(await requireSpeechModel(again.model).transcribe({ audio }, () => undefined)).toMatchObject({ language: 'en' })
    again.release()
  })

  it('a shutdown in the middle of a load ends the process and whoever waits', async () => {
    const { registry, processes } = start({ local, supervisor: { workerEntry } })
    const waiting = registry.lease('slow')
    await until(() => processes[0]?.pid !== undefined)
    const { pid } = processes[0]!
    await Promise.all([expect(waiting).rejects.toMatchObject({ code: 'shutting_down' }), registry.close()])
    expect(() => process.kill(pid!, 0)).toThrow('ESRCH')
  })
})

/** Resident bytes of this process and all its descendants. */
function residentOfTree(): number {
  const table = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const status = readFileSync(`/proc/${name}/status`, 'utf8')
        const field = (key: string): number => Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0)
        return [{ pid: Number(name), parent: field('PPid'), bytes: field('VmRSS') * 1024 }]
      } catch {
        return [] // it has just ended
      }
    })
  const family = new Set([process.pid])
  for (let size = 0; size !== family.size;) {
    size = family.size
    for (const { pid, parent } of table) if (family.has(parent)) family.add(pid)
  }
  return table.filter(({ pid }) => family.has(pid)).reduce((sum, { bytes }) => sum + bytes, 0)
}

describe.skipIf(process.platform !== 'linux')('over real models', () => {
  it('two are loaded, told tensor by tensor, generate, and give all memory back', async () => {
    const demo = await resolveModel(undefined)
    const folder = mkdtempSync(join(tmpdir(), 'tfserve-'))
    folders.push(folder)
    cpSync(demo.path, join(folder, 'copy'), { recursive: true })
    const { registry } = start({ local: [demo], allowLocal: [folder], engine: { threads: 1 }, modelTimeoutSeconds: 1 })
    const baseline = residentOfTree()
    const names = [demo.id, join(folder, 'copy')]
    const watched = names.map((name) => watch(registry, name))
    const leases = await Promise.all(names.map((name) => registry.lease(name)))
    for (const { events } of watched) {
      await until(() => events.at(-1)?.status === 'ready')
      const weights = events.flatMap((event) => (event.status === 'loading' && event.stage === 'weights' ? [event.progress!] : []))
      expect(weights.length).toBeGreaterThan(5)
      expect(weights.at(-1)).toEqual({ current: weights[0]!.total, total: weights[0]!.total })
    }
    const answers = await Promise.all(leases.map(({ model }) => generate(model, 'Hello')))
    expect(answers[0]).not.toBe('')
    expect(answers[0]).toBe(answers[1])
    const loaded = residentOfTree() - baseline
    expect(loaded).toBeGreaterThan(2 * 40 * 2 ** 20)
    for (const { release } of leases) release()
    await vi.waitFor(() => expect(registry.entries()).toEqual([]), { timeout: 10_000, interval: 50 })
    // what is left is what the test's own process has grown by
    await vi.waitFor(() => expect(residentOfTree() - baseline).toBeLessThan(loaded / 4), { timeout: 10_000, interval: 50 })
    expect(registry.counters()).toMatchObject({ loads: { ready: 2, failed: 0 }, unloads: { idle: 2 } })
  })

  it('what cannot be run is told apart from what is broken', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tfserve-'))
    folders.push(folder)
    const demo = await resolveModel(undefined)
    const foreign = join(folder, 'foreign')
    const broken = join(folder, 'broken')
    for (const copy of [foreign, broken]) cpSync(demo.path, copy, { recursive: true })
    const config = JSON.parse(readFileSync(join(foreign, 'config.json'), 'utf8')) as object
    writeFileSync(join(foreign, 'config.json'), JSON.stringify({ ...config, architectures: ['NoSuchForCausalLM'] }))
    truncateSync(join(broken, 'model.safetensors'), 100_000)
    const { registry } = start({ allowLocal: [folder], engine: { threads: 1 } })
    await expect(registry.lease(foreign)).rejects.toMatchObject({ code: 'model_unsupported' })
    await expect(registry.lease(broken)).rejects.toMatchObject({ code: 'model_load_failed' })
  })
})
