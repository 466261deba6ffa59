// From the flat fields of a form to the object that a JSON body would have been.
import { ApiError } from './errors.js'
import { isObject, parseInnerJson } from './json.js'

/** One text field of a form, in the order of sending. */
export interface FormField {
  name: string
  value: string
}

/** How a field is spelled in forms, where its JSON is no string. */
export type FormShape = 'list' | 'object'

// `name`, `name[]`, `name[0]` and `name[key]`
const spelling = /^([^[\]]+)(?:\[([^[\]]*)\])?$/

function listOf(value: string): unknown[] {
  const parsed = value.startsWith('[') ? parseInnerJson(value) : undefined
  return Array.isArray(parsed) ? parsed : [value]
}

/**
 * Clients spell lists `name[]` and repeat it, or send JSON; they spell objects `name[key]`, or send JSON. What is empty was left out.
 * Throws an ApiError for a field that was sent twice and may be sent once.
 * @param shapes those of the fields that are no plain values
 */
export function formObject(fields: readonly FormField[], shapes: Readonly<Record<string, FormShape>>): Record<string, unknown> {
  const object: Record<string, unknown> = Object.create(null) as Record<string, unknown>
  for (const { name, value } of fields) {
    const [, base = name, inner] = spelling.exec(name) ?? []
    const shape = Object.hasOwn(shapes, base) ? shapes[base] : undefined
    if (value === '') continue
    const before = object[base]
    if (shape === 'list' && (inner === undefined || /^\d*$/.test(inner))) {
      object[base] = [...(Array.isArray(before) ? (before as unknown[]) : []), ...listOf(value)]
    } else if (shape === 'object' && inner) {
      object[base] = { ...(isObject(before) ? before : {}), [inner]: value }
    } else {
      // the name as it was sent, for what the schema does not know
      const key = inner === undefined ? base : name
      if (key in object) throw new ApiError('invalid_request', `\`${key.slice(0, 64)}\` was sent more than once.`, key.slice(0, 64))
      object[key] = shape === 'object' && value.startsWith('{') ? (parseInnerJson(value) ?? value) : value
    }
  }
  return object
}
