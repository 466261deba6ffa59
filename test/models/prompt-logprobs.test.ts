// Log probabilities of prompts: those of transformers, and those that the same tokens have as an answer.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Engine, type EngineOptions, type GenerateOptions, RequestError, type TokenLogprob } from '../../src/index.js'
import { familyModels, greedy, inParallel, modelPath, readGoldens, tinyModels } from '../support/goldens.js'

const load = (name: string, options: Partial<EngineOptions> = {}) =>
  Engine.load({ path: modelPath(name), dtype: 'float32', threads: 1, logLevel: 'error', ...options })

interface Scored {
  prompt: (TokenLogprob | null)[]
  output: TokenLogprob[]
  tokens: number[]
  cachedTokens: number
  finishReason: string | undefined
}

async function scored(engine: Engine, options: GenerateOptions): Promise<Scored> {
  const got: Scored = { prompt: [], output: [], tokens: [], cachedTokens: 0, finishReason: undefined }
  for await (const delta of engine.generate({ ...greedy, prompt_logprobs: 0, ...options })) {
    if (delta.promptLogprobs) {
      expect([delta.choice, got.tokens.length]).toEqual([0, 0])
      got.prompt.push(...delta.promptLogprobs)
    }
    got.output.push(...(delta.logprobs ?? []))
    got.tokens.push(...delta.tokens)
    got.cachedTokens = delta.cachedTokens
    got.finishReason = delta.finishReason ?? got.finishReason
  }
  return got
}

const sum = (logprobs: readonly (TokenLogprob | null)[]) => logprobs.reduce((total, entry) => total + (entry?.logprob ?? 0), 0)

describe.each([...tinyModels, ...familyModels])('%s', (name) => {
  const goldens = readGoldens(name).goldens.filter((golden) => golden.prompt_logprob_sum !== undefined)

  test.each([true, false])('sums are those of transformers, paged %s', async (pagedKv) => {
    const engine = await load(name, { pagedKv, maxBatchTokens: 64 })
    try {
      expect(goldens.length).toBeGreaterThan(15)
      // twice: the second time the pages are there, and must not be taken
      for (const atOnce of [1, 8]) {
        const all = await inParallel(goldens, atOnce, (golden) => scored(engine, { tokens: golden.prompt_ids, max_new_tokens: 0 }))
        for (const [i, golden] of goldens.entries()) {
          const { prompt, ...rest } = all[i]!
          expect(rest).toEqual({ output: [], tokens: [], cachedTokens: 0, finishReason: 'length' })
          expect(prompt).toHaveLength(golden.prompt_ids.length)
          expect(prompt[0]).toBeNull()
          const far = Math.abs(sum(prompt) - golden.prompt_logprob_sum!)
          expect(far, `golden ${golden.id}`).toBeLessThan(0.001 * golden.prompt_ids.length)
        }
      }
    } finally {
      await engine.close()
    }
  })
})

describe('the embedded model', () => {
  let engine: Engine
  beforeAll(async () => {
    engine = await load('tfserve-demo')
  })
  afterAll(() => engine.close())

  const prompt = 'Once upon a time there was a server that counted its tokens.'

  test('a token is as probable in a prompt as in an answer', async () => {
    const { tokens, output } = await scored(engine, { prompt, max_new_tokens: 24, ignore_eos: true, logprobs: true, top_logprobs: 3 })
    const ids = [...(await engine.tokenize(prompt)), ...tokens]
    const again = await scored(engine, { tokens: ids, max_new_tokens: 1, prompt_logprobs: 3 })
    const asPrompt = again.prompt.slice(-tokens.length)
    for (const [i, entry] of asPrompt.entries()) {
      const { top_logprobs: top, ...own } = output[i]!
      expect(entry).toMatchObject({ token: own.token, bytes: own.bytes })
      expect(entry!.logprob).toBeCloseTo(own.logprob, 3)
      expect(entry!.top_logprobs.map(({ token }) => token)).toEqual(top.map(({ token }) => token))
    }
  })

  test('n choices share the scored prompt', async () => {
    const choices = new Set<number>()
    let entries = 0
    for await (const delta of engine.generate({ prompt, n: 3, seed: 1, temperature: 1, max_new_tokens: 4, prompt_logprobs: 1 })) {
      entries += delta.promptLogprobs?.length ?? 0
      if (delta.finishReason) choices.add(delta.choice)
    }
    expect(choices).toEqual(new Set([0, 1, 2]))
    expect(entries).toBe((await engine.tokenize(prompt)).length)
  })

  test('n choices without a token all end', async () => {
    const ends: [number, string][] = []
    for await (const { choice, finishReason } of engine.generate({ prompt, n: 3, max_new_tokens: 0 })) {
      if (finishReason) ends.push([choice, finishReason])
    }
    expect(ends.sort()).toEqual([0, 1, 2].map((choice) => [choice, 'length']))
  })

  test('a prompt as long as the context leaves room for its scores, not for an answer', async () => {
    const tokens = Array.from({ length: engine.info.maxModelLen }, (_, i) => 20 + (i % 200))
    const { prompt: entries } = await scored(engine, { tokens, max_new_tokens: 0 })
    expect(entries).toHaveLength(tokens.length)
    await expect(scored(engine, { tokens, max_new_tokens: 1 })).rejects.toBeInstanceOf(RequestError)
    await expect(scored(engine, { tokens: [...tokens, 20], max_new_tokens: 0 })).rejects.toBeInstanceOf(RequestError)
  })

  test('one token has no log probability', async () => {
    expect((await scored(engine, { tokens: [30], max_new_tokens: 2 })).prompt).toEqual([null])
  })
})
