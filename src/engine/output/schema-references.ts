// What a tool's schema says of one argument, where it says it by reference (as clients that make schemas of classes do).
import { isJsonObject } from './call-json.js'

/** Schemas that are looked at for one argument; of what lies beyond nothing is said. Ends circles, too. */
const maxSchemas = 256
const lists = ['anyOf', 'oneOf', 'allOf'] as const

function target(root: unknown, reference: unknown): unknown {
  if (typeof reference !== 'string' || !/^#(?:\/|$)/.test(reference)) return undefined
  let found = root
  for (const step of reference.split('/').slice(1)) {
    const name = step.replaceAll('~1', '/').replaceAll('~0', '~')
    if (!isJsonObject(found) || !Object.hasOwn(found, name)) return undefined
    found = found[name]
  }
  return found
}

/** The schema with what `$ref` leads to among its `allOf`, at its own level and in its alternatives. @param root what references start from */
export function withReferences(schema: unknown, root: unknown, budget = { left: maxSchemas }): unknown {
  if (!isJsonObject(schema) || budget.left-- <= 0) return {}
  const { $ref: reference, ...result } = schema
  for (const list of lists) {
    const parts = result[list]
    if (Array.isArray(parts)) result[list] = parts.slice(0, maxSchemas).map((part: unknown) => withReferences(part, root, budget))
  }
  if (reference === undefined) return result
  const all: unknown[] = Array.isArray(result['allOf']) ? result['allOf'] : []
  return { ...result, allOf: [...all, withReferences(target(root, reference), root, budget)] }
}

/** A part of a schema as one of its own: what references lead to comes along. */
export function asOwnSchema(part: Readonly<Record<string, unknown>>, root: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { $defs, definitions } = root
  const refers = JSON.stringify(part).includes('"$ref"')
  return { ...part, ...(refers && $defs !== undefined && { $defs }), ...(refers && definitions !== undefined && { definitions }) }
}
