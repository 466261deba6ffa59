// Which notation a checkpoint writes its answers in.
import { templateFormat } from './response-template/format.js'
import type { AnswerFormat } from './format.js'
import { gemma4Format } from './gemma4-format.js'
import { harmonyFormat } from './harmony-format.js'
import { nestedTagsFormat, taggedFormat, thinkFormat } from './tagged-format.js'

export interface FormatSource {
  /** Name -> Jinja source. */
  chatTemplates: Readonly<Record<string, string>>
  /** `model_type` of config.json or the architecture that a GGUF file names. */
  modelType: string
  /** The tokenizer's own `response_template`. */
  responseTemplate?: unknown
}

/** The first whose every text stands in a chat template; what tells a format apart goes before what it shares with others. */
const byTemplate: readonly (readonly [AnswerFormat, readonly string[]])[] = [
  [harmonyFormat, ['<|channel|>', '<|message|>']],
  [gemma4Format, ['<|tool_call>', '<|channel>']],
  [nestedTagsFormat, ['<tool_call>', '<function=', '<parameter=']],
  [taggedFormat, ['<tool_call>']],
  [thinkFormat, ['</think>']],
]

/** Families that write ChatML's tags whatever their template says of them. */
const taggedFamilies = /^qwen(2|3)/

/** What the chat templates or the family show. */
function knownFormat({ chatTemplates, modelType }: FormatSource): AnswerFormat | undefined {
  const sources = Object.values(chatTemplates)
  const named = byTemplate.find(([, texts]) => sources.some((source) => texts.every((text) => source.includes(text))))
  if (named) return named[0]
  return sources.length > 0 && taggedFamilies.test(modelType) ? taggedFormat : undefined
}

export interface FoundFormat {
  /** undefined: every answer is content as it is. */
  format: AnswerFormat | undefined
  /** Why what the tokenizer declares is not used. */
  warning?: string
}

/** What the tokenizer declares goes before what is known. */
export function answerFormat(source: FormatSource): FoundFormat {
  const format = knownFormat(source)
  if (source.responseTemplate === undefined || source.responseTemplate === null) return { format }
  try {
    return { format: templateFormat(source.responseTemplate, format) }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    return { format, warning: `The tokenizer's response_template cannot be used: ${reason}.` }
  }
}
