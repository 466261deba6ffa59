// Errors of one API in the words of another that is told in terms of it.
import { ApiError } from './errors.js'

/** Patterns of a field's name and what stands in the place of a match; the first that matches counts. */
export type FieldNames = readonly (readonly [RegExp, string])[]

/** The error with its field, and what its message says of fields, under the names that the client used. */
export function renamedFields(error: ApiError, names: FieldNames): ApiError {
  const rename = (field: string): string => {
    const found = names.find(([pattern]) => pattern.test(field))
    return found ? field.replace(found[0], found[1]) : field
  }
  const { param } = error
  if (param === null) return error
  const message = error.message.replace(/`([^`]+)`/g, (_quoted, field: string) => `\`${rename(field)}\``)
  return new ApiError(error.code, message, rename(param))
}
