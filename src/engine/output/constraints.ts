// Pieces of constraint trees that the notations share.
import type { Constraint, JsonSchema } from '../constraint.js'
import type { MarkupNotation } from './markup-parser.js'

/** A tool that may be called. */
export interface CallableTool {
  name: string
  /** Of the arguments; undefined: the tool takes none. */
  parameters: JsonSchema | undefined
}

/** What an answer may be; at least one of both. Reasoning may stand before it. */
export interface AllowedAnswer {
  content?: Constraint
  calls?: { tools: readonly CallableTool[]; many: boolean }
}

export const literal = (text: string): Constraint => ({ type: 'literal', text })
export const sequence = (...parts: Constraint[]): Constraint => ({ type: 'sequence', parts })
export const anyOf = (options: Constraint[]): Constraint => (options.length === 1 ? options[0]! : { type: 'any_of', options })
export const optional = (item: Constraint): Constraint => ({ type: 'repeat', item, min: 0, max: 1 })
/** White space that models put between the parts of their markup. */
export const gap: Constraint = { type: 'regex', pattern: '[ \\n]{0,4}' }

export const argumentsOf = ({ parameters }: CallableTool): Constraint =>
  parameters === undefined ? literal('{}') : { type: 'json_schema', schema: parameters }

/** One call, or where `many` as many as the model likes. */
export const callsOf = (call: Constraint, many: boolean): Constraint =>
  many ? { type: 'repeat', item: call, min: 1, max: null, separator: gap } : call

const promptTail = 256

/** The whole output, where reasoning stands in a block before the answer. @param prompt it may have opened or closed that block */
export function behindReasoning(answer: Constraint, { blocks }: MarkupNotation, prompt: string): Constraint {
  const block = blocks.find(({ kind }) => kind === 'reasoning')
  if (!block) return answer
  const tail = prompt.slice(-promptTail).trimEnd()
  const rest = sequence({ type: 'text_until', literals: [block.close] }, gap, answer)
  if (tail.endsWith(block.open.trimEnd())) return rest
  if (tail.endsWith(block.close)) return answer
  return anyOf([sequence(literal(block.open), rest), answer])
}
