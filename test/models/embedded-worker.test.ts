import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { requireTextModel } from '../../src/engine/model-kinds.js'
import type { GenerationDelta, GenerationParams } from '../../src/engine/types.js'
import { resolveModel } from '../../src/models/resolve.js'
import { SupervisedModel } from '../../src/models/supervisor.js'
import type { WorkerModel } from '../../src/models/worker-model.js'

let model: SupervisedModel

beforeAll(async () => {
  const found = await resolveModel(undefined)
  model = new SupervisedModel(found, { path: found.path, id: found.id, kvCacheMemory: 64 << 20 }, { restart: { firstDelayMs: 50 } })
  await model.start()
})
afterAll(() => model.close())

async function chat(content: string, params: GenerationParams = {}): Promise<{ text: string; last: GenerationDelta }> {
  const loaded = requireTextModel(await model.get())
  let text = ''
  return new Promise((resolve, reject) => {
    loaded
      .start({ input: { kind: 'chat', messages: [{ role: 'user', content }] }, params: { do_sample: false, ...params } }, (delta) => {
        text += delta.text + (delta.reasoning ?? '')
        if (delta.finishReason) resolve({ text, last: delta })
      })
      .catch(reject)
  })
}

describe('the embedded model in its worker process', () => {
  it('answers, and refuses what does not fit', async () => {
    const { text, last } = await chat('Hi', { max_new_tokens: 12 })
    expect(text.length).toBeGreaterThan(0)
    expect(last).toMatchObject({ finishReason: 'length', outputTokens: 12 })
    await expect(chat('x '.repeat(20_000))).rejects.toMatchObject({ code: 'context_length_exceeded', param: 'messages' })
  })

  it('1,000 aborted generations leave no page referenced', async () => {
    const loaded = (await model.get()) as WorkerModel
    const endless = { ignore_eos: true, max_new_tokens: 2000 }
    for (let round = 0; round < 10; round++) {
      const generations = await Promise.all(
        Array.from({ length: 100 }, (_, i) =>
          loaded.start({ input: { kind: 'text', text: `Round ${round}, number ${i}` }, params: endless, n: 1 + (i % 2) }, () => undefined),
        ),
      )
      for (const [index, generation] of generations.entries()) {
        if (index % 10 === 0) generation.pause()
        generation.abort()
      }
      await vi.waitFor(() => expect(loaded.open).toBe(0), 30_000)
    }
    const stats = await loaded.stats()
    expect(stats).toMatchObject({ running: 0, waiting: 0 })
    expect(stats.blocksFree + stats.blocksCached).toBe(stats.blocksTotal)
  })

  it('killed in mid-stream it is back with the same answers', async () => {
    const before = await chat('Hello', { max_new_tokens: 20 })
    const running = chat('Tell me something', { ignore_eos: true, max_new_tokens: 4000 })
    await new Promise((resolve) => setTimeout(resolve, 100))
    process.kill(model.pid!, 'SIGKILL')
    expect((await running).last).toMatchObject({ finishReason: 'error', error: { code: 'model_crashed' } })
    expect((await chat('Hello', { max_new_tokens: 20 })).text).toBe(before.text)
    expect(model.state().restarts).toBe(1)
  })
})
