import { expect, test } from 'vitest'
import { Turn } from '../../src/server/turn.js'

const nextTurn = () => new Promise((resolve) => setImmediate(resolve))

test('a turn has one time, and its listeners are called once when it ends, in order', async () => {
  const faults: unknown[] = []
  const turn = new Turn((error) => faults.push(error))
  const called: [string, number][] = []
  const listener = (name: string) => ({ onTurnEnd: (now: number) => void called.push([name, now]) })
  const now = turn.now()
  turn.atEnd(listener('a'))
  // a deaf client's stream must not cost the others their text
  turn.atEnd({
    onTurnEnd() {
      turn.atEnd(listener('later'))
      throw new Error('fault')
    },
  })
  while (performance.now() === now);
  turn.atEnd(listener('b'))
  expect(turn.now()).toBe(now)
  expect(called).toEqual([])
  await nextTurn()
  expect(called.slice(0, 2)).toEqual([
    ['a', now],
    ['b', now],
  ])
  expect(called[2]?.[0]).toBe('later')
  expect(called[2]?.[1]).toBeGreaterThan(now)
  expect(called.length).toBe(3)
  expect(faults).toEqual([new Error('fault')])
  expect(turn.now()).toBeGreaterThan(now)
})
