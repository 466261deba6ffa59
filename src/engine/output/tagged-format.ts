// ChatML's tags: <think>…</think> and <tool_call>…</tool_call> (Qwen, SmolLM3, Hermes, DeepSeek-R1's distillations).
import type { ToolCall } from './answer.js'
import { jsonCalls } from './call-json.js'
import { tagCall } from './call-tags.js'
import type { AnswerFormat, ToolSchemas } from './format.js'
import { type Block, MarkupParser } from './markup-parser.js'

// what a call holds is JSON, or for newer models tags of its own
function readCalls(body: string, tools: ToolSchemas): ToolCall[] | undefined {
  if (!body.trimStart().startsWith('<')) return jsonCalls(body)
  const call = tagCall(body, tools)
  return call && [call]
}

const think: Block = { kind: 'reasoning', open: '<think>', close: '</think>', control: false }
const toolCall: Block = { kind: 'call', open: '<tool_call>', close: '</tool_call>', read: readCalls, jsonStrings: true }

function format(name: string, blocks: readonly Block[]): AnswerFormat {
  return {
    name,
    markers: blocks.flatMap(({ open, close }) => [open, close]),
    parser: (prompt, options) => new MarkupParser({ blocks, strays: [] }, prompt, options),
  }
}

export const thinkFormat = format('think', [think])
export const taggedFormat = format('tagged', [think, toolCall])
