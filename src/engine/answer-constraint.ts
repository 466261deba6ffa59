// Where a constraint on an answer begins: behind the reasoning that a model may write before it.
import type { Constraint } from './constraint.js'

/** Tags around reasoning, as chat templates show them. */
interface ReasoningTags {
  open: string
  close: string
}

const tags: readonly ReasoningTags[] = [
  { open: '<|channel>thought\n', close: '<channel|>' },
  { open: '<think>', close: '</think>' },
]

/** How many of the prompt's last characters are looked at. */
const promptTail = 256

const literal = (text: string): Constraint => ({ type: 'literal', text })
const sequence = (...parts: Constraint[]): Constraint => ({ type: 'sequence', parts })
// between the end of the reasoning and the answer
const gap: Constraint = { type: 'regex', pattern: '[ \\n]{0,4}' }

/** gpt-oss: the answer is the message of the channel `final`; one of the channel `analysis` may stand before it. */
function harmonyAnswer(answer: Constraint): Constraint {
  const analysis = sequence(
    literal('<|channel|>analysis<|message|>'),
    { type: 'text_until', literals: ['<|end|>'] },
    literal('<|start|>assistant'),
  )
  return sequence({ type: 'repeat', item: analysis, min: 0, max: 1 }, literal('<|channel|>final<|message|>'), answer)
}

function taggedAnswer(answer: Constraint, { open, close }: ReasoningTags, tail: string): Constraint {
  const rest = sequence({ type: 'text_until', literals: [close] }, gap, answer)
  if (tail.endsWith(open.trimEnd())) return rest
  // the template has ended the reasoning before it began
  if (tail.endsWith(close)) return answer
  return { type: 'any_of', options: [sequence(literal(open), rest), answer] }
}

/**
 * What a chat's whole output must be for its answer to match `answer`.
 * @param prompt the rendered prompt: it may end within reasoning that the template has begun
 * @param templates the checkpoint's chat templates: they show which notation the model writes
 */
export function constrainAnswer(answer: Constraint, prompt: string, templates: readonly string[]): Constraint {
  const shows = (...texts: string[]) => templates.some((template) => texts.every((text) => template.includes(text)))
  if (shows('<|channel|>', '<|message|>')) return harmonyAnswer(answer)
  const found = tags.find(({ open, close }) => shows(open.trimEnd().replace(/thought$/, ''), close))
  return found ? taggedAnswer(answer, found, prompt.slice(-promptTail).trimEnd()) : answer
}
