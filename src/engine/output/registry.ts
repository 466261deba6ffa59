// Which notation a checkpoint writes its answers in.
import { templateFormat } from './response-template/format.js'
import type { AnswerFormat } from './format.js'
import type { AnswerPart } from './answer.js'
import { gemma4Format } from './gemma4-format.js'
import { harmonyFormat } from './harmony-format.js'
import { schemaFormat } from './response-schema/format.js'
import { nestedTagsFormat, taggedFormat, thinkFormat } from './tagged-format.js'

export interface FormatSource {
  /** Name -> Jinja source. */
  chatTemplates: Readonly<Record<string, string>>
  /** `model_type` of config.json or the architecture that a GGUF file names. */
  modelType: string
  /** The tokenizer's own `response_template`. */
  responseTemplate?: unknown
  /** The tokenizer's own `response_schema`, which templates replaced. */
  responseSchema?: unknown
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

/** Answers by which a schema is compared with a format; each begins another kind of answer. */
const samples: readonly (readonly [AnswerFormat, readonly string[]])[] = [
  [
    harmonyFormat,
    [
      '<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hello.',
      '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}',
    ],
  ],
  [
    gemma4Format,
    ['Hello.', '<|channel>thought\nHm.<channel|>Hello.', '<|channel>thought\nHm.<channel|><|tool_call>call:f{a:1}<tool_call|>'],
  ],
  [
    nestedTagsFormat,
    ['Hello.', '<think>\nHm.\n</think>\n\nHello.', '<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>'],
  ],
  [taggedFormat, ['Hello.', '<think>\nHm.\n</think>\n\nHello.', '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>']],
]

function reading(format: AnswerFormat, text: string): string {
  const parser = format.parser('', { tools: new Map(), readCalls: true, maxCalls: Infinity })
  const parts: AnswerPart[] = [parser.push(text), parser.finish(false)]
  const join = (pick: (part: AnswerPart) => string): string => parts.map(pick).join('').trim()
  const calls = parts.flatMap((part) => part.calls.map((call) => [call.name ?? '', call.arguments.replace(/\s/g, '')].join('')))
  return JSON.stringify([join(({ content }) => content), join(({ reasoning }) => reasoning), calls.join('')])
}

/** Both read the answers of the known format alike. */
function readAlike(declared: AnswerFormat, known: AnswerFormat): boolean {
  const texts = samples.find(([format]) => format === known)?.[1]
  return texts !== undefined && texts.every((text) => reading(declared, text) === reading(known, text))
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
  const given = (value: unknown): boolean => value !== undefined && value !== null
  if (given(source.responseTemplate)) return declared('response_template', format, () => templateFormat(source.responseTemplate, format))
  if (!given(source.responseSchema)) return { format }
  return declared('response_schema', format, () => {
    const own = schemaFormat(source.responseSchema, format)
    // the known format streams more finely
    return format && readAlike(own, format) ? format : own
  })
}

function declared(key: string, known: AnswerFormat | undefined, read: () => AnswerFormat): FoundFormat {
  try {
    return { format: read() }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    return { format: known, warning: `The tokenizer's ${key} cannot be used: ${reason}.` }
  }
}
