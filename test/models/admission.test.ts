import { describe, expect, it } from 'vitest'
import { admit, type MemoryBounds, type Resident } from '../../src/models/admission.js'

type Named = Resident & { id: string }

const resident = (id: string, more: Partial<Resident> = {}): Named => ({
  id,
  bytes: 10,
  use: 'idle',
  pinned: false,
  draining: false,
  lastUsed: 0,
  turnEnds: 0,
  ...more,
})
const places = (models: number): MemoryBounds => ({ models, bytes: Infinity })
const room = (bytes: number): MemoryBounds => ({ models: Infinity, bytes })

/** What happens, in short. */
function decide(bytes: number, residents: readonly Named[], bounds: MemoryBounds, now = 100): unknown {
  const admission = admit(bytes, residents, bounds, now)
  if (admission.kind !== 'wait') return admission.kind
  const ids = (named: readonly Named[]): string => named.map(({ id }) => id).join('')
  const { again } = admission
  return { unload: ids(admission.unload), drain: ids(admission.drain), ...(again !== undefined && { again }) }
}

describe('who makes room', () => {
  it('nobody while there is room, by number and by bytes', () => {
    expect(decide(10, [resident('a')], places(2))).toBe('load')
    expect(decide(10, [resident('a')], room(20))).toBe('load')
    expect(decide(10, [resident('a')], { models: Infinity, bytes: Infinity })).toBe('load')
  })

  it('the least recently used idle one, before any that is busy', () => {
    const residents = [resident('a', { lastUsed: 3 }), resident('b', { lastUsed: 2 }), resident('c', { use: 'busy', lastUsed: 1 })]
    expect(decide(10, residents, places(3))).toEqual({ unload: 'b', drain: '' })
    expect(decide(20, residents, room(30))).toEqual({ unload: 'ba', drain: '' })
  })

  it('as many as are needed and no more', () => {
    const residents = [resident('a', { lastUsed: 1, bytes: 5 }), resident('b', { lastUsed: 2, bytes: 50 }), resident('c', { lastUsed: 3 })]
    // going by use alone, the small one would go for nothing
    expect(decide(50, residents, room(70))).toEqual({ unload: 'b', drain: '' })
  })

  it('busy ones are drained when the idle ones are not enough, the least recently used first, once their turn is over', () => {
    const busy = (id: string, lastUsed: number, turnEnds = 0): Named => resident(id, { use: 'busy', lastUsed, turnEnds })
    expect(decide(10, [busy('a', 2), busy('b', 1)], places(2))).toEqual({ unload: '', drain: 'b' })
    expect(decide(10, [busy('a', 2), busy('b', 1, 130)], places(2))).toEqual({ unload: '', drain: '', again: 130 })
    expect(decide(20, [busy('a', 1), resident('b', { lastUsed: 5 })], room(20))).toEqual({ unload: 'b', drain: 'a' })
  })

  it('one that is draining already goes on, one that is leaving or loading is waited for', () => {
    const draining = resident('a', { use: 'busy', draining: true, lastUsed: 9, turnEnds: 999 })
    expect(decide(10, [draining, resident('b', { use: 'busy' })], places(2))).toEqual({ unload: '', drain: 'a' })
    expect(decide(10, [{ ...draining, use: 'idle' }, resident('b')], places(2))).toEqual({ unload: 'a', drain: '' })
    expect(decide(10, [resident('a', { use: 'leaving' }), resident('b')], places(2))).toEqual({ unload: '', drain: '' })
    expect(decide(10, [resident('a', { use: 'loading' })], places(1))).toEqual({ unload: '', drain: '' })
  })

  it('never: what is too large, alone or beside what is pinned', () => {
    expect(decide(31, [], room(30))).toBe('never')
    expect(decide(21, [resident('a', { pinned: true })], room(30))).toBe('never')
    expect(decide(10, [resident('a', { pinned: true })], places(1))).toBe('never')
  })

  it('of any residents: the pinned stay, and with those gone that go the newcomer fits', () => {
    let seed = 1
    const random = (below: number): number => {
      seed = (seed * 1103515245 + 12345) % 2 ** 31
      return Math.floor((seed / 2 ** 31) * below)
    }
    const uses = ['idle', 'busy', 'loading', 'leaving'] as const
    const seen = new Set<string>()
    for (let round = 0; round < 3000; round++) {
      const residents = Array.from({ length: random(6) }, (_, at) =>
        resident(String(at), {
          bytes: random(20),
          use: uses[random(4)]!,
          pinned: random(5) === 0,
          draining: random(4) === 0,
          lastUsed: random(10),
          turnEnds: random(200),
        }),
      )
      const bytes = random(30)
      const bounds = { models: 1 + random(5), bytes: 10 + random(60) }
      const fits = (others: readonly Named[]): boolean =>
        others.length + 1 <= bounds.models && others.reduce((sum, other) => sum + other.bytes, bytes) <= bounds.bytes
      const admission = admit(bytes, residents, bounds, 100)
      seen.add(admission.kind)
      expect(admission.kind === 'load').toBe(fits(residents))
      expect(admission.kind === 'never').toBe(!fits(residents.filter(({ pinned }) => pinned)))
      if (admission.kind !== 'wait') continue
      const { unload, drain } = admission
      expect([...unload, ...drain].some(({ pinned }) => pinned)).toBe(false)
      expect(unload.every(({ use }) => use === 'idle') && drain.every(({ use }) => use === 'busy')).toBe(true)
      const going = new Set([
        ...unload,
        ...drain,
        ...residents.filter(({ use, pinned }) => !pinned && (use === 'leaving' || use === 'loading')),
      ])
      const held = residents.filter(({ use, pinned, draining, turnEnds }) => !pinned && use === 'busy' && !draining && turnEnds > 100)
      if (admission.again === undefined) expect(fits(residents.filter((each) => !going.has(each)))).toBe(true)
      else expect(held.map(({ turnEnds }) => turnEnds)).toContain(admission.again)
    }
    expect([...seen].sort()).toEqual(['load', 'never', 'wait'])
  })
})
