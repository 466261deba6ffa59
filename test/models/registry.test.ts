// Who is loaded when: over processes that are none and, where time matters, a clock of the test.
import { afterEach, describe, expect, it, vi } from 'vitest'
import { RequestError } from '../../src/engine/types.js'
import { processBytes } from '../../src/models/memory-estimate.js'
import { WorkerStartError } from '../../src/models/supervisor.js'
import type { RegistryOptions } from '../../src/models/registry.js'
import { ask, madeUp, realTurn, settle, testRegistry, type TestRegistry, until, watch } from '../support/registry.js'

const open: TestRegistry[] = []
const local = ['a', 'b', 'c'].map(madeUp)

function make(options: RegistryOptions = {}, loadMs?: number): TestRegistry {
  const made = testRegistry({ local, ...options }, loadMs)
  open.push(made)
  return made
}

const fakeClock = () => vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] })

afterEach(async () => {
  vi.useRealTimers()
  await Promise.all(open.splice(0).map(({ registry }) => registry.close()))
})

describe('a load', () => {
  it('is one for all who ask at once, and they are served in order of arrival', async () => {
    const { registry, fleet } = make()
    const served: number[] = []
    const asked = Array.from({ length: 50 }, (_, at) => registry.lease('a').then(() => served.push(at)))
    await until(() => fleet.all.length > 0)
    await settle()
    expect(served).toEqual([])
    expect(registry.entries()).toMatchObject([{ name: { id: 'a' }, state: { phase: 'loading' }, leases: 0, pinned: false }])
    fleet.last('a').loaded()
    await Promise.all(asked)
    expect(served).toEqual(Array.from({ length: 50 }, (_, at) => at))
    expect(fleet.all).toHaveLength(1)
    expect(registry.entries()).toMatchObject([{ state: { phase: 'ready' }, leases: 50 }])
    expect(registry.counters()).toMatchObject({ loads: { ready: 1, failed: 0 } })
  })

  it('that fails is told to all who wait, and tried anew by the next request', async () => {
    const { registry, fleet } = make()
    const watched = watch(registry, 'a')
    const asked = Array.from({ length: 3 }, () => ask(registry, 'a'))
    await until(() => fleet.all.length > 0)
    await settle()
    fleet.last('a').fail(new WorkerStartError('model.safetensors is truncated.', 'failed'))
    await Promise.all(asked.map(({ done }) => done))
    const message = "'a' could not be loaded. model.safetensors is truncated."
    for (const { error } of asked) expect(error).toEqual(new RequestError('model_load_failed', message, 'model'))
    expect(watched.events.at(-1)).toEqual({ status: 'error', model: 'a@main', message })
    expect(registry.counters()).toMatchObject({ loads: { ready: 0, failed: 1 } })

    const again = ask(registry, 'a')
    await until(() => fleet.all.length === 2)
    fleet.last('a').loaded()
    await again.done
    expect(again.lease?.name).toMatchObject({ id: 'a', revision: 'main' })
  })

  it('that fails tells clients no place of this machine, and what cannot be run apart from what is broken', async () => {
    const { registry, fleet } = make()
    for (const [error, code, message] of [
      [
        new WorkerStartError("'/srv/secret/x' is gone.", 'failed'),
        'model_load_failed',
        "'a' could not be loaded. The server's log says why.",
      ],
      [new WorkerStartError('It was killed.'), 'model_load_failed', "'a' could not be loaded. The server's log says why."],
      [new WorkerStartError('No such family.', 'unsupported'), 'model_unsupported', "'a' could not be loaded. No such family."],
    ] as const) {
      const before = fleet.all.length
      const asked = ask(registry, 'a')
      await until(() => fleet.all.length > before)
      fleet.last('a').fail(error)
      await asked.done
      expect(asked.error).toMatchObject({ code, message })
    }
  })

  it('goes on when those who wait leave', async () => {
    const { registry, fleet } = make()
    const gone = new AbortController()
    const asked = ask(registry, 'a', gone.signal)
    const watched = watch(registry, 'a')
    await until(() => fleet.all.length > 0)
    watched.stop()
    gone.abort(new Error('the client left'))
    await asked.done
    expect(asked.error).toEqual(new Error('the client left'))
    fleet.last('a').loaded()
    await settle()
    expect(registry.entries()).toMatchObject([{ state: { phase: 'ready' }, leases: 0 }])
    expect(watched.events.map(({ status }) => status)).not.toContain('ready')
    expect((await registry.lease('a')).name.id).toBe('a')
    expect(fleet.all).toHaveLength(1)
  })

  it('is waited for within bounds of number and time', async () => {
    fakeClock()
    const { registry, fleet } = make({ maxWaiters: 2, loadTimeoutMs: 5000 })
    const asked = [ask(registry, 'a'), ask(registry, 'b')]
    await expect(registry.lease('a')).rejects.toMatchObject({ code: 'queue_full' })
    await until(() => fleet.all.length === 2)
    await vi.advanceTimersByTimeAsync(4999)
    expect(asked.map(({ error }) => error)).toEqual([undefined, undefined])
    await vi.advanceTimersByTimeAsync(1)
    await Promise.all(asked.map(({ done }) => done))
    for (const { error } of asked) expect(error).toMatchObject({ code: 'model_loading' })
    // they have left their places
    const next = ask(registry, 'a')
    fleet.last('a').loaded()
    await next.done
    expect(next.lease).toBeDefined()
  })
})

describe('those who watch a load', () => {
  it('are told its stages, each from when it joins, and one end', async () => {
    const { registry, fleet } = make()
    const first = watch(registry, 'a')
    await until(() => fleet.all.length > 0)
    const process = fleet.last('a')
    process.progress({ stage: 'processor' })
    process.progress({ stage: 'config' })
    process.progress({ stage: 'weights', current: 1, total: 3 })
    process.progress({ stage: 'weights', current: 2, total: 3 })
    const late = watch(registry, 'a')
    process.progress({ stage: 'weights', current: 3, total: 3 })
    process.progress({ stage: 'engine' })
    await settle()
    process.loaded()
    await until(() => first.events.at(-1)?.status === 'ready')
    const weights = (current: number) => ({ status: 'loading', model: 'a@main', stage: 'weights', progress: { current, total: 3 } })
    expect(first.events).toEqual([
      { status: 'loading', model: 'a@main', stage: 'processor' },
      { status: 'loading', model: 'a@main', stage: 'config' },
      weights(1),
      weights(2),
      weights(3),
      { status: 'ready', model: 'a@main', cached: false },
    ])
    expect(late.events).toEqual([weights(2), weights(3), { status: 'ready', model: 'a@main', cached: false }])
    expect(watch(registry, 'a').events).toEqual([{ status: 'ready', model: 'a@main', cached: true }])
    expect(fleet.all).toHaveLength(1)
  })

  it('one who cannot be told keeps nobody from it', async () => {
    const { registry, fleet } = make()
    const stop = registry.watchLoad('a', () => {
      throw new Error('a bug')
    })
    const asked = ask(registry, 'a')
    const other = watch(registry, 'a')
    await until(() => fleet.all.length > 0)
    fleet.last('a').loaded()
    await asked.done
    expect(asked.lease).toBeDefined()
    expect(other.events.at(-1)).toMatchObject({ status: 'ready' })
    stop()
  })

  it('are told an error for what is no name, and nothing after they left', async () => {
    const { registry, fleet } = make()
    const names = { '': '@main', 'a/b/c': 'a/b/c@main', '../../etc': '../../etc@main', 'org/name@x': 'org/name@x' }
    for (const [name, model] of Object.entries(names)) {
      const { events } = watch(registry, name)
      await until(() => events.at(-1)?.status === 'error')
      expect(events).toEqual([
        { status: 'loading', model, stage: 'processor' },
        { status: 'error', model, message: expect.any(String) as string },
      ])
    }
    const left = watch(registry, 'a')
    left.stop()
    await until(() => fleet.all.length > 0)
    fleet.last('a').progress({ stage: 'config' })
    fleet.last('a').loaded()
    await settle()
    expect(left.events).toEqual([])
  })
})

describe('the memory', () => {
  it('is bounded by a number of models: the least recently used idle one makes room', async () => {
    const { registry, fleet } = make({ maxLoadedModels: 2 }, 0)
    ;(await registry.lease('a')).release()
    ;(await registry.lease('b')).release()
    ;(await registry.lease('a')).release()
    ;(await registry.lease('c')).release()
    expect(
      registry
        .entries()
        .map(({ name }) => name.id)
        .sort(),
    ).toEqual(['a', 'c'])
    expect(fleet.of('b')[0]!.closes).toBe(1)
    expect(fleet.mostAlive).toBe(2)
    expect(registry.counters().unloads).toEqual({ idle: 0, asked: 0, evicted: 1 })
  })

  it('never loses a model that is busy; its new requests queue behind the newcomer', async () => {
    fakeClock()
    const { registry, fleet } = make({ maxLoadedModels: 1 }, 10)
    const load = async (name: string) => {
      const asked = ask(registry, name)
      await settle()
      await vi.advanceTimersByTimeAsync(10)
      await settle()
      return asked
    }
    const first = await load('a')
    const newcomer = ask(registry, 'b')
    await settle()
    // its turn is not over yet: it takes requests
    const second = ask(registry, 'a')
    await second.done
    await vi.advanceTimersByTimeAsync(2000)
    const third = ask(registry, 'a')
    await settle()
    expect(third.lease).toBeUndefined()
    expect(newcomer.lease).toBeUndefined()
    first.lease!.release()
    await settle()
    expect(fleet.of('a')[0]!.closes).toBe(0)
    second.lease!.release()
    second.lease!.release()
    await settle()
    expect(fleet.of('a')[0]!.closes).toBe(1)
    await vi.advanceTimersByTimeAsync(10)
    await newcomer.done
    expect(newcomer.lease?.name.id).toBe('b')
    expect(third.lease).toBeUndefined()
    newcomer.lease!.release()
    await settle()
    await vi.advanceTimersByTimeAsync(10)
    await third.done
    expect(third.lease?.name.id).toBe('a')
    expect(fleet.mostAlive).toBe(1)
  })

  it('lets a drained model go on working when the newcomer has left', async () => {
    fakeClock()
    const { registry, fleet } = make({ maxLoadedModels: 1 }, 10)
    const first = ask(registry, 'a')
    await settle()
    await vi.advanceTimersByTimeAsync(10)
    await first.done
    await vi.advanceTimersByTimeAsync(5000)
    const gone = new AbortController()
    const newcomer = ask(registry, 'b', gone.signal)
    await settle()
    const behind = ask(registry, 'a')
    await settle()
    expect(behind.lease).toBeUndefined()
    gone.abort(new Error('gone'))
    await newcomer.done
    await behind.done
    expect(behind.lease?.name.id).toBe('a')
    expect(fleet.all).toHaveLength(1)
  })

  it('tells those who watch a drained model that it is ready when the newcomer has left', async () => {
    fakeClock()
    const { registry } = make({ maxLoadedModels: 1 }, 10)
    const first = ask(registry, 'a')
    await settle()
    await vi.advanceTimersByTimeAsync(10)
    await first.done
    await vi.advanceTimersByTimeAsync(5000)
    const gone = new AbortController()
    const newcomer = ask(registry, 'b', gone.signal)
    await settle()
    const watched = watch(registry, 'a')
    await settle()
    expect(watched.events).toEqual([])
    gone.abort(new Error('gone'))
    await newcomer.done
    await settle()
    expect(watched.events).toEqual([{ status: 'ready', model: 'a@main', cached: true }])
    first.lease!.release()
    expect(await registry.unload('a')).toBe(true)
    expect(registry.entries()).toEqual([])
  })

  it('50 clients, three models, room for two: all are served, and no model is loaded more than fairness asks for', async () => {
    fakeClock()
    const { registry, fleet } = make({ maxLoadedModels: 2 }, 200)
    const rounds = 20
    let done = 0
    const waits: number[] = []
    const client = async (at: number): Promise<void> => {
      for (let round = 0; round < rounds; round++) {
        const begun = performance.now()
        const { name, model, release } = await registry.lease('abc'[at % 3])
        waits.push(performance.now() - begun)
        expect(name.id).toBe('abc'[at % 3])
        expect(model).toBe(fleet.last(name.id).text)
        await new Promise((resolve) => setTimeout(resolve, 50 + (at % 7) * 10))
        expect(fleet.last(name.id).phase).toBe('ready')
        release()
      }
      done++
    }
    const clients = Promise.all(Array.from({ length: 50 }, (_, at) => client(at)))
    const begun = performance.now()
    while (done < 50 && performance.now() - begun < 120_000) {
      await vi.advanceTimersByTimeAsync(10)
      // the file system has another clock
      await realTurn()
    }
    await clients
    expect(waits).toHaveLength(50 * rounds)
    expect(fleet.mostAlive).toBe(2)
    // each waits for a turn of another model at most: its second, the requests it holds, two loads
    expect(Math.max(...waits)).toBeLessThan(2000)
    expect(fleet.all.length).toBeGreaterThanOrEqual(3)
    expect(fleet.all.length).toBeLessThanOrEqual(7)
  })

  it('is bounded in bytes: what a model is known to take counts, and what it is seen to take', async () => {
    const own = processBytes + 1000
    const { registry, fleet } = make({ memoryLimit: 2 * own + 500 }, 0)
    ;(await registry.lease('a')).release()
    ;(await registry.lease('b')).release()
    expect(fleet.alive.size).toBe(2)
    expect(fleet.all.map(({ options }) => options.kvCacheMemory)).toEqual([1000, 1000])
    ;(await registry.lease('c')).release()
    expect([...fleet.alive].map(({ name }) => name.id)).toEqual(['b', 'c'])
    ;(await registry.lease('b')).release()
    fleet.last('b').residentBytes = own + 501
    // c is the least recently used, but b has grown: c alone would not be enough, and without b it may stay
    ;(await registry.lease('a')).release()
    expect([...fleet.alive].map(({ name }) => name.id)).toEqual(['c', 'a'])
  })

  it('refuses what can never fit before it is tried, with what to do', async () => {
    const { registry, fleet } = make({ memoryLimit: processBytes, kvCacheMemory: 2 ** 30 })
    const error: unknown = await registry.lease('a').catch((each: unknown) => each)
    expect(error).toMatchObject({ code: 'model_too_large', param: 'model' })
    expect((error as Error).message).toMatch(/^'a' needs at least \d+ MiB of memory .*; this server may use 112 MiB\. .*--memory-limit\.$/)
    const { events } = watch(registry, 'a')
    await until(() => events.length > 1)
    expect(events).toEqual([
      { status: 'loading', model: 'a@main', stage: 'processor' },
      { status: 'error', model: 'a@main', message: (error as Error).message },
    ])
    expect(fleet.all).toHaveLength(0)
    expect(registry.entries()).toEqual([])
  })

  it('gives a model a smaller KV cache where its weights leave no more', async () => {
    const { registry, fleet } = make({ memoryLimit: processBytes + 40 * 2 ** 20, kvCacheMemory: 2 ** 30 }, 0)
    await registry.lease('a')
    expect(fleet.last('a').options.kvCacheMemory).toBe(40 * 2 ** 20)
  })
})

describe('idleness', () => {
  const minute = 60_000

  it('is counted from the end of the last request, and never ends one that runs', async () => {
    fakeClock()
    const { registry, fleet } = make({ modelTimeoutSeconds: 300 }, 0)
    const asked = ask(registry, 'a')
    await settle()
    await vi.advanceTimersByTimeAsync(1)
    await asked.done
    await vi.advanceTimersByTimeAsync(20 * minute)
    const second = ask(registry, 'a')
    await second.done
    asked.lease!.release()
    await vi.advanceTimersByTimeAsync(20 * minute)
    expect(fleet.alive.size).toBe(1)
    second.lease!.release()
    await vi.advanceTimersByTimeAsync(4 * minute)
    const third = ask(registry, 'a')
    await third.done
    third.lease!.release()
    await vi.advanceTimersByTimeAsync(5 * minute - 1)
    expect(fleet.alive.size).toBe(1)
    await vi.advanceTimersByTimeAsync(1)
    await until(() => fleet.alive.size === 0)
    expect(registry.entries()).toEqual([])
    expect(registry.counters().unloads).toEqual({ idle: 1, asked: 0, evicted: 0 })
    const again = ask(registry, 'a')
    await settle()
    await vi.advanceTimersByTimeAsync(1)
    await again.done
    expect(fleet.all).toHaveLength(2)
  })

  it('also of a model that was loaded and never asked; -1: never', async () => {
    fakeClock()
    const { registry, fleet } = make({ modelTimeoutSeconds: 60 }, 0)
    const forever = make({ modelTimeoutSeconds: -1 }, 0)
    watch(registry, 'a')
    watch(forever.registry, 'a')
    await until(() => fleet.all.length === 1 && forever.fleet.all.length === 1)
    await vi.advanceTimersByTimeAsync(minute + 1)
    await until(() => fleet.alive.size === 0)
    await vi.advanceTimersByTimeAsync(30 * 24 * 60 * minute)
    expect(forever.fleet.alive.size).toBe(1)
  })
})

describe('a model that is told to go', () => {
  it('goes when its open requests have ended; who comes meanwhile gets the next load', async () => {
    const { registry, fleet } = make({}, 0)
    const held = await registry.lease('a')
    let gone: boolean | undefined
    const unloading = registry.unload('a').then((was) => (gone = was))
    const next = ask(registry, 'a')
    await settle()
    expect(gone).toBeUndefined()
    expect(next.lease).toBeUndefined()
    expect(fleet.alive.size).toBe(1)
    // others do not wait behind it
    ;(await registry.lease('b')).release()
    held.release()
    await unloading
    expect(gone).toBe(true)
    await next.done
    expect(next.lease?.model).toBe(fleet.of('a')[1]!.text)
    next.lease!.release()
    expect(await registry.unload('a@main')).toBe(true)
    expect(await registry.unload('a')).toBe(false)
    expect(await registry.unload('org/unknown')).toBe(false)
    expect(registry.counters().unloads.asked).toBe(2)
  })

  it('while it loads: at once when nobody waits, else after those who do', async () => {
    const { registry, fleet } = make()
    const watched = watch(registry, 'a')
    await until(() => fleet.all.length === 1)
    expect(await registry.unload('a')).toBe(true)
    expect(watched.events.at(-1)).toMatchObject({ status: 'error' })
    expect(fleet.alive.size).toBe(0)
    const asked = ask(registry, 'a')
    await until(() => fleet.all.length === 2)
    const unloading = registry.unload('a')
    await settle()
    fleet.last('a').loaded()
    await asked.done
    expect(asked.lease).toBeDefined()
    asked.lease!.release()
    expect(await unloading).toBe(true)
    expect(fleet.alive.size).toBe(0)
  })

  it('reset: all of them', async () => {
    const { registry, fleet } = make({}, 0)
    ;(await registry.lease('a')).release()
    const held = await registry.lease('b')
    let done = false
    const reset = registry.reset().then(() => (done = true))
    await until(() => fleet.alive.size === 1)
    expect(done).toBe(false)
    held.release()
    await reset
    expect(fleet.alive.size).toBe(0)
    expect(registry.health()).toEqual({ ok: true })
  })
})

describe('the end of the registry', () => {
  it('ends loads, waiting requests and watchers with one word, and all processes', async () => {
    const { registry, fleet } = make({}, undefined)
    const held = ask(registry, 'a')
    await until(() => fleet.all.length === 1)
    fleet.last('a').loaded()
    await held.done
    const asked = ask(registry, 'b')
    const watched = watch(registry, 'b')
    await until(() => fleet.all.length === 2)
    await registry.close()
    await asked.done
    expect(asked.error).toMatchObject({ code: 'shutting_down' })
    expect(watched.events.filter(({ status }) => status !== 'loading')).toEqual([
      { status: 'error', model: 'b@main', message: 'The server is shutting down.' },
    ])
    expect(fleet.alive.size).toBe(0)
    await expect(registry.lease('a')).rejects.toMatchObject({ code: 'shutting_down' })
    await expect(registry.lease('c')).rejects.toMatchObject({ code: 'shutting_down' })
    expect(registry.health()).toEqual({ ok: false, reason: 'shutting_down' })
    held.lease!.release()
    expect(fleet.all).toHaveLength(2)
  })

  it('reaches also those whose model was being looked for', async () => {
    const { registry, fleet } = make({}, 0)
    const asked = ask(registry, 'a')
    const watched = watch(registry, 'b')
    await registry.close()
    await asked.done
    expect(asked.error).toMatchObject({ code: 'shutting_down' })
    await until(() => watched.events.at(-1)?.status === 'error')
    expect(watched.events.at(-1)).toMatchObject({ message: 'The server is shutting down.' })
    expect(fleet.all).toEqual([])
    expect(registry.entries()).toEqual([])
  })
})
