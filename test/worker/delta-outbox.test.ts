import { describe, expect, it } from 'vitest'
import type { GenerationDelta } from '../../src/engine/types.js'
import { defaultOutboxLimits, DeltaOutbox, type OutboxLimits } from '../../src/worker/delta-outbox.js'
import type { StepRow } from '../../src/worker/step-frame.js'

const delta = (choice: number, text: string, more: Partial<GenerationDelta> = {}): GenerationDelta => ({
  choice,
  text,
  tokens: [text.length],
  promptTokens: 1,
  cachedTokens: 0,
  outputTokens: 1,
  ...more,
})
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

class Sink {
  readonly steps: StepRow[][] = []
  readonly overflowed: number[] = []
  writable = true
  readonly outbox: DeltaOutbox

  constructor(limits: Partial<OutboxLimits> = {}) {
    this.outbox = new DeltaOutbox(
      {
        send: (rows) => {
          this.steps.push(rows)
          return this.writable
        },
        onOverflow: (id) => this.overflowed.push(id),
      },
      { ...defaultOutboxLimits, ...limits },
    )
  }

  open(id: number, n = 1): void {
    this.outbox.open(id, n)
    this.outbox.release(id)
  }
}

describe('the outbox', () => {
  it('joins what it keeps of a call into one part', async () => {
    const sink = new Sink()
    sink.open(1)
    sink.outbox.hold(1)
    const parts = [
      { index: 0, id: 'a', name: 'f', arguments: '{' },
      { index: 0, arguments: '"x":' },
      { index: 0, arguments: '1}' },
      { index: 1, id: 'b', name: 'g', arguments: '{' },
      { index: 1, arguments: '}' },
    ]
    for (const part of parts) sink.outbox.add(1, delta(0, '', { toolCalls: [part] }))
    sink.outbox.release(1)
    await turn()
    expect(sink.steps.flat().map((row) => row.delta.toolCalls)).toEqual([
      [
        { index: 0, id: 'a', name: 'f', arguments: '{"x":1}' },
        { index: 1, id: 'b', name: 'g', arguments: '{}' },
      ],
    ])
    // what is kept is a copy
    expect(parts[0]!.arguments).toBe('{')
  })

  it('sends the deltas of a turn as one step', async () => {
    const sink = new Sink()
    for (const id of [1, 2, 3]) sink.open(id)
    for (const id of [1, 2, 3]) sink.outbox.add(id, delta(0, `a${id}`))
    expect(sink.steps).toEqual([])
    await turn()
    for (const id of [1, 2, 3]) sink.outbox.add(id, delta(0, 'b', { finishReason: 'stop' }))
    await turn()
    expect(sink.steps.map((rows) => rows.map((row) => row.id))).toEqual([
      [1, 2, 3],
      [1, 2, 3],
    ])
    expect(sink.outbox.size).toBe(0)
    sink.outbox.add(1, delta(0, 'late'))
    await turn()
    expect(sink.steps).toHaveLength(2)
  })

  it('merges what waits, and leaves the deltas it was given as they are', async () => {
    const sink = new Sink()
    sink.open(1)
    sink.writable = false
    sink.outbox.add(1, delta(0, 'first'))
    await turn()
    const logprob = { token: 'x', logprob: -1, bytes: [120], top_logprobs: [] }
    const prompt = delta(0, '', { tokens: [], promptLogprobs: [null] })
    sink.outbox.add(1, prompt)
    sink.outbox.add(1, delta(0, '', { tokens: [], promptLogprobs: [logprob] }))
    const given = delta(0, 'a', { logprobs: [logprob] })
    sink.outbox.add(1, given)
    sink.outbox.add(1, delta(0, 'b', { logprobs: [logprob], outputTokens: 3 }))
    sink.outbox.add(1, delta(0, '', { tokens: [], finishReason: 'length', outputTokens: 3 }))
    await turn()
    expect(sink.steps).toHaveLength(1)
    sink.writable = true
    sink.outbox.drain()
    await turn()
    expect(sink.steps[1]).toEqual([
      {
        id: 1,
        delta: delta(0, 'ab', {
          tokens: [1, 1],
          logprobs: [logprob, logprob],
          promptLogprobs: [null, logprob],
          finishReason: 'length',
          outputTokens: 3,
        }),
      },
    ])
    expect(prompt.promptLogprobs).toEqual([null])
    expect(given).toEqual(delta(0, 'a', { logprobs: [logprob] }))
    expect([sink.outbox.size, sink.outbox.heldBytes]).toEqual([0, 0])
  })

  it('counts what it keeps, gives up the slow one and keeps its end', async () => {
    const sink = new Sink({ maxHeldBytes: 1000, maxTotalHeldBytes: 1500 })
    sink.open(1)
    sink.open(2)
    sink.outbox.hold(1)
    sink.outbox.hold(2)
    for (let i = 0; i < 20; i++) sink.outbox.add(1, delta(0, 'x'.repeat(100)))
    expect(sink.overflowed).toEqual([1])
    expect(sink.outbox.heldBytes).toBeLessThan(1200)
    for (let i = 0; i < 20; i++) sink.outbox.add(2, delta(0, 'y'.repeat(100)))
    expect(sink.overflowed).toEqual([1, 2])
    expect(sink.outbox.heldBytes).toBeLessThan(1700)
    sink.outbox.add(1, delta(0, 'tail', { finishReason: 'abort', outputTokens: 9 }))
    sink.outbox.release(1)
    await turn()
    const last = sink.steps[0]![0]!.delta
    expect(last.finishReason).toBe('abort')
    expect(last.text).toMatch(/^x+$/)
    expect(sink.outbox.size).toBe(1)
    sink.outbox.drop(2)
    expect(sink.outbox.heldBytes).toBe(0)
  })

  it('keeps order and loses nothing, whatever is held, released, blocked and drained when', async () => {
    let state = 4711
    const random = (n: number): number => (state = (state * 1103515245 + 12345) & 0x7fffffff) % n
    for (let round = 0; round < 60; round++) {
      const sink = new Sink()
      const added = new Map<string, string>()
      const finished = new Set<string>()
      for (let id = 1; id <= 4; id++) sink.open(id, 2)
      for (let step = 0; step < 200; step++) {
        const id = 1 + random(4)
        const choice = random(2)
        const key = `${id}/${choice}`
        const action = random(12)
        if (action === 0) sink.outbox.hold(id)
        else if (action === 1) sink.outbox.release(id)
        else if (action === 2) sink.writable = random(2) === 0
        else if (action === 3) sink.outbox.drain()
        else if (action === 4) await turn()
        else if (!finished.has(key)) {
          const text = `${step},`
          const ends = random(60) === 0
          if (ends) finished.add(key)
          added.set(key, (added.get(key) ?? '') + text)
          sink.outbox.add(id, delta(choice, text, ends ? { finishReason: 'stop' } : {}))
        }
      }
      sink.writable = true
      sink.outbox.drain()
      for (let id = 1; id <= 4; id++) sink.outbox.release(id)
      await turn()
      const got = new Map<string, string>()
      for (const { id, delta } of sink.steps.flat()) got.set(`${id}/${delta.choice}`, (got.get(`${id}/${delta.choice}`) ?? '') + delta.text)
      expect(Object.fromEntries([...got].sort())).toEqual(Object.fromEntries([...added].sort()))
      expect(sink.outbox.heldBytes).toBe(0)
      const open = [1, 2, 3, 4].filter((id) => !finished.has(`${id}/0`) || !finished.has(`${id}/1`))
      expect(sink.outbox.size).toBe(open.length)
    }
  })
})
