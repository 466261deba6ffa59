// Bodies of the requests about conversations.
import { z } from 'zod'
import { ApiError } from '../errors.js'
import { issueError } from '../issues.js'
import { parseJsonObject } from '../json.js'
import { judgedFields, type ReadOptions } from '../known-fields.js'
import { type Item, readInput } from './items.js'
import { metadataSchema } from './schema.js'

/** Items that one request may add, as OpenAI bounds them. */
const maxNewItems = 20

const itemsSchema = z.array(z.record(z.string(), z.unknown())).max(maxNewItems, { error: `must hold at most ${maxNewItems} items` })
const createSchema = z.strictObject({ metadata: metadataSchema.nullish(), items: itemsSchema.nullish() })
const updateSchema = z.strictObject({ metadata: metadataSchema.nullable() })
const addSchema = z.strictObject({ items: itemsSchema.min(1) })

function judged<S extends z.ZodObject>(schema: S, bytes: Uint8Array, options: ReadOptions): z.infer<S> {
  const result = schema.safeParse(judgedFields(parseJsonObject(bytes), schema.shape, options))
  if (!result.success) throw issueError(result.error)
  return result.data
}

function ownItems(items: readonly Record<string, unknown>[]): Item[] {
  return readInput(items, 'items').map((item, index) => {
    if (item.type !== 'item_reference') return item
    throw new ApiError('invalid_request', `\`items[${index}]\`: a reference cannot be added.`, `items[${index}]`)
  })
}

/** POST /v1/conversations; an empty body is an empty conversation. Throws an ApiError. */
export function parseNewConversation(bytes: Uint8Array, options: ReadOptions = {}): { metadata: Record<string, string>; items: Item[] } {
  const { metadata, items } = bytes.length === 0 ? {} : judged(createSchema, bytes, options)
  return { metadata: metadata ?? {}, items: ownItems(items ?? []) }
}

/** POST /v1/conversations/{id}. Throws an ApiError. */
export function parseConversationUpdate(bytes: Uint8Array, options: ReadOptions = {}): Record<string, string> {
  return judged(updateSchema, bytes, options).metadata ?? {}
}

/** POST /v1/conversations/{id}/items. Throws an ApiError. */
export function parseNewItems(bytes: Uint8Array, options: ReadOptions = {}): Item[] {
  return ownItems(judged(addSchema, bytes, options).items)
}
