// Weights quantised while they are loaded: which names there are, what becomes of the model, and that it still answers.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { nativeAddon } from '../../src/engine/native.js'
import { LoadedModel } from '../../src/engine/loaded-model.js'
import { parseQuantization, quantizationChoices, quantizationNames } from '../../src/engine/quantization.js'
import { Engine, type EngineOptions } from '../../src/index.js'
import { estimateWeightBytes } from '../../src/models/memory-estimate.js'
import { answer, difference, familyModels, goldenModels, greedy, greedyAnswer, modelPath, readGoldens } from '../support/goldens.js'
import { qwen2Metadata, qwen2Tensors, writeGguf } from '../support/gguf-writer.js'

const folder = mkdtempSync(join(tmpdir(), 'tfserve-quantization-'))
afterAll(() => rmSync(folder, { recursive: true }))

async function withEngine<T>(path: string, options: Partial<EngineOptions>, use: (engine: Engine) => Promise<T>): Promise<T> {
  const engine = await Engine.load({ path, threads: 1, logLevel: 'error', kvCacheMemory: 2 ** 27, ...options })
  try {
    return await use(engine)
  } finally {
    await engine.close()
  }
}

const prompt = [300, 301, 302, 303, 310, 320, 330]
/** Ids of a greedy answer. */
function said(engine: Engine): Promise<number[]> {
  return answer(engine, { tokens: prompt, ...greedy, max_new_tokens: 8, ignore_eos: true }).then(({ ids }) => ids)
}

describe('names', () => {
  test.each([
    ['Q4_K_M', 'q4_k_m'],
    ['q8_0', 'q8_0'],
    ['Q4_K', 'q4_k_m'],
    ['MXFP4', 'mxfp4'],
    ['NONE', 'none'],
  ])('%s is %s', (text, name) => {
    expect(parseQuantization(text)).toEqual({ name })
  })

  test.each([
    ['bnb-4bit', 'q4_k_m'],
    ['BNB-8bit', 'q8_0'],
  ])('%s is taken for %s, and says so', (text, name) => {
    const quantization = parseQuantization(text)
    expect(quantization?.name).toBe(name)
    expect(quantization?.note).toContain(name)
  })

  test.each(['', 'q9_0', 'iq2_xs', 'constructor', '4bit'])("'%s' is none", (text) => {
    expect(parseQuantization(text)).toBeUndefined()
  })

  test('the native table has the same names', async () => {
    const options = { path: modelPath('qwen2'), quantization: 'no such name', dtype: 'auto', kvCacheDtype: 'auto', kvCacheMemory: 2 ** 27 }
    const sizes = { maxBatchTokens: 0, maxNumSeqs: 0, maxModelLen: 0, maxWaiting: 1, maxWaitingTokens: 2 ** 22, blockSize: 16, threads: 1 }
    const switches = { prefixCaching: true, continuousBatching: true, pagedKv: true }
    const ignore = (): void => undefined
    const failed = nativeAddon().loadModel({ ...options, ...sizes, ...switches }, ignore, ignore)
    const list = `${quantizationNames.slice(0, -1).join(', ')} and ${quantizationNames.at(-1)}`
    await expect(failed).rejects.toThrow(`Expected ${list} for the quantization.`)
  })

  test('an unknown one ends the load with the list', async () => {
    const failed = Engine.load({ path: modelPath('qwen2'), quantization: 'q3', logLevel: 'error' })
    await expect(failed).rejects.toThrow(`Expected one of ${quantizationChoices.join(', ')} for quantization but received 'q3'.`)
  })
})

describe('checkpoints', () => {
  test.each([...goldenModels, ...familyModels])('%s in q8_0 answers its goldens where they are clear', async (name) => {
    const { goldens } = readGoldens(name)
    const plain = await withEngine(modelPath(name), {}, (engine) => Promise.resolve(engine.info))
    await withEngine(modelPath(name), { quantization: 'Q8_0', threads: 2 }, async (engine) => {
      expect(engine.info).toMatchObject({ quantization: 'q8_0', dtype: 'q8_0', parameters: plain.parameters })
      // 34 bytes for 32 values of two bytes; vectors and routers stay in float32
      expect(engine.info.weightBytes / plain.weightBytes).toBeGreaterThan(0.53)
      expect(engine.info.weightBytes / plain.weightBytes).toBeLessThan(0.6)
      expect(engine.info.timings.quantize).toBeGreaterThan(0)
      const some = goldens.slice(0, 24)
      const clear = name === 'tfserve-demo' ? 0.5 : 1
      const wrong: string[] = []
      for (const golden of some) {
        const found = difference(golden, await greedyAnswer(engine, golden, name === 'tfserve-demo'), clear)
        if (found) wrong.push(found)
      }
      expect(wrong).toEqual([])
    })
  })

  test.each([...goldenModels, ...familyModels])('%s loads in q4_0 and is smaller still', async (name) => {
    const bytes = (quantization: string) =>
      withEngine(modelPath(name), { quantization }, async (engine) => {
        expect(await said(engine)).toHaveLength(8)
        return engine.info.weightBytes
      })
    expect(await bytes('q4_0')).toBeLessThan((await bytes('q8_0')) * 0.75)
  })

  test.each(quantizationNames)(
    'a model whose rows fit only in part loads in %s and tells what became of the rest',
    async (quantization) => {
      // rows of 128 values, but for those of ffn_down, which have 256
      const model = await LoadedModel.load({
        path: modelPath('qwen2'),
        quantization,
        threads: 1,
        logLevel: 'error',
        kvCacheMemory: 2 ** 27,
      })
      try {
        expect(model.info.quantization).toBe(quantization)
        // every other one wants blocks of 256 values, for the output at least
        expect(model.notes.some((note) => note.includes('no whole blocks'))).toBe(!['q8_0', 'mxfp4'].includes(quantization))
        expect(model.warnings).toEqual([])
      } finally {
        await model.close()
      }
    },
  )

  test.each(['none', 'q8_0', 'q4_0'])('the memory that is planned for %s is near what it takes', async (quantization) => {
    const path = modelPath('llama')
    const taken = await withEngine(path, { quantization }, (engine) => Promise.resolve(engine.info.weightBytes))
    const planned = await estimateWeightBytes(path, { quantization })
    expect(planned / taken).toBeGreaterThan(0.9)
    expect(planned / taken).toBeLessThan(1.1)
  })

  test("transformers' name is taken for the nearest, with a note", async () => {
    const model = await LoadedModel.load({ path: modelPath('qwen2'), quantization: 'bnb-8bit', threads: 1, logLevel: 'error' })
    expect(model.info).toMatchObject({ quantization: 'q8_0', dtype: 'q8_0' })
    expect(model.notes).toEqual([expect.stringContaining('bnb-8bit')])
    await model.close()
  })

  test("dtype is for what is not quantised; 'none' quantises nothing", async () => {
    await withEngine(modelPath('qwen2'), { quantization: 'none', dtype: 'float32' }, async (engine) => {
      expect(engine.info).toMatchObject({ quantization: 'none', dtype: 'float32' })
      expect(engine.info.timings.quantize).toBe(0)
      return Promise.resolve()
    })
  })
})

describe('GGUF files', () => {
  const path = join(folder, 'qwen2.gguf')
  writeGguf(path, qwen2Metadata(), qwen2Tensors())

  test('the written file is the fixture', async () => {
    const want = await withEngine(modelPath('qwen2'), {}, said)
    expect(await withEngine(path, {}, said)).toEqual(want)
  })

  test.each(['q8_0', 'q4_0', 'q4_k_m'])('of bfloat16 weights becomes in %s what the checkpoint becomes', async (quantization) => {
    const want = await withEngine(modelPath('qwen2'), { quantization }, async (engine) => [engine.info.weightBytes, await said(engine)])
    await withEngine(path, { quantization }, async (engine) => {
      expect(engine.info.quantization).toBe(quantization)
      expect([engine.info.weightBytes, await said(engine)]).toEqual(want)
      expect(engine.info.parameters).toBe(qwen2Tensors().reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b), 0))
    })
  })

  test('in several parts', async () => {
    const tensors = qwen2Tensors()
    const half = tensors.length >> 1
    const split = (no: number, count: number) => ({
      'split.no': { u16: no },
      'split.count': { u16: count },
      'split.tensors.count': { i32: tensors.length },
    })
    const first = join(folder, 'parts-00001-of-00002.gguf')
    writeGguf(first, { ...qwen2Metadata(), ...split(0, 2) }, tensors.slice(0, half))
    writeGguf(join(folder, 'parts-00002-of-00002.gguf'), split(1, 2), tensors.slice(half))
    const want = await withEngine(path, { quantization: 'q8_0' }, said)
    expect(await withEngine(first, { quantization: 'q8_0' }, said)).toEqual(want)

    // the same tensor in both parts
    writeGguf(join(folder, 'parts-00002-of-00002.gguf'), split(1, 2), tensors.slice(half - 1))
    await expect(Engine.load({ path: first, quantization: 'q8_0', logLevel: 'error' })).rejects.toThrow('is in another part, too')
    rmSync(join(folder, 'parts-00002-of-00002.gguf'))
    await expect(Engine.load({ path: first, quantization: 'q8_0', logLevel: 'error' })).rejects.toThrow('parts-00002-of-00002.gguf')
  })

  test('that are quantised already are served as they are, with a warning', async () => {
    const [embedding, ...others] = qwen2Tensors()
    const elements = embedding!.shape.reduce((a, b) => a * b)
    const quantised = { ...embedding!, type: 8, data: new Uint8Array((elements / 32) * 34) }
    const file = join(folder, 'quantised.gguf')
    writeGguf(file, qwen2Metadata(), [quantised, ...others])
    const want = await withEngine(file, {}, (engine) => Promise.resolve(engine.info.weightBytes))
    await withEngine(file, { quantization: 'q4_0' }, async (engine) => {
      expect(engine.info).toMatchObject({ quantization: 'none', weightBytes: want })
      expect(engine.warnings).toEqual([expect.stringMatching(/^quantised\.gguf is quantised already \(\w+\): it is served as it is\./)])
      return Promise.resolve()
    })
  })
})
