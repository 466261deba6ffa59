// What the log says of a model that is ready.
import type { ModelInfo } from '../engine/types.js'
import { formatBytes } from './log.js'

/** Lines that say what the model is, how it runs, and how long its load took. */
export function describeModel(info: ModelInfo): string[] {
  const pages = info.kvGroups.map((group) => `${group.blocks}${group.window ? ` for windows of ${group.window}` : ''}`).join(' + ')
  const cache = `${info.pagedKv ? 'paged ' : ''}KV cache ${info.kvCacheDtype}, up to ${formatBytes(info.kvBytes)} in ${pages} pages`
  const batch = `${info.maxNumSeqs} sequences, ${info.maxBatchTokens} tokens a step, context ${info.maxModelLen}`
  return [
    `${info.architecture}, ${info.dtype} (${formatBytes(info.weightBytes)}), ${cache}, ${batch}, ${info.threads} threads, attention ${info.attentionKernel}, loaded in ${Math.round(info.loadMs)} ms`,
  ]
}
