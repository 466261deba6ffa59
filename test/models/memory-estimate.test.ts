import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { estimateWeightBytes, inUnits, kvShare } from '../../src/models/memory-estimate.js'

let root: string

function put(path: string, content: string | number): void {
  const full = join(root, path)
  mkdirSync(dirname(full), { recursive: true })
  writeFileSync(full, typeof content === 'number' ? Buffer.alloc(content) : content)
}

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'tfserve-'))
  put('bf16/config.json', '{"torch_dtype":"bfloat16"}')
  put('bf16/model.safetensors', 1000)
  put('bf16/adapter_model.safetensors', 70)
  put('f32/config.json', '{"text_config":{"dtype":"float32"}}')
  put('f32/model.safetensors.index.json', '{"weight_map":{"a":"one.safetensors","b":"two.safetensors"}}')
  put('f32/one.safetensors', 600)
  put('f32/two.safetensors', 400)
  put('f32/old.safetensors', 5000)
  put('gguf/m-00001-of-00002.gguf', 100)
  put('gguf/m-00002-of-00002.gguf', 50)
  put('broken/config.json', '{')
  put('broken/model.safetensors', 10)
})
afterAll(() => rmSync(root, { recursive: true, force: true }))

describe('what weights will take', () => {
  const estimate = (path: string, conversion: Parameters<typeof estimateWeightBytes>[1] = {}) =>
    estimateWeightBytes(join(root, path), conversion)

  it('is what their files have: those of the index, all parts of a split file', async () => {
    expect(await estimate('bf16')).toBe(1000)
    expect(await estimate('f32', { dtype: 'auto', quantization: 'none' })).toBe(1000)
    expect(await estimate('gguf/m-00001-of-00002.gguf')).toBe(150)
  })

  it('is as much more or less as the types are', async () => {
    expect(await estimate('bf16', { dtype: 'float32' })).toBe(2000)
    expect(await estimate('bf16', { dtype: 'float16' })).toBe(1000)
    expect(await estimate('f32', { dtype: 'bfloat16' })).toBe(500)
    expect(await estimate('gguf/m-00001-of-00002.gguf', { dtype: 'float32' })).toBe(150)
  })

  it('is that of the quantisation, from whichever type', async () => {
    for (const [quantization, bits] of [
      ['q8_0', 8.5],
      ['Q4_K_M', 4.85],
      ['q6_k', 6.56],
      ['bnb-4bit', 4.5],
    ] as const) {
      const weights = 500
      const bytes = (await estimate('bf16', { quantization })) / weights
      expect(bytes * 8).toBeGreaterThanOrEqual(bits)
      expect(bytes * 8).toBeLessThan(bits * 1.5)
      expect(await estimate('f32', { quantization })).toBeCloseTo((bytes * 1000) / 4, -1)
    }
  })

  it('is nothing where nothing can be read: the load says why', async () => {
    expect(await estimate('none')).toBe(0)
    expect(await estimate('broken')).toBe(10)
  })
})

it('one model may fill more of the memory with its cache than one of several', () => {
  expect([1, 2, 8, Infinity].map(kvShare)).toEqual([0.4, 0.2, 0.1, 0.1])
})

it('bytes for people', () => {
  expect([500, 1536, 112 * 2 ** 20, 13.5 * 2 ** 30].map(inUnits)).toEqual(['0.5 KiB', '1.5 KiB', '112 MiB', '14 GiB'])
})
