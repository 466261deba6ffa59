// ChatML's tags: <think>…</think> and <tool_call>…</tool_call> (Qwen, SmolLM3, Hermes, DeepSeek-R1's distillations).
import type { Constraint } from '../constraint.js'
import { jsonCalls, jsonCallStart } from './call-json.js'
import type { CallStart } from './call-reader.js'
import { tagCallConstraint, tagCallStart } from './call-tags.js'
import { anyOf, argumentsOf, behindReasoning, type CallableTool, callsOf, gap, guardedText, literal, sequence } from './constraints.js'
import type { AnswerFormat, ToolSchemas } from './format.js'
import { type Block, MarkupParser } from './markup-parser.js'

// what a call holds is JSON, or for newer models tags of its own
const startCall = (body: string, tools: ToolSchemas): CallStart | undefined => jsonCallStart(body) ?? tagCallStart(body, tools)

const think: Block = { kind: 'reasoning', open: '<think>', close: '</think>', control: false }
const toolCall: Block = { kind: 'call', open: '<tool_call>', close: '</tool_call>', start: startCall, read: jsonCalls, jsonStrings: true }

const jsonCall = (tool: CallableTool): Constraint =>
  sequence(literal(`{"name": ${JSON.stringify(tool.name)}, "arguments": `), argumentsOf(tool), literal('}'))

type CallConstraint = (tool: CallableTool) => Constraint

function format(name: string, blocks: readonly Block[], call?: CallConstraint): AnswerFormat {
  const notation = { blocks, strays: [] }
  const behindOpen = (tools: readonly CallableTool[], inner: CallConstraint): Constraint =>
    sequence(gap, anyOf(tools.map(inner)), gap, literal(toolCall.close))
  return {
    name,
    markers: blocks.flatMap(({ open, close }) => [open, close]),
    parser: (prompt, options) => new MarkupParser(notation, prompt, options),
    constrain(allowed, prompt) {
      const options = allowed.content ? [allowed.content] : []
      if (allowed.calls && call) {
        options.push(callsOf(sequence(literal(toolCall.open), behindOpen(allowed.calls.tools, call)), allowed.calls.many))
      }
      return options.length > 0 ? behindReasoning(anyOf(options), notation, prompt) : undefined
    },
    guardCalls: ({ tools, many }, prompt) => call && guardedText(behindOpen(tools, call), many, notation, prompt),
  }
}

export const thinkFormat = format('think', [think])
export const taggedFormat = format('tagged', [think, toolCall], jsonCall)
/** The same, for templates that show calls as tags: both ways of writing calls are read, this one is forced. */
export const nestedTagsFormat = format('nested tags', [think, toolCall], tagCallConstraint)
