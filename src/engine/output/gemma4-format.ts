// Gemma 4: every marker is a token of its own.
import { gemmaCall } from './call-gemma.js'
import { anyOf, argumentsOf, behindReasoning, callsOf, literal, sequence } from './constraints.js'
import type { AnswerFormat } from './format.js'
import { type Block, MarkupParser } from './markup-parser.js'

const blocks: readonly Block[] = [
  { kind: 'reasoning', open: '<|channel>thought\n', close: '<channel|>', control: true },
  {
    kind: 'call',
    open: '<|tool_call>',
    close: '<tool_call|>',
    read: (body) => {
      const call = gemmaCall(body)
      return call && [call]
    },
    jsonStrings: false,
  },
]
const strays = ['<|channel>', '<channel|>', '<turn|>', '<|tool_response>', '<tool_call|>']
const notation = { blocks, strays }

export const gemma4Format: AnswerFormat = {
  name: 'gemma4',
  markers: ['<|channel>', '<channel|>', '<|tool_call>', '<tool_call|>', '<|tool_response>', '<turn|>', '<|"|>'],
  parser: (prompt, options) => new MarkupParser(notation, prompt, options),
  constrain({ content, calls }, prompt) {
    const options = content ? [content] : []
    if (calls) {
      // the notation holds JSON: what is forced is written as such
      const bodies = calls.tools.map((tool) => sequence(literal(`call:${tool.name}`), argumentsOf(tool)))
      options.push(callsOf(sequence(literal('<|tool_call>'), anyOf(bodies), literal('<tool_call|>')), calls.many))
    }
    return behindReasoning(anyOf(options), notation, prompt)
  },
}
