import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { BodyBudget, BodyCollector } from '../../src/server/transport/body-collector.js'
import { BodyTooLargeError } from '../../src/server/transport/types.js'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

function heldBytes(): number {
  collectGarbage()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

const text = (body: Uint8Array) => Buffer.from(body).toString()

describe('a body collector', () => {
  test('a body in pieces of one byte costs what a body at once does', async () => {
    const collector = new BodyCollector(4_000_000, new BodyBudget(4_000_000), undefined)
    const before = heldBytes()
    for (let i = 0; i < 1_000_000; i++) collector.add(new Uint8Array([i]))
    expect(heldBytes() - before).toBeLessThan(4_000_000)
    collector.finish()
    const body = await collector.use((bytes) => bytes)
    expect(body.length).toBe(1_000_000)
    expect(body.every((byte, i) => byte === (i & 255))).toBe(true)
  })

  test.each([undefined, '5', '3', '900'])('copies its chunks (announced: %s)', async (announced) => {
    const collector = new BodyCollector(1000, new BodyBudget(1000), announced)
    const chunk = Buffer.from('abc')
    collector.add(chunk)
    chunk.write('de ')
    collector.add(chunk.subarray(0, 2))
    chunk.fill(0)
    collector.finish()
    expect(await collector.use(text)).toBe('abcde')
  })

  test('gives the budget back after the reader, a failed one too, and after each refusal', async () => {
    const budget = new BodyBudget(10)
    const full = () => {
      const collector = new BodyCollector(10, budget, undefined)
      collector.add(new Uint8Array(10))
      return collector
    }
    const failing = full()
    failing.finish()
    const fault = new Error('a fault')
    await expect(failing.use(() => Promise.reject(fault))).rejects.toBe(fault)
    const refused = full()
    refused.add(new Uint8Array(1))
    await expect(refused.use(text)).rejects.toBeInstanceOf(BodyTooLargeError)
    full().abort()
    expect(budget.take(10)).toBe(true)
  })
})
