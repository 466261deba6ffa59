// The deltas of one engine step in one frame: numbers as bytes, so that a frame costs few objects however many sequences run.
import type { ErrorCode, FinishReason, GenerationDelta, TokenLogprob, ToolCallDelta } from '../engine/types.js'
import { FrameError } from './frames.js'

/** A delta and the generation it belongs to. */
export interface StepRow {
  id: number
  delta: GenerationDelta
}

/** What every row has stands in `records`, `tokens` and `text`; the optional parts name their rows, as few rows have them. */
export interface StepMessage {
  type: 'step'
  /** A record a row, little-endian; see `Field`. */
  records: Uint8Array
  /** The token ids of all rows one after the other, u32 little-endian. */
  tokens: Uint8Array
  /** The texts of all rows one after the other, in UTF-8. */
  text: Uint8Array
  logprobs?: [row: number, logprobs: TokenLogprob[]][]
  /** New text, and the reasoning tokens of the choice so far; 0: unchanged. */
  reasoning?: [row: number, text: string, tokens: number][]
  toolCalls?: [row: number, calls: ToolCallDelta[]][]
  promptLogprobs?: [row: number, logprobs: (TokenLogprob | null)[]][]
  errors?: [row: number, code: ErrorCode, message: string][]
}

/** Where a record has what, in bytes from its start: the id is a float64, the others are u32. */
const Field = {
  id: 0,
  choice: 8,
  /** Index in `finishReasons` plus 1; 0: not finished. */
  finish: 12,
  promptTokens: 16,
  cachedTokens: 20,
  outputTokens: 24,
  tokenCount: 28,
  /** Of its text in UTF-8. */
  textBytes: 32,
} as const
const recordBytes = 36
const tokenBytes = 4

const finishReasons: readonly FinishReason[] = ['stop', 'length', 'abort', 'error', 'tool_calls']

export function toStepMessage(rows: readonly StepRow[]): StepMessage {
  let tokenCount = 0
  let textBytes = 0
  for (const { delta } of rows) {
    tokenCount += delta.tokens.length
    textBytes += Buffer.byteLength(delta.text)
  }
  const text = Buffer.allocUnsafe(textBytes)
  const step: StepMessage = {
    type: 'step',
    records: Buffer.allocUnsafe(rows.length * recordBytes),
    tokens: Buffer.allocUnsafe(tokenCount * tokenBytes),
    text,
  }
  const records = viewOf(step.records)
  const tokens = viewOf(step.tokens)
  let token = 0
  let written = 0
  for (const [row, { id, delta }] of rows.entries()) {
    const record = row * recordBytes
    const length = text.write(delta.text, written)
    written += length
    for (const value of delta.tokens) tokens.setUint32(tokenBytes * token++, value, true)
    records.setFloat64(record + Field.id, id, true)
    records.setUint32(record + Field.choice, delta.choice, true)
    records.setUint32(record + Field.finish, delta.finishReason ? finishReasons.indexOf(delta.finishReason) + 1 : 0, true)
    records.setUint32(record + Field.promptTokens, delta.promptTokens, true)
    records.setUint32(record + Field.cachedTokens, delta.cachedTokens, true)
    records.setUint32(record + Field.outputTokens, delta.outputTokens, true)
    records.setUint32(record + Field.tokenCount, delta.tokens.length, true)
    records.setUint32(record + Field.textBytes, length, true)
    if (delta.logprobs) (step.logprobs ??= []).push([row, delta.logprobs])
    if (delta.reasoning !== undefined || delta.reasoningTokens !== undefined) {
      ;(step.reasoning ??= []).push([row, delta.reasoning ?? '', delta.reasoningTokens ?? 0])
    }
    if (delta.toolCalls) (step.toolCalls ??= []).push([row, delta.toolCalls])
    if (delta.promptLogprobs) (step.promptLogprobs ??= []).push([row, delta.promptLogprobs])
    if (delta.error) (step.errors ??= []).push([row, delta.error.code, delta.error.message])
  }
  return step
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0
const isString = (value: unknown): value is string => typeof value === 'string'
const isOptionalString = (value: unknown): value is string | undefined => value === undefined || typeof value === 'string'
const isToolCall = (value: unknown): value is ToolCallDelta => {
  if (typeof value !== 'object' || value === null) return false
  const call = value as Record<string, unknown>
  return isCount(call['index']) && [call['id'], call['name'], call['arguments']].every(isOptionalString)
}

function sparse(message: Record<string, unknown>, name: string, rows: number): [number, ...unknown[]][] {
  const entries = message[name] ?? []
  if (!Array.isArray(entries)) throw new FrameError(`A step's '${name}' are malformed.`)
  for (const entry of entries) {
    if (!Array.isArray(entry) || !isCount(entry[0]) || entry[0] >= rows) throw new FrameError(`A step's '${name}' are malformed.`)
  }
  return entries as [number, ...unknown[]][]
}

function bytes(message: Record<string, unknown>, name: string, itemBytes: number): Buffer {
  const value = message[name]
  if (!(value instanceof Uint8Array) || value.length % itemBytes !== 0) throw new FrameError(`A step's '${name}' are malformed.`)
  return Buffer.from(value.buffer, value.byteOffset, value.length)
}

/** The rows without their optional parts. */
function plainRows(message: Record<string, unknown>): StepRow[] {
  const records = viewOf(bytes(message, 'records', recordBytes))
  const tokens = viewOf(bytes(message, 'tokens', tokenBytes))
  const text = bytes(message, 'text', 1)
  const rows: StepRow[] = []
  let token = 0
  let read = 0
  for (let record = 0; record < records.byteLength; record += recordBytes) {
    const id = records.getFloat64(record + Field.id, true)
    const tokenEnd = token + tokenBytes * records.getUint32(record + Field.tokenCount, true)
    const textEnd = read + records.getUint32(record + Field.textBytes, true)
    const finish = records.getUint32(record + Field.finish, true)
    if (!isCount(id) || finish > finishReasons.length || tokenEnd > tokens.byteLength || textEnd > text.length) throw malformedRecords()
    const delta: GenerationDelta = {
      choice: records.getUint32(record + Field.choice, true),
      text: text.toString('utf8', read, textEnd),
      tokens: [],
      promptTokens: records.getUint32(record + Field.promptTokens, true),
      cachedTokens: records.getUint32(record + Field.cachedTokens, true),
      outputTokens: records.getUint32(record + Field.outputTokens, true),
    }
    for (; token < tokenEnd; token += tokenBytes) delta.tokens.push(tokens.getUint32(token, true))
    if (finish > 0) delta.finishReason = finishReasons[finish - 1]!
    read = textEnd
    rows.push({ id, delta })
  }
  if (token !== tokens.byteLength || read !== text.length) throw malformedRecords()
  return rows
}

const malformedRecords = (): FrameError => new FrameError("A step's 'records' are malformed.")

/**
 * Checks by hand, as this runs for every step, and gives the rows back. Throws a FrameError.
 * What a logprob holds is not looked at: nothing here relies on it, and there may be twenty a token.
 */
export function fromStepMessage(message: Record<string, unknown>): StepRow[] {
  const rows = plainRows(message)
  const count = rows.length
  for (const [row, logprobs] of sparse(message, 'logprobs', count)) {
    if (!Array.isArray(logprobs)) throw new FrameError("A step's 'logprobs' are malformed.")
    rows[row]!.delta.logprobs = logprobs as TokenLogprob[]
  }
  for (const [row, text, reasoningTokens] of sparse(message, 'reasoning', count)) {
    if (!isString(text) || !isCount(reasoningTokens)) throw new FrameError("A step's 'reasoning' are malformed.")
    if (reasoningTokens > 0) rows[row]!.delta.reasoningTokens = reasoningTokens
    if (text !== '') rows[row]!.delta.reasoning = text
  }
  for (const [row, calls] of sparse(message, 'toolCalls', count)) {
    if (!Array.isArray(calls) || !calls.every(isToolCall)) throw new FrameError("A step's 'toolCalls' are malformed.")
    rows[row]!.delta.toolCalls = calls
  }
  for (const [row, logprobs] of sparse(message, 'promptLogprobs', count)) {
    if (!Array.isArray(logprobs)) throw new FrameError("A step's 'promptLogprobs' are malformed.")
    rows[row]!.delta.promptLogprobs = logprobs as (TokenLogprob | null)[]
  }
  for (const [row, code, text] of sparse(message, 'errors', count)) {
    if (!isString(code) || !isString(text)) throw new FrameError("A step's 'errors' are malformed.")
    rows[row]!.delta.error = { code: code as ErrorCode, message: text }
  }
  return rows
}
