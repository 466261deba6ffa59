// Families beyond Llama and Qwen: greedy answers and log probabilities equal those of transformers, alone and together.
import { describe, expect, test } from 'vitest'
import { Engine, type EngineOptions } from '../../src/index.js'
import { differences, familyModels, greedy, greedyAnswer, inParallel, modelPath, readGoldens } from '../support/goldens.js'

describe.each(familyModels)('%s', (name) => {
  const { goldens } = readGoldens(name)

  async function withEngine(options: Partial<EngineOptions>, use: (engine: Engine) => Promise<void>): Promise<void> {
    const engine = await Engine.load({ path: modelPath(name), dtype: 'float32', threads: 1, logLevel: 'error', ...options })
    try {
      await use(engine)
    } finally {
      await engine.close()
    }
  }

  test.each([1, 16])('%i at once', async (limit) => {
    await withEngine({}, async (engine) => {
      const answers = await inParallel(goldens, limit, (golden) => greedyAnswer(engine, golden))
      expect(differences(goldens, answers, 'float32')).toEqual([])
    })
  })

  test('on upstream cache and attention', async () => {
    await withEngine({ pagedKv: false }, async (engine) => {
      const answers = await inParallel(goldens, 1, (golden) => greedyAnswer(engine, golden))
      expect(differences(goldens, answers, 'float32')).toEqual([])
    })
  })

  test('with bfloat16 weights', async () => {
    await withEngine({ dtype: 'bfloat16' }, async (engine) => {
      const answers = await inParallel(goldens, 1, (golden) => greedyAnswer(engine, golden))
      expect(differences(goldens, answers, 'bfloat16')).toEqual([])
    })
  })

  test('the first step has the log probabilities of transformers', async () => {
    await withEngine({}, async (engine) => {
      for (const golden of goldens) {
        const request = { tokens: golden.prompt_ids, ...greedy, max_new_tokens: 1, logprobs: true, top_logprobs: 20 }
        for await (const delta of engine.generate(request)) {
          const first = delta.logprobs?.[0]
          if (!first) continue
          const far = first.top_logprobs.map((top, rank) => Math.abs(top.logprob - golden.top_logprobs![rank]!))
          expect(Math.max(...far), `golden ${golden.id}`).toBeLessThan(0.001)
        }
      }
    })
  })
})
