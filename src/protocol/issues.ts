import type { z } from 'zod'
import { ApiError } from './errors.js'

/** `messages[0].content`, as OpenAI names a field in `param`. */
export function fieldPath(path: readonly PropertyKey[]): string {
  let text = ''
  for (const part of path) text += typeof part === 'number' ? `[${part}]` : text === '' ? String(part) : `.${String(part)}`
  return text.slice(0, 200)
}

/** The first of zod's issues as an error for the client. @param prefix the field that holds what was judged */
export function issueError(error: z.ZodError, prefix: readonly PropertyKey[] = []): ApiError {
  const issue = error.issues[0]
  if (!issue) return new ApiError('invalid_request')
  const path = [...prefix, ...issue.path]
  if (issue.code === 'unrecognized_keys') {
    // the wording of transformers serve: a Python set
    const names = issue.keys.slice(0, 8).map((key) => `'${key.slice(0, 64)}'`)
    return new ApiError(
      'unexpected_fields',
      `Unexpected fields in the request: {${names.join(', ')}}`,
      fieldPath([...path, issue.keys[0] ?? '']),
    )
  }
  const param = fieldPath(path)
  return new ApiError('invalid_request', param ? `\`${param}\`: ${issue.message}` : issue.message, param || null)
}
