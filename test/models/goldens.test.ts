// Greedy answers equal those of transformers, whatever the engine does around them.
import { describe, expect, test } from 'vitest'
import { Engine, type EngineOptions } from '../../src/index.js'
import {
  answer,
  comparableSteps,
  differences,
  goldenModels,
  greedy,
  greedyAnswer,
  inParallel,
  modelPath,
  readGoldens,
} from '../support/goldens.js'

const atOnce = 32

// one thread unless a test is about threads: test files run side by side, and threads that wait for each other must not outnumber cores
async function withEngine<T>(name: string, options: Partial<EngineOptions>, use: (engine: Engine) => Promise<T>): Promise<T> {
  const engine = await Engine.load({ path: modelPath(name), dtype: 'float32', threads: 1, logLevel: 'error', ...options })
  try {
    return await use(engine)
  } finally {
    await engine.close()
  }
}

describe.each(goldenModels)('%s', (name) => {
  const { goldens } = readGoldens(name)
  // the demo's template looks at no clock: its chats go the whole way through the template
  const chat = name === 'tfserve-demo'
  const all = (engine: Engine, limit: number) => inParallel(goldens, limit, (golden) => greedyAnswer(engine, golden, chat))

  test('the goldens leave most steps to compare', () => {
    const steps = goldens.reduce((sum, g) => sum + g.output_ids.length, 0)
    const compared = goldens.reduce((sum, g) => sum + comparableSteps(g, 0.05), 0)
    expect(compared / steps).toBeGreaterThan(0.8)
  })

  test('alone, without prefix caching', async () => {
    await withEngine(name, { prefixCaching: false }, async (engine) => {
      expect(engine.info.pagedKv).toBe(true)
      const answers = await all(engine, 1)
      expect(differences(goldens, answers, 'float32')).toEqual([])
      expect(answers.every((got) => got.cachedTokens === 0)).toBe(true)
    })
  })

  test('alone, on upstream cache and attention', async () => {
    await withEngine(name, { pagedKv: false }, async (engine) => {
      expect(engine.info.pagedKv).toBe(false)
      expect(differences(goldens, await all(engine, 1), 'float32')).toEqual([])
    })
  })

  test('one at a time with continuous batching off', async () => {
    await withEngine(name, { continuousBatching: false }, async (engine) => {
      let most = 0
      const watch = setInterval(() => void engine.stats().then((stats) => (most = Math.max(most, stats.running))), 2)
      try {
        expect(differences(goldens, await all(engine, 8), 'float32')).toEqual([])
      } finally {
        clearInterval(watch)
      }
      expect(most).toBeLessThanOrEqual(1)
    })
  })

  test.each([16, 48, 256])('32 at once with %i tokens a step, then again from the prefix cache', async (maxBatchTokens) => {
    await withEngine(name, { maxBatchTokens }, async (engine) => {
      expect(engine.info.maxBatchTokens).toBe(maxBatchTokens)
      expect(differences(goldens, await all(engine, atOnce), 'float32')).toEqual([])
      const { blockSize } = engine.info
      const again = await all(engine, atOnce)
      expect(differences(goldens, again, 'float32')).toEqual([])
      const missed = goldens.filter((golden, i) => golden.prompt_ids.length > blockSize && again[i]!.cachedTokens === 0)
      expect(missed.map((golden) => golden.id)).toEqual([])
    })
  })

  test('32 at once without prefix caching', async () => {
    await withEngine(name, { prefixCaching: false }, async (engine) => {
      expect(differences(goldens, await all(engine, atOnce), 'float32')).toEqual([])
      expect((await engine.stats()).prefixHits).toBe(0)
    })
  })

  test.each([true, false])('under preemption, prefix caching %s', async (prefixCaching) => {
    const small = { blockSize: 4 }
    const blockBytes = await withEngine(name, small, (engine) => Promise.resolve(engine.info.kvBytes / engine.info.kvBlocks))
    // room for the longest request alone; many short ones begin together and then grow into each other
    const longest = Math.max(...goldens.map((golden) => golden.prompt_ids.length + golden.max_tokens))
    const blocks = Math.ceil(longest / small.blockSize) + 1
    const shortFirst = [...goldens, ...goldens, ...goldens].sort((a, b) => a.prompt_ids.length - b.prompt_ids.length)
    await withEngine(name, { ...small, kvCacheMemory: blocks * blockBytes, prefixCaching }, async (engine) => {
      expect(engine.info.kvBlocks).toBe(blocks)
      const answers = await inParallel(shortFirst, 64, (golden) => greedyAnswer(engine, golden, chat))
      expect(differences(shortFirst, answers, 'float32')).toEqual([])
      const stats = await engine.stats()
      expect(stats.preemptions).toBeGreaterThan(0)
      expect(stats.blocksFree + stats.blocksCached).toBe(stats.blocksTotal)
    })
  })

  test('with bfloat16 weights', async () => {
    await withEngine(name, { dtype: 'bfloat16' }, async (engine) => {
      expect(engine.info.dtype).toBe('bfloat16')
      expect(differences(goldens, await all(engine, 1), 'bfloat16')).toEqual([])
      expect(differences(goldens, await all(engine, atOnce), 'bfloat16')).toEqual([])
    })
  })

  test('with two threads', async () => {
    await withEngine(name, { threads: 2 }, async (engine) => {
      expect(engine.info.threads).toBe(2)
      const some = goldens.filter((golden) => golden.output_ids.length <= 24).slice(0, 12)
      const answers = await inParallel(some, 4, (golden) => greedyAnswer(engine, golden, chat))
      expect(differences(some, answers, 'float32')).toEqual([])
    })
  })

  test('special tokens are left out of the text by default', async () => {
    const cases = goldens.filter(
      (golden) => golden.text_skip_special !== undefined && comparableSteps(golden, 0.05) === golden.output_ids.length,
    )
    if (name !== 'tfserve-demo') expect(cases.length).toBeGreaterThan(0)
    await withEngine(name, {}, async (engine) => {
      for (const golden of cases) {
        const got = await answer(engine, { tokens: golden.prompt_ids, ...greedy, max_new_tokens: golden.max_tokens })
        expect(got.text).toBe(golden.text_skip_special)
      }
    })
  })

  test('the first step has the log probabilities of transformers', async () => {
    const cases = goldens.filter((golden) => golden.top_logprobs !== undefined)
    if (name !== 'tfserve-demo') expect(cases.length).toBe(goldens.length)
    await withEngine(name, {}, async (engine) => {
      for (const golden of cases) {
        const want = golden.top_logprobs!
        const request = { tokens: golden.prompt_ids, ...greedy, max_new_tokens: 1, logprobs: true, top_logprobs: 20 }
        for await (const delta of engine.generate(request)) {
          const first = delta.logprobs?.[0]
          if (!first) continue
          expect(first.top_logprobs).toHaveLength(20)
          const far = first.top_logprobs.map((top, rank) => Math.abs(top.logprob - want[rank]!))
          expect(Math.max(...far), `golden ${golden.id}`).toBeLessThan(0.01)
          expect(Math.abs(first.logprob - want[0]!), `golden ${golden.id}`).toBeLessThan(0.01)
        }
      }
    })
  })
})
