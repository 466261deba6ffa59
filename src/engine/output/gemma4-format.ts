// Gemma 4: every marker is a token of its own.
import type { Constraint } from '../constraint.js'
import { gemmaCall, gemmaCallStart } from './call-gemma.js'
import { anyOf, argumentsOf, behindReasoning, type CallableTool, callsOf, guardedText, literal, sequence } from './constraints.js'
import type { AnswerFormat } from './format.js'
import { type Block, MarkupParser } from './markup-parser.js'

const blocks: readonly Block[] = [
  { kind: 'reasoning', open: '<|channel>thought\n', close: '<channel|>', control: true },
  {
    kind: 'call',
    open: '<|tool_call>',
    close: '<tool_call|>',
    start: gemmaCallStart,
    read: (body) => {
      const call = gemmaCall(body)
      return call && [call]
    },
    jsonStrings: false,
  },
]
const strays = ['<|channel>', '<channel|>', '<turn|>', '<|tool_response>', '<tool_call|>']
const notation = { blocks, strays }

const open = literal('<|tool_call>')
// the notation holds JSON: what is forced is written as such
const callBehindOpen = (tools: readonly CallableTool[]): Constraint =>
  sequence(anyOf(tools.map((tool) => sequence(literal(`call:${tool.name}`), argumentsOf(tool)))), literal('<tool_call|>'))

export const gemma4Format: AnswerFormat = {
  name: 'gemma4',
  markers: ['<|channel>', '<channel|>', '<|tool_call>', '<tool_call|>', '<|tool_response>', '<turn|>', '<|"|>'],
  parser: (prompt, options) => new MarkupParser(notation, prompt, options),
  constrain({ content, calls }, prompt) {
    const options = content ? [content] : []
    if (calls) options.push(callsOf(sequence(open, callBehindOpen(calls.tools)), calls.many))
    return behindReasoning(anyOf(options), notation, prompt)
  },
  guardCalls: ({ tools, many }, prompt) => guardedText(callBehindOpen(tools), many, notation, prompt),
}
