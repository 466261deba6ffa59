// What the log says of a model that is ready.
import type { LoadTimings, ModelInfo } from '../engine/types.js'
import { formatBytes } from './log.js'

const parts: readonly (readonly [name: keyof LoadTimings, shown: string])[] = [
  ['files', 'files and map'],
  ['weights', 'weights'],
  ['quantize', 'of that quantising'],
  ['tokenizer', 'tokenizer'],
  ['vocabulary', 'vocabulary'],
  ['context', 'graph and context'],
  ['firstToken', 'first token'],
]

/** Two lines: what the model is and how it runs; where the time of its load went. */
export function describeModel(info: ModelInfo): string[] {
  const types = info.quantization === 'none' ? info.dtype : `${info.quantization}, most of it ${info.dtype}`
  const pages = info.kvGroups.map((group) => `${group.blocks}${group.window ? ` for windows of ${group.window}` : ''}`).join(' + ')
  const cache = `${info.pagedKv ? 'paged ' : ''}KV cache ${info.kvCacheDtype}, up to ${formatBytes(info.kvBytes)} in ${pages} pages`
  const batch = `${info.maxNumSeqs} sequences, ${info.maxBatchTokens} tokens a step, context ${info.maxModelLen}`
  const times = parts.flatMap(([name, shown]) => {
    const ms = info.timings[name]
    return name === 'quantize' && ms === 0 ? [] : [`${shown} ${ms.toFixed(ms < 10 ? 1 : 0)}`]
  })
  return [
    `${info.architecture}, ${types} (${formatBytes(info.weightBytes)}), ${cache}, ${batch}, ${info.threads} threads, attention ${info.attentionKernel}`,
    `loaded in ${Math.round(info.loadMs)} ms: ${times.join(', ')}`,
  ]
}
