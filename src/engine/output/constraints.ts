// Pieces of constraint trees that the notations share.
import type { Constraint, JsonSchema } from '../constraint.js'
import type { MarkupNotation } from './markup-parser.js'

/** A tool that may be called. */
export interface CallableTool {
  name: string
  /** Of the arguments; undefined: the tool takes none. */
  parameters: JsonSchema | undefined
  /** As the tool says it; undefined: it does not. */
  strict: boolean | undefined
}

/** The calls that an answer may hold. */
export interface AllowedCalls {
  tools: readonly CallableTool[]
  /** More than one. */
  many: boolean
}

/** What an answer may be; at least one of both. Reasoning may stand before it. */
export interface AllowedAnswer {
  content?: Constraint
  calls?: AllowedCalls
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

export const textUntil = (literals: string[], without: string[] = []): Constraint => ({
  type: 'text_until',
  literals,
  ...(without.length > 0 && { without }),
})
export const textWithout = (without: string[]): Constraint => ({ type: 'free_text', without })

const promptTail = 256
const tailOf = (prompt: string): string => prompt.slice(-promptTail).trimEnd()

/** The whole output, where reasoning stands in a block before the answer. @param prompt it may have opened or closed that block */
export function behindReasoning(answer: Constraint, { blocks }: MarkupNotation, prompt: string): Constraint {
  const block = blocks.find(({ kind }) => kind === 'reasoning')
  if (!block) return answer
  const tail = tailOf(prompt)
  const rest = sequence(textUntil([block.close]), gap, answer)
  if (tail.endsWith(block.open.trimEnd())) return rest
  if (tail.endsWith(block.close)) return answer
  return anyOf([sequence(literal(block.open), rest), answer])
}

/**
 * Any output whose calls, once begun, are calls as they must be. It may end wherever no call is under way.
 * @param call what stands behind the marker that opens a call, its end included
 * @param prompt it may have opened a block of reasoning, in which a call's marker is only text
 */
export function guardedText(call: Constraint, many: boolean, { blocks }: MarkupNotation, prompt: string): Constraint {
  const thought = blocks.find(({ kind }) => kind === 'reasoning')
  const marker = blocks.find(({ kind }) => kind === 'call')?.open ?? ''
  // a marker that nobody writes by accident opens reasoning anywhere, others only where nothing stands before
  const anywhere = thought && 'control' in thought && thought.control ? thought : undefined
  const opens = anywhere ? [marker, anywhere.open] : [marker]
  const upTo = (open: string): Constraint =>
    textUntil(
      [open],
      opens.filter((other) => other !== open),
    )
  const called = sequence(upTo(marker), call)
  const parts = [...(many ? [called] : []), ...(anywhere ? [sequence(upTo(anywhere.open), textUntil([anywhere.close]))] : [])]
  const last = [textWithout(opens), ...(many ? [] : [called])]
  if (anywhere) last.push(sequence(upTo(anywhere.open), textWithout([anywhere.close])))
  const answer = parts.length > 0 ? sequence({ type: 'repeat', item: anyOf(parts), min: 0, max: null }, anyOf(last)) : anyOf(last)
  if (!thought) return answer
  const thinking = anyOf([sequence(textUntil([thought.close]), answer), textWithout([thought.close])])
  if (tailOf(prompt).endsWith(thought.open.trimEnd())) return thinking
  return anywhere ? answer : anyOf([sequence(gap, literal(thought.open), thinking), answer])
}
