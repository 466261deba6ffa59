// Tokenizers as they are found in the wild: the ids are those of transformers, whichever class it builds and from whichever files.
import { describe, expect, it } from 'vitest'
import { readCheckpoint } from '../../src/engine/checkpoint.js'
import { openTokenizer } from '../../src/engine/tokenizer.js'
import { tokenizerSource } from '../../src/engine/tokenizer-source.js'
import { Engine } from '../../src/index.js'
import { type Answer, differences, greedyAnswer, inParallel, readGoldens } from '../support/goldens.js'
import { tokenizerVariants, withVariant } from '../support/tokenizer-variants.js'

describe.each(tokenizerVariants)('$name ($base)', (variant) => {
  it('gives the ids of transformers', async () => {
    await withVariant(variant, async (directory) => {
      const { tokenizerConfig, modelType } = readCheckpoint(directory)
      const tokenizer = openTokenizer(directory, tokenizerSource(directory, tokenizerConfig, modelType), tokenizerConfig)
      const different: unknown[] = []
      for (const { text, ids, ids_no_special } of variant.cases) {
        const whole = [...(await tokenizer.encode(text, true))]
        const bare = [...(await tokenizer.encode(text, false))]
        if (String(whole) !== String(ids)) different.push({ text, whole, ids })
        if (String(bare) !== String(ids_no_special)) different.push({ text, bare, ids_no_special })
      }
      expect(different).toEqual([])
    })
  })
})

describe('a checkpoint with a tokenizer.model alone', () => {
  it.each(['tokenizer.model alone', 'tokenizer.model alone, gemma'])('%s: answers as with its tokenizer.json', async (name) => {
    const variant = tokenizerVariants.find((each) => each.name === name)!
    const goldens = readGoldens(variant.base).goldens.slice(0, 8)
    const load = async (path: string): Promise<Answer[]> => {
      const engine = await Engine.load({ path, dtype: 'float32', threads: 1, logLevel: 'error' })
      try {
        return await inParallel(goldens, 4, (golden) => greedyAnswer(engine, golden))
      } finally {
        await engine.close()
      }
    }
    await withVariant(variant, async (directory) => expect(differences(goldens, await load(directory), 'float32')).toEqual([]), true)
  })
})
