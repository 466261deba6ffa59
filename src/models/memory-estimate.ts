// What a model will take of the memory, before it is loaded: a charge by which loads are admitted or refused.
import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { z } from 'zod'
import type { EngineOptions } from '../engine/types.js'
import { bitsPerWeight, parseQuantization } from '../engine/quantization.js'
import { ggufParts } from '../hub/model-spec.js'
import { selectFiles } from '../hub/select-files.js'

const mebibyte = 2 ** 20

/** A worker without its weights and KV cache: node, tokenizer, the buffers of a step. Measured: 77 MiB idle, half as much again at work. */
export const processBytes = 112 * mebibyte
/** Less is no KV cache that a model could work with. */
export const leastKvBytes = 32 * mebibyte
/** Part of the memory that models may take together when nobody says. */
export const defaultMemoryShare = 0.9

/**
 * The part of the memory limit that a model's KV cache may fill when nobody says: much where it is alone, less where others are to
 * fit beside it. @param models that may be in memory at once; Infinity: no bound
 */
export const kvShare = (models: number): number => Math.max(0.1, 0.4 / models)

const maxConfigBytes = 16 * mebibyte
const bytesOf: Readonly<Record<string, number>> = { float64: 8, float32: 4, float16: 2, bfloat16: 2 }

const dtypeField = z.looseObject({ dtype: z.string().nullish(), torch_dtype: z.string().nullish() })
const configShape = dtypeField.extend({ text_config: dtypeField.nullish() })

const sizeOf = async (path: string): Promise<number> => (await stat(path).catch(() => undefined))?.size ?? 0

const total = async (paths: readonly string[]): Promise<number> => {
  let bytes = 0
  for (const path of paths) bytes += await sizeOf(path)
  return bytes
}

/** The type that config.json says the weights are stored in; Hugging Face's own default where it says none. */
async function storedType(folder: string): Promise<string> {
  const path = join(folder, 'config.json')
  if ((await sizeOf(path)) > maxConfigBytes) return 'bfloat16'
  try {
    const { text_config: text, ...config } = configShape.parse(JSON.parse(await readFile(path, 'utf8')))
    return config.dtype ?? config.torch_dtype ?? text?.dtype ?? text?.torch_dtype ?? 'bfloat16'
  } catch {
    return 'bfloat16'
  }
}

type WeightOptions = Pick<EngineOptions, 'dtype' | 'quantization'>

const quantizationName = (text = 'none') => parseQuantization(text)?.name ?? 'none'

/** Whether weights may be smaller in memory than in their files. */
export function convertsWeights({ dtype = 'auto', quantization }: WeightOptions): boolean {
  return dtype !== 'auto' || quantizationName(quantization) !== 'none'
}

/**
 * Bytes of a model's weights as they will lie in memory: the files', times the ratio of the types where they are converted.
 * Files that are missing or malformed count nothing: what is wrong with them is for the load to say.
 */
export async function estimateWeightBytes(path: string, { dtype = 'auto', quantization }: WeightOptions): Promise<number> {
  if ((await stat(path).catch(() => undefined))?.isFile()) {
    return total(ggufParts(basename(path)).map((part) => join(dirname(path), part)))
  }
  const names = await readdir(path).catch(() => [])
  const selected = await selectFiles({ id: basename(path), revision: 'main' }, names, async (name) => {
    if ((await sizeOf(join(path, name))) > maxConfigBytes) return ''
    return readFile(join(path, name), 'utf8')
  }).catch(() => undefined)
  const stored = await total((selected?.files ?? []).filter((name) => name.endsWith('.safetensors')).map((name) => join(path, name)))
  const from = bytesOf[await storedType(path)]
  const name = quantizationName(quantization)
  const to = name === 'none' ? bytesOf[dtype] : bitsPerWeight[name] / 8
  return from === undefined || to === undefined ? stored : Math.ceil((stored * to) / from)
}

const units = ['KiB', 'MiB', 'GiB', 'TiB'] as const

/** Bytes for a message. */
export function inUnits(bytes: number): string {
  let value = bytes / 1024
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${value >= 10 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}
