// A tokenizer's `response_template`: which fields an answer has and how each is marked in the text (transformers 5).
import { z } from 'zod'
import { contentParsers, type ContentArgs } from './content.js'
import { compilePattern, type Pattern } from './pattern.js'

/** The beginning or the end of a field. */
export interface Delimiter extends Pattern {
  /** More text could still make a match that ends at the end of the text another one. */
  canGrow: boolean
}

export interface TemplateField {
  name: string
  open: Delimiter | undefined
  close: Delimiter | undefined
  content: string
  args: ContentArgs
  transform: unknown
  transformEach: boolean
}

export interface ResponseTemplate {
  /** Where the answer begins in the prompt: behind its last match. */
  anchor: Pattern
  fields: readonly TemplateField[]
  /** The field without a beginning: what stands in no other. */
  implicit: TemplateField | undefined
}

const literals = z.union([z.string().min(1), z.array(z.string().min(1)).min(1).max(64)])
const pattern = z.string()
const fieldSchema = z
  .strictObject({
    open: literals.optional(),
    open_pattern: pattern.optional(),
    close: literals.optional(),
    close_pattern: pattern.optional(),
    content: z.string().default('text'),
    content_args: z.record(z.string(), z.unknown()).default({}),
    repeats: z.boolean().optional(),
    join: z.string().nullish(),
    optional: z.boolean().optional(),
    transform: z.unknown().optional(),
    transform_each: z.boolean().default(false),
  })
  .refine(({ content }) => contentParsers.has(content), { error: 'names a parser that does not exist' })
const templateSchema = z.strictObject({
  version: z.literal(1).default(1),
  defaults: z.record(z.string(), z.unknown()).optional(),
  start_anchor: literals.optional(),
  start_anchor_pattern: pattern.optional(),
  fields: z.record(z.string(), fieldSchema),
})

const escapedForPython = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
const listOf = (value: string | string[]): string[] => (typeof value === 'string' ? [value] : value)

function delimiter(texts: string | string[] | undefined, source: string | undefined): Delimiter | undefined {
  if (texts !== undefined && source !== undefined) throw new Error('it has a literal and a pattern for the same place')
  if (source !== undefined) return { ...compilePattern(source), canGrow: true }
  if (texts === undefined) return undefined
  // the longest first, as alternatives are tried in order
  const list = listOf(texts).sort((a, b) => b.length - a.length)
  const canGrow = list.some((a) => list.some((b) => a !== b && b.startsWith(a)))
  return { ...compilePattern(list.map(escapedForPython).join('|')), canGrow }
}

/** Reads a template; throws an Error that says what is wrong with it. */
export function readResponseTemplate(value: unknown): ResponseTemplate {
  const judged = templateSchema.safeParse(value)
  if (!judged.success) {
    const issue = judged.error.issues[0]
    throw new Error(`${issue?.path.map(String).join('.') ?? ''}: ${issue?.message ?? 'not valid'}`)
  }
  const { fields: entries, start_anchor: anchorText, start_anchor_pattern: anchorPattern } = judged.data
  const anchor = delimiter(anchorText, anchorPattern)
  if (!anchor) throw new Error('it has no start_anchor')
  const fields = Object.entries(entries).map(([name, field]): TemplateField => ({
    name,
    open: delimiter(field.open, field.open_pattern),
    close: delimiter(field.close, field.close_pattern),
    content: field.content,
    args: field.content_args,
    transform: field.transform,
    transformEach: field.transform_each,
  }))
  const implicit = fields.filter(({ open }) => !open)
  if (implicit.length > 1) throw new Error('more than one field has no beginning')
  return { anchor, fields, implicit: implicit[0] }
}
