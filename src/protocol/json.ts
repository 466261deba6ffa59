import { ApiError } from './errors.js'

/** Bounds on JSON from outside: later stages walk it recursively and copy it between processes. */
export const maxJsonDepth = 64
export const maxJsonNodes = 1_000_000

const quote = 0x22
const backslash = 0x5c
const comma = 0x2c

/** Judges nesting and size of a JSON text without parsing it, jumping over strings. */
function checkShape(bytes: Uint8Array): void {
  let depth = 0
  let nodes = 1
  for (let i = 0; i < bytes.length; i++) {
    switch (bytes[i]) {
      case quote:
        i = endOfString(bytes, i)
        if (i < 0) return // the parser says what is wrong
        break
      case 0x7b:
      case 0x5b:
        nodes++
        if (++depth > maxJsonDepth)
          throw new ApiError('invalid_request', `The request body is nested more than ${maxJsonDepth} levels deep.`)
        break
      case 0x7d:
      case 0x5d:
        depth--
        break
      case comma:
        nodes++
        break
    }
    if (nodes > maxJsonNodes) throw new ApiError('invalid_request', `The request body holds more than ${maxJsonNodes} values.`)
  }
}

// start is the opening quote; the result the closing one, or -1
function endOfString(bytes: Uint8Array, start: number): number {
  for (let i = start + 1; ; i++) {
    i = bytes.indexOf(quote, i)
    if (i < 0) return -1
    let escapes = 0
    while (bytes[i - 1 - escapes] === backslash) escapes++
    if (escapes % 2 === 0) return i
  }
}

/** A key `__proto__` could turn into a prototype when the value is copied. */
function refusePrototypeKeys(root: unknown): void {
  const open: unknown[] = [root]
  for (let value = open.pop(); value !== undefined; value = open.pop()) {
    if (typeof value !== 'object' || value === null) continue
    if (Array.isArray(value)) {
      for (const item of value) if (typeof item === 'object' && item !== null) open.push(item)
      continue
    }
    if (Object.hasOwn(value, '__proto__')) throw new ApiError('invalid_request', 'The key `__proto__` is not allowed.')
    for (const item of Object.values(value)) if (typeof item === 'object' && item !== null) open.push(item)
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

function decode(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes)
  } catch {
    throw new ApiError('invalid_json', 'The request body is not valid UTF-8.')
  }
}

/** Parses JSON from outside; throws an ApiError that says what is wrong with it. */
export function parseJson(bytes: Uint8Array): unknown {
  if (bytes.length === 0) throw new ApiError('invalid_json', 'The request body is empty; a JSON object is needed.')
  checkShape(bytes)
  const text = decode(bytes)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    // V8 quotes the text around the fault: only the part before it is ours to repeat
    const reason = error instanceof Error ? error.message.replace(/,? *("|\.\.\.)[\s\S]*$/, '') : ''
    throw new ApiError('invalid_json', `The request body is not valid JSON: ${reason}.`)
  }
  refusePrototypeKeys(value)
  return value
}

/** Parses a JSON text that came as a string inside of a request. @returns undefined when it is not JSON within the bounds */
export function parseInnerJson(text: string): unknown {
  try {
    return parseJson(Buffer.from(text))
  } catch (error) {
    if (error instanceof ApiError) return undefined
    throw error
  }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Parses a JSON object from outside. */
export function parseJsonObject(bytes: Uint8Array): Record<string, unknown> {
  const value = parseJson(bytes)
  if (!isObject(value)) throw new ApiError('invalid_json', 'The request body must be a JSON object.')
  return value
}
