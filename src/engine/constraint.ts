// What the output of a generation must match: one composable tree, plain JSON. native/grammar/ compiles it; docs/structured-output.md explains it.
import { z } from 'zod'
import { RequestError } from './types.js'

/** A JSON schema as far as docs/structured-output.md names its keywords; what goes beyond is refused when it is compiled. */
export type JsonSchema = boolean | Readonly<Record<string, unknown>>

/** `flexible` (the default): a space or a line break with its indent where JSON allows one, at most one; `compact`: none. */
export type JsonWhitespace = 'flexible' | 'compact'

/**
 * A set of texts. Text is matched as UTF-8 bytes, whichever tokens spell it; a literal that holds the text of special tokens of the
 * vocabulary (`<tool_call>`, `<|channel|>`) matches by those tokens as well. End-of-sequence tokens are no part of a text: they are
 * allowed exactly where the whole constraint may end.
 */
export type Constraint =
  /** JSON that validates against the schema, properties in the order of the schema. */
  | { type: 'json_schema'; schema: JsonSchema; whitespace?: JsonWhitespace }
  /** Any JSON object. */
  | { type: 'json_object'; whitespace?: JsonWhitespace }
  /** The whole text matches the regular expression. */
  | { type: 'regex'; pattern: string }
  /** A grammar in the EBNF of docs/structured-output.md; its start is the rule `root`. */
  | { type: 'grammar'; text: string }
  | { type: 'literal'; text: string }
  | { type: 'sequence'; parts: Constraint[] }
  | { type: 'any_of'; options: Constraint[] }
  /** `min` to `max` items (null: no limit), with `separator` between them. */
  | { type: 'repeat'; item: Constraint; min: number; max: number | null; separator?: Constraint }
  /** Any text up to and including the first occurrence of one of the literals, none of `without` in it; special tokens may stand in it. */
  | { type: 'text_until'; literals: string[]; without?: string[] }
  /** Any text, also none, in which none of `without` occurs; special tokens may stand in it. */
  | { type: 'free_text'; without?: string[] }

/** Constraints inside constraints. */
const maxDepth = 32
/** Nodes of one tree, without the insides of schemas. */
const maxNodes = 4096
/** Characters of a pattern, a grammar or a literal. */
const maxText = 256 * 1024
const maxList = 1024

const text = z.string().max(maxText)
const whitespace = z.enum(['flexible', 'compact']).exactOptional()
const literal = text.min(1, { error: 'must not be empty' })
const literals = z.array(literal).max(64)

const constraintSchema: z.ZodType<Constraint> = z.lazy(() =>
  z.discriminatedUnion('type', [
    z.strictObject({ type: z.literal('json_schema'), schema: z.union([z.boolean(), z.record(z.string(), z.unknown())]), whitespace }),
    z.strictObject({ type: z.literal('json_object'), whitespace }),
    z.strictObject({ type: z.literal('regex'), pattern: text }),
    z.strictObject({ type: z.literal('grammar'), text }),
    z.strictObject({ type: z.literal('literal'), text }),
    z.strictObject({ type: z.literal('sequence'), parts: z.array(constraintSchema).max(maxList) }),
    z.strictObject({ type: z.literal('any_of'), options: z.array(constraintSchema).min(1).max(maxList) }),
    z
      .strictObject({
        type: z.literal('repeat'),
        item: constraintSchema,
        min: z.int().min(0).max(65536),
        max: z.int().min(0).max(65536).nullable(),
        separator: constraintSchema.exactOptional(),
      })
      .refine(({ min, max }) => max === null || min <= max, { error: 'min must not be above max' }),
    z.strictObject({ type: z.literal('text_until'), literals: literals.min(1), without: literals.exactOptional() }),
    z.strictObject({ type: z.literal('free_text'), without: literals.exactOptional() }),
  ]),
)

/** Constraints directly inside a value that may be one, whatever else it is. */
function children(value: unknown): unknown[] {
  if (typeof value !== 'object' || value === null) return []
  const { parts, options, item, separator } = value as Record<string, unknown>
  return [...(Array.isArray(parts) ? parts : []), ...(Array.isArray(options) ? options : []), item, separator].filter(
    (child) => child !== undefined,
  )
}

// before zod, whose own recursion has no bound
function checkSize(root: unknown): void {
  let level = [root]
  let nodes = 0
  for (let depth = 0; level.length > 0; depth++) {
    nodes += level.length
    if (depth >= maxDepth)
      throw new RequestError('invalid_request', `A constraint is nested more than ${maxDepth} levels deep.`, 'constraint')
    if (nodes > maxNodes) throw new RequestError('invalid_request', `A constraint has more than ${maxNodes} parts.`, 'constraint')
    level = level.flatMap(children)
  }
}

/** Judges the shape and the size of a tree; what schemas, patterns and grammars say is judged when they are compiled. Throws a RequestError. */
export function parseConstraint(value: unknown): Constraint {
  checkSize(value)
  const judged = constraintSchema.safeParse(value)
  if (judged.success) return judged.data
  const issue = judged.error.issues[0]
  const path = issue?.path.map(String).join('.') ?? ''
  throw new RequestError(
    'invalid_request',
    `The constraint is not valid${path ? ` at '${path}'` : ''}: ${issue?.message ?? 'unknown'}`,
    'constraint',
  )
}
