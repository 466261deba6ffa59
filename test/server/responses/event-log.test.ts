import { describe, expect, it, vi } from 'vitest'
import type { Call } from '../../../src/server/call.js'
import { EventLog, eventText } from '../../../src/server/responses/event-log.js'
import { EventReader } from '../../../src/server/responses/event-reader.js'
import { LogBudget } from '../../../src/server/responses/log-budget.js'
import { Turn } from '../../../src/server/turn.js'

const maxBytes = 1 << 30
const event = (sequence_number: number, text: string) => ({ type: 'delta', sequence_number, text })

/** A log and everything that was ever added to it. */
class Written {
  readonly log: EventLog
  readonly all: string[] = []
  constructor(budget: LogBudget, bytes = maxBytes) {
    this.log = new EventLog({ maxBytes: bytes, budget })
  }
  add(text: string): void {
    const next = event(this.all.length, text)
    this.all.push(eventText(next))
    this.log.add(next)
  }
  /** Whether it holds the latest events without a gap. */
  check(): void {
    expect(this.log.next).toBe(this.all.length)
    expect(this.log.first).toBeLessThan(Math.max(this.log.next, 1))
    expect(this.log.text).toBe(this.all.slice(this.log.first).join(''))
    expect(this.log.read(this.log.first, Infinity)).toEqual({ text: this.log.text, next: this.log.next })
  }
}

describe('event logs', () => {
  it('share a budget: whatever is added, they hold no more, and each its latest events', () => {
    const limit = 200_000
    const budget = new LogBudget(limit)
    let logs: Written[] = []
    let state = 1
    const random = (n: number): number => ((state = (state * 1103515245 + 12345) & 0x7fffffff) >> 8) % n
    for (let round = 0; round < 20_000; round++) {
      if (logs.length < 12 && random(50) === 0) logs.push(new Written(budget))
      if (logs.length === 0) continue
      const one = logs[random(logs.length)]!
      one.add((random(9) === 0 ? '\u4e16' : 'x').repeat(random(900)))
      expect(budget.bytes).toBeLessThanOrEqual(limit)
      expect(budget.bytes).toBe(logs.reduce((sum, { log }) => sum + log.bytes, 0))
      if (round % 50 === 0) for (const each of logs) each.check()
      if (random(400) === 0) {
        one.log.end()
        logs = logs.filter((each) => each !== one)
      }
    }
    expect(logs.some(({ log }) => log.first > 0)).toBe(true)
    for (const { log } of logs) log.end()
    expect(budget.bytes).toBe(0)
  })

  it('the largest gives way, a small one stays whole', () => {
    const budget = new LogBudget(100_000)
    const [small, large, larger] = [new Written(budget), new Written(budget), new Written(budget)]
    for (let i = 0; i < 10; i++) small.add('s'.repeat(500))
    for (let i = 0; i < 200; i++) {
      large.add('l'.repeat(500))
      larger.add('m'.repeat(1500))
    }
    for (const each of [small, large, larger]) each.check()
    expect(small.log.first).toBe(0)
    // both want more than their share, and so have about the same
    expect(Math.abs(large.log.bytes - larger.log.bytes)).toBeLessThan(5000)
    expect(budget.bytes).toBeGreaterThan(90_000)
  })

  it('keep within their own bound, too', () => {
    const budget = new LogBudget(maxBytes)
    const one = new Written(budget, 10_000)
    for (let i = 0; i < 100; i++) one.add('x'.repeat(i * 10))
    one.check()
    expect(one.log.bytes).toBeLessThanOrEqual(10_000)
    expect(one.log.first).toBeGreaterThan(0)
    one.add('x'.repeat(50_000))
    one.check()
    expect(one.log.next - one.log.first).toBe(1)
  })

  it('count text by what it takes of memory', () => {
    const budget = new LogBudget(maxBytes)
    const [narrow, wide] = [new Written(budget), new Written(budget)]
    narrow.add('x'.repeat(10_000))
    wide.add('\u4e16'.repeat(10_000))
    expect(wide.log.bytes - narrow.log.bytes).toBeGreaterThan(9000)
  })

  it('count until the last reader of one that has ended is gone', async () => {
    const budget = new LogBudget(maxBytes)
    const one = new Written(budget)
    one.add('a')
    const stop = one.log.listen({ onEvents: () => undefined })
    one.log.end()
    expect(budget.bytes).toBeGreaterThan(0)
    stop()
    expect(budget.bytes).toBe(0)
  })

  it('without a keeping lose what has been read', () => {
    const log = new EventLog()
    for (let n = 0; n < 100; n++) log.add(event(n, 'x'))
    log.release(60)
    expect([log.first, log.next]).toEqual([60, 100])
    expect(log.read(60, 1)).toEqual({ text: eventText(event(60, 'x')), next: 61 })
  })
})

describe('a reader', () => {
  it('whose events had to make room is cut off, instead of getting a stream with a gap', async () => {
    const written: string[] = []
    const exchange = {
      closed: false,
      write: (text: string) => {
        written.push(text)
        return false
      },
      end: vi.fn(),
      destroy: vi.fn(),
      onAborted: () => undefined,
      onWritable: () => undefined,
    }
    const call = {
      exchange,
      context: { turn: new Turn((error) => expect.fail(String(error))) },
      beginEvents: () => undefined,
    } as unknown as Call
    const budget = new LogBudget(20_000)
    const one = new Written(budget)
    const onGone = vi.fn()
    new EventReader(call, one.log, 0, { keepAlive: () => '', onGone }, true)
    one.add('first')
    await Promise.resolve()
    await Promise.resolve()
    expect(written).toEqual([one.all[0]])
    for (let i = 0; i < 100; i++) one.add('x'.repeat(1000))
    await Promise.resolve()
    await Promise.resolve()
    expect(onGone).toHaveBeenCalledWith('slow_reader')
    expect(exchange.destroy).toHaveBeenCalledOnce()
    expect(written.length).toBe(1)
  })
})
