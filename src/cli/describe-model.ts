// What the log says of a model that is ready.
import type { AnyModelInfo } from '../engine/model-kinds.js'
import type { SpeechModelInfo } from '../engine/speech-types.js'
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

function describeText(info: ModelInfo): string {
  const types = info.quantization === 'none' ? info.dtype : `${info.quantization}, most of it ${info.dtype}`
  const pages = info.kvGroups.map((group) => `${group.blocks}${group.window ? ` for windows of ${group.window}` : ''}`).join(' + ')
  const cache = `${info.pagedKv ? 'paged ' : ''}KV cache ${info.kvCacheDtype}, up to ${formatBytes(info.kvBytes)} in ${pages} pages`
  const batch = `${info.maxNumSeqs} sequences, ${info.maxBatchTokens} tokens a step, context ${info.maxModelLen}`
  return `${info.architecture}, ${types} (${formatBytes(info.weightBytes)}), ${cache}, ${batch}, ${info.threads} threads, attention ${info.attentionKernel}`
}

function describeSpeech(info: SpeechModelInfo): string {
  const languages = info.multilingual ? 'many languages' : 'English only'
  const recordings = `up to ${info.maxNumSeqs} recordings at once of ${formatBytes(info.bytesPerSequence)} each`
  return `${info.architecture}, ${info.dtype} (${formatBytes(info.weightBytes)}), ${languages}, ${recordings}, ${info.threads} threads`
}

/** Two lines: what the model is and how it runs; where the time of its load went. */
export function describeModel(info: AnyModelInfo): string[] {
  const times = parts.flatMap(([name, shown]) => {
    const ms = info.timings[name]
    return name === 'quantize' && ms === 0 ? [] : [`${shown} ${ms.toFixed(ms < 10 ? 1 : 0)}`]
  })
  return [info.kind === 'text' ? describeText(info) : describeSpeech(info), `loaded in ${Math.round(info.loadMs)} ms: ${times.join(', ')}`]
}
