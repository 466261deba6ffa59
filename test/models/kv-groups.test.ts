// Kinds of attention memory: prefix hits and preemption change no answer, whatever a model's layers see.
import { describe, expect, test } from 'vitest'
import { Engine, type EngineOptions, type ModelInfo } from '../../src/index.js'
import { comparableSteps, differences, greedyAnswer, inParallel, modelPath, readGoldens } from '../support/goldens.js'

interface Kind {
  name: string
  /** Of each group, tokens a query sees. */
  windows: number[]
}

const kinds: Kind[] = [
  { name: 'llama', windows: [0] },
  { name: 'gemma3', windows: [0, 64] },
  { name: 'qwen2-window', windows: [0, 40] },
  { name: 'mistral-window', windows: [40] },
  { name: 'gpt-oss', windows: [0, 64] },
  { name: 'deepseek-v2-lite', windows: [0] },
]

async function withEngine<T>(name: string, options: Partial<EngineOptions>, use: (engine: Engine) => Promise<T>): Promise<T> {
  const engine = await Engine.load({ path: modelPath(name), dtype: 'float32', threads: 1, logLevel: 'error', ...options })
  try {
    return await use(engine)
  } finally {
    await engine.close()
  }
}

/** The least memory, in steps of a quarter, that serves sequences of `length` tokens. */
async function leastMemory(name: string, length: number, options: Partial<EngineOptions>): Promise<number> {
  const info = (kvCacheMemory: number): Promise<ModelInfo> =>
    withEngine(name, { ...options, kvCacheMemory }, (engine) => Promise.resolve(engine.info))
  let memory = 1 << 17
  while ((await info(memory)).maxModelLen < length) memory = Math.ceil(memory * 1.25)
  return memory
}

describe.each(kinds)('$name', ({ name, windows }) => {
  const { goldens } = readGoldens(name)
  const longest = Math.max(...goldens.map((golden) => golden.prompt_ids.length + golden.max_tokens))

  test('the goldens leave steps to compare, and windows are shorter than prompts', () => {
    const steps = goldens.reduce((sum, golden) => sum + golden.output_ids.length, 0)
    expect(goldens.reduce((sum, golden) => sum + comparableSteps(golden, 0.05), 0) / steps).toBeGreaterThan(0.6)
    expect(Math.max(...goldens.map((golden) => golden.prompt_ids.length))).toBeGreaterThan(3 * Math.max(...windows))
  })

  test('every full page of a prompt is found again', async () => {
    await withEngine(name, {}, async (engine) => {
      expect(engine.info.pagedKv).toBe(true)
      expect(engine.info.kvGroups.map((group) => group.window)).toEqual(windows)
      const first = await inParallel(goldens, 4, (golden) => greedyAnswer(engine, golden))
      const again = await inParallel(goldens, 4, (golden) => greedyAnswer(engine, golden))
      expect(differences(goldens, first, 'float32')).toEqual([])
      expect(differences(goldens, again, 'float32')).toEqual([])
      const { blockSize } = engine.info
      expect(again.map((got) => got.cachedTokens)).toEqual(
        goldens.map((golden) => Math.floor((golden.prompt_ids.length - 1) / blockSize) * blockSize),
      )
    })
  })

  test.each([true, false])('preemption, prefix caching %s', async (prefixCaching) => {
    const small = { blockSize: 4, maxBatchTokens: 64, prefixCaching }
    const kvCacheMemory = await leastMemory(name, longest, small)
    const shortFirst = [...goldens, ...goldens, ...goldens].sort((a, b) => a.prompt_ids.length - b.prompt_ids.length)
    await withEngine(name, { ...small, kvCacheMemory }, async (engine) => {
      const answers = await inParallel(shortFirst, 64, (golden) => greedyAnswer(engine, golden))
      expect(differences(shortFirst, answers, 'float32')).toEqual([])
      const stats = await engine.stats()
      expect(stats.preemptions).toBeGreaterThan(0)
      expect(stats.blocksFree + stats.blocksCached).toBe(stats.blocksTotal)
    })
  })
})

test('layers with a window get fewer pages, and the whole context is served', async () => {
  await withEngine('gemma3', { blockSize: 16, maxBatchTokens: 64, kvCacheMemory: 8 << 20 }, (engine) => {
    const [full, window] = engine.info.kvGroups
    expect(full!.blocks).toBeGreaterThanOrEqual(engine.info.maxModelLen / 16)
    expect(window!.blocks).toBeLessThan(full!.blocks / 4)
    expect(engine.info.kvBlocks).toBe(full!.blocks + window!.blocks)
    expect(engine.info.kvBytes).toBeLessThanOrEqual(8 << 20)
    return Promise.resolve()
  })
})
