/** How a body is judged. */
export interface ReadOptions {
  /** Fields that the API does not know are left out instead of refused. */
  allowUnknownFields?: boolean
}

/** What of a body is judged by a schema of this shape. */
export function judgedFields(
  body: Record<string, unknown>,
  shape: object,
  { allowUnknownFields = false }: ReadOptions,
): Record<string, unknown> {
  if (!allowUnknownFields) return body
  return Object.fromEntries(Object.entries(body).filter(([name]) => Object.hasOwn(shape, name)))
}
