// The deltas of one engine step as columns: one frame a step, and few objects however many sequences run.
import type { ErrorCode, FinishReason, GenerationDelta, TokenLogprob, ToolCallDelta } from '../engine/types.js'
import { FrameError } from './frames.js'

/** A delta and the generation it belongs to. */
export interface StepRow {
  id: number
  delta: GenerationDelta
}

/** Column i of each array belongs to row i; the optional ones name their rows, as few rows have them. */
export interface StepMessage {
  type: 'step'
  ids: number[]
  choices: number[]
  texts: string[]
  tokens: number[][]
  /** Index in `finishReasons` plus 1; 0: not finished. */
  finish: number[]
  promptTokens: number[]
  cachedTokens: number[]
  outputTokens: number[]
  logprobs?: [row: number, logprobs: TokenLogprob[]][]
  /** New text, and the reasoning tokens of the choice so far; 0: unchanged. */
  reasoning?: [row: number, text: string, tokens: number][]
  toolCalls?: [row: number, calls: ToolCallDelta[]][]
  promptLogprobs?: [row: number, logprobs: (TokenLogprob | null)[]][]
  errors?: [row: number, code: ErrorCode, message: string][]
}

const finishReasons: readonly FinishReason[] = ['stop', 'length', 'abort', 'error', 'tool_calls']

export function toStepMessage(rows: readonly StepRow[]): StepMessage {
  const step: StepMessage = {
    type: 'step',
    ids: [],
    choices: [],
    texts: [],
    tokens: [],
    finish: [],
    promptTokens: [],
    cachedTokens: [],
    outputTokens: [],
  }
  for (const [row, { id, delta }] of rows.entries()) {
    step.ids.push(id)
    step.choices.push(delta.choice)
    step.texts.push(delta.text)
    step.tokens.push(delta.tokens)
    step.finish.push(delta.finishReason ? finishReasons.indexOf(delta.finishReason) + 1 : 0)
    step.promptTokens.push(delta.promptTokens)
    step.cachedTokens.push(delta.cachedTokens)
    step.outputTokens.push(delta.outputTokens)
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

function column<T>(message: Record<string, unknown>, name: string, rows: number, isItem: (value: unknown) => value is T): T[] {
  const values = message[name]
  if (!Array.isArray(values) || values.length !== rows || !values.every(isItem))
    throw new FrameError(`A step's column '${name}' is malformed.`)
  return values
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0
const isString = (value: unknown): value is string => typeof value === 'string'
const isOptionalString = (value: unknown): value is string | undefined => value === undefined || typeof value === 'string'
const isToolCall = (value: unknown): value is ToolCallDelta => {
  if (typeof value !== 'object' || value === null) return false
  const call = value as Record<string, unknown>
  return isCount(call['index']) && [call['id'], call['name'], call['arguments']].every(isOptionalString)
}
const isTokens = (value: unknown): value is number[] => Array.isArray(value) && value.every(isCount)

function sparse(message: Record<string, unknown>, name: string, rows: number): [number, ...unknown[]][] {
  const entries = message[name] ?? []
  if (!Array.isArray(entries)) throw new FrameError(`A step's '${name}' are malformed.`)
  for (const entry of entries) {
    if (!Array.isArray(entry) || !isCount(entry[0]) || entry[0] >= rows) throw new FrameError(`A step's '${name}' are malformed.`)
  }
  return entries as [number, ...unknown[]][]
}

/**
 * Checks by hand, as this runs for every step, and gives the rows back. Throws a FrameError.
 * What a logprob holds is not looked at: nothing here relies on it, and there may be twenty a token.
 */
export function fromStepMessage(message: Record<string, unknown>): StepRow[] {
  if (!Array.isArray(message.ids)) throw new FrameError("A step's column 'ids' is malformed.")
  const count = message.ids.length
  const ids = column(message, 'ids', count, isCount)
  const choices = column(message, 'choices', count, isCount)
  const texts = column(message, 'texts', count, isString)
  const tokens = column(message, 'tokens', count, isTokens)
  const finish = column(message, 'finish', count, isCount)
  const promptTokens = column(message, 'promptTokens', count, isCount)
  const cachedTokens = column(message, 'cachedTokens', count, isCount)
  const outputTokens = column(message, 'outputTokens', count, isCount)
  const rows = ids.map((id, row): StepRow => {
    const delta: GenerationDelta = {
      choice: choices[row]!,
      text: texts[row]!,
      tokens: tokens[row]!,
      promptTokens: promptTokens[row]!,
      cachedTokens: cachedTokens[row]!,
      outputTokens: outputTokens[row]!,
    }
    const reason = finish[row]! > 0 ? finishReasons[finish[row]! - 1] : undefined
    if (finish[row]! > 0 && !reason) throw new FrameError("A step's column 'finish' is malformed.")
    if (reason) delta.finishReason = reason
    return { id, delta }
  })
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
