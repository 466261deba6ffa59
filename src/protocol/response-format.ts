// `response_format`: OpenAI's, and what huggingface_hub and TGI send under the same name.
import { z } from 'zod'
import { type Constraint, parseConstraint } from '../engine/constraint.js'
import { RequestError } from '../engine/types.js'
import { ApiError } from './errors.js'
import { issueError } from './issues.js'
import { parseInnerJson } from './json.js'

const schema = z.union([z.boolean(), z.record(z.string(), z.unknown())], { error: 'must be a JSON schema' })
// TGI takes the schema's JSON text as well
const schemaOrText = z.union([schema, z.string()], { error: 'must be a JSON schema' })

const formatSchema = z.discriminatedUnion(
  'type',
  [
    z.strictObject({ type: z.literal('text') }),
    z.strictObject({ type: z.literal('json_object'), value: schemaOrText.nullish(), schema: schema.nullish() }),
    z.strictObject({
      type: z.literal('json_schema'),
      json_schema: z.strictObject({
        name: z.string().max(256).nullish(),
        description: z.string().nullish(),
        schema: schema.nullish(),
        strict: z.boolean().nullish(),
      }),
    }),
    z.strictObject({ type: z.literal('json'), value: schemaOrText }),
    z.strictObject({ type: z.literal('regex'), value: z.string() }),
  ],
  { error: "must have one of the types 'text', 'json_object', 'json_schema', 'json' and 'regex'" },
)

const field = 'response_format'

function readSchemaText(text: string): unknown {
  const value = parseInnerJson(text)
  if (value === undefined) throw new ApiError('invalid_request', `\`${field}.value\` is not valid JSON.`, `${field}.value`)
  return value
}

const present = <T>(value: T | null | undefined): value is T => value !== null && value !== undefined

function constraintOf(format: z.infer<typeof formatSchema>): unknown {
  switch (format.type) {
    case 'text':
      return undefined
    case 'regex':
      return { type: 'regex', pattern: format.value }
    case 'json_schema': {
      // OpenAI's schema may be absent; `strict: false` promises less than is done
      const wanted = format.json_schema.schema
      return present(wanted) ? { type: 'json_schema', schema: wanted } : { type: 'json_object' }
    }
    case 'json_object':
    case 'json': {
      const wanted = format.value ?? (format.type === 'json_object' ? format.schema : undefined)
      if (!present(wanted)) return { type: 'json_object' }
      return { type: 'json_schema', schema: typeof wanted === 'string' ? readSchemaText(wanted) : wanted }
    }
  }
}

/** What the answer must match; undefined: anything. Throws an ApiError. What schemas and patterns say is judged by the worker. */
export function readResponseFormat(value: unknown): Constraint | undefined {
  if (!present(value)) return undefined
  const judged = formatSchema.safeParse(value)
  if (!judged.success) throw issueError(judged.error, [field])
  const constraint = constraintOf(judged.data)
  if (constraint === undefined) return undefined
  try {
    return parseConstraint(constraint)
  } catch (error) {
    throw error instanceof RequestError ? new ApiError(error.code, error.message, field) : error
  }
}
