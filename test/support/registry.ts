// A registry over processes that are none.
import type { LoadEvent, ModelLease } from '../../src/server/model-directory.js'
import { ModelRegistry, type RegistryOptions } from '../../src/models/registry.js'
import type { ResolvedModel } from '../../src/models/resolve.js'
import { FakeFleet } from './fake-process.js'

const realTimeout = globalThis.setTimeout

/** A model of the command line whose files are not looked at. */
export const madeUp = (id: string): ResolvedModel => ({ path: `/nonexistent/${id}`, id, revision: 'main', aliases: [], created: 1 })

/** Waits for what the file system and promises bring, whatever the clock of the test says. */
export async function until(holds: () => boolean, what = 'it'): Promise<void> {
  for (let round = 0; round < 2000; round++) {
    if (holds()) return
    await new Promise((resolve) => realTimeout(resolve, round < 100 ? 0 : 2))
  }
  throw new Error(`${what} did not come about`)
}

/** A millisecond, whatever the clock of the test says. */
export const realTurn = (): Promise<void> => new Promise((resolve) => realTimeout(resolve, 1))

/** Lets everything happen that does not take a timer. */
export async function settle(): Promise<void> {
  for (let round = 0; round < 20; round++) await new Promise((resolve) => realTimeout(resolve, 0))
}

export interface TestRegistry {
  registry: ModelRegistry
  fleet: FakeFleet
}

export function testRegistry(options: RegistryOptions = {}, loadMs?: number): TestRegistry {
  const fleet = new FakeFleet()
  fleet.loadMs = loadMs
  const env = { HF_HUB_CACHE: '/nonexistent', HF_HUB_OFFLINE: '1' }
  const registry = new ModelRegistry({ env, memoryLimit: 0, kvCacheMemory: 1000, launch: fleet.launch, ...options })
  return { registry, fleet }
}

export interface Watched {
  events: LoadEvent[]
  stop: () => void
}

export function watch(registry: ModelRegistry, name: string): Watched {
  const events: LoadEvent[] = []
  return { events, stop: registry.watchLoad(name, (event) => events.push(event)) }
}

/** A lease as it will be, for tests that look at it before it is there. */
export interface Asked {
  lease: ModelLease | undefined
  error: unknown
  done: Promise<void>
}

export function ask(registry: ModelRegistry, name: string | undefined, signal?: AbortSignal): Asked {
  const asked: Asked = { lease: undefined, error: undefined, done: Promise.resolve() }
  asked.done = registry.lease(name, signal).then(
    (lease) => void (asked.lease = lease),
    (error: unknown) => void (asked.error = error),
  )
  return asked
}
