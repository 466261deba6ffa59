// The notation that a tokenizer declares in the older way.
import type { AnswerFormat } from '../format.js'
import { readResponseSchema } from './schema.js'
import { SchemaParser } from './schema-parser.js'

/**
 * Throws an Error that says what is wrong with the schema.
 * @param known what the chat template shows: a schema says how answers are read, not how they are written
 */
export function schemaFormat(value: unknown, known: AnswerFormat | undefined): AnswerFormat {
  const schema = readResponseSchema(value)
  return {
    name: 'response_schema',
    markers: [],
    allSpecialTokens: true,
    parser: (_prompt, options) => new SchemaParser(schema, options),
    constrain: (allowed, prompt) => (known ? known.constrain(allowed, prompt) : allowed.content),
    guardCalls: (calls, prompt) => known?.guardCalls(calls, prompt),
  }
}
