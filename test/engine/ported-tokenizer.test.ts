// The JavaScript tokenizer stands in where the Rust one has no binary: both must give the ids of transformers.
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readCheckpoint } from '../../src/engine/checkpoint.js'
import { portedTokenizer } from '../../src/engine/tokenizer.js'
import { modelPath, readGoldens, tinyModels } from '../support/goldens.js'

describe.each(tinyModels)('%s by the JavaScript tokenizer', (name) => {
  const directory = modelPath(name)
  const tokenizer = portedTokenizer(join(directory, 'tokenizer.json'), readCheckpoint(directory).tokenizerConfig)
  const cases = readGoldens(name).tokenizer?.cases ?? []

  it(`gives transformers' ids for ${cases.length} texts`, async () => {
    expect(cases.length).toBeGreaterThan(0)
    const different: string[] = []
    for (const { text, ids, ids_no_special } of cases) {
      const whole = [...(await tokenizer.encode(text, true))]
      const bare = [...(await tokenizer.encode(text, false))]
      if (String(whole) !== String(ids) || String(bare) !== String(ids_no_special)) different.push(text)
    }
    expect(different).toEqual([])
  })
})
