// Which notation a checkpoint writes its answers in.
import type { AnswerFormat } from './format.js'
import { gemma4Format } from './gemma4-format.js'
import { harmonyFormat } from './harmony-format.js'
import { taggedFormat, thinkFormat } from './tagged-format.js'

export interface FormatSource {
  /** Name -> Jinja source. */
  chatTemplates: Readonly<Record<string, string>>
  /** `model_type` of config.json or the architecture that a GGUF file names. */
  modelType: string
}

/** The first whose every text stands in a chat template; what tells a format apart goes before what it shares with others. */
const byTemplate: readonly (readonly [AnswerFormat, readonly string[]])[] = [
  [harmonyFormat, ['<|channel|>', '<|message|>']],
  [gemma4Format, ['<|tool_call>', '<|channel>']],
  [taggedFormat, ['<tool_call>']],
  [thinkFormat, ['</think>']],
]

/** Families that write ChatML's tags whatever their template says of them. */
const taggedFamilies = /^qwen(2|3)/

/** undefined: every answer is content as it is. */
export function answerFormat({ chatTemplates, modelType }: FormatSource): AnswerFormat | undefined {
  const sources = Object.values(chatTemplates)
  const named = byTemplate.find(([, texts]) => sources.some((source) => texts.every((text) => source.includes(text))))
  if (named) return named[0]
  return sources.length > 0 && taggedFamilies.test(modelType) ? taggedFormat : undefined
}
