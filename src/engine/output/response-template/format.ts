// The notation that a tokenizer declares itself.
import type { AnswerFormat } from '../format.js'
import { readResponseTemplate } from './template.js'
import { TemplateParser } from './template-parser.js'

/**
 * Throws an Error that says what is wrong with the template.
 * @param known what the chat template shows: a template says how answers are read, not how they are written
 */
export function templateFormat(value: unknown, known: AnswerFormat | undefined): AnswerFormat {
  const template = readResponseTemplate(value)
  return {
    name: 'response_template',
    markers: [],
    allSpecialTokens: true,
    parser: (prompt, options) => new TemplateParser(template, prompt, options),
    constrain: (allowed, prompt) => (known ? known.constrain(allowed, prompt) : allowed.content),
    guardCalls: (calls, prompt) => known?.guardCalls(calls, prompt),
  }
}
