// Deltas of one generation that cannot be delivered yet, merged so that they grow with their text and not with their number.
import type { GenerationDelta, ToolCallDelta } from '../engine/types.js'

// rough sizes in a frame: what matters is that kept data is bounded
const tokenBytes = 5
const logprobBytes = 96

function weight(delta: GenerationDelta): number {
  let bytes = delta.text.length + (delta.reasoning?.length ?? 0) + tokenBytes * delta.tokens.length
  for (const call of delta.toolCalls ?? []) bytes += (call.id?.length ?? 0) + (call.name?.length ?? 0) + (call.arguments?.length ?? 0)
  for (const list of [delta.logprobs, delta.promptLogprobs]) {
    for (const logprob of list ?? []) bytes += logprobBytes * (1 + (logprob?.top_logprobs.length ?? 0))
  }
  return bytes
}

// the parts of one call's arguments are one part
function addCall(calls: ToolCallDelta[], next: ToolCallDelta): void {
  const last = calls.at(-1)
  const goesOn = last?.index === next.index && next.id === undefined
  if (goesOn) calls[calls.length - 1] = { ...last, arguments: (last.arguments ?? '') + (next.arguments ?? '') }
  else calls.push(next)
}

/** Adds `next` to `delta`, which belongs to the same choice and came before it. */
function merge(delta: GenerationDelta, next: GenerationDelta): void {
  delta.text += next.text
  if (next.reasoning !== undefined) delta.reasoning = (delta.reasoning ?? '') + next.reasoning
  for (const call of next.toolCalls ?? []) addCall((delta.toolCalls ??= []), call)
  if (next.reasoningTokens !== undefined) delta.reasoningTokens = next.reasoningTokens
  for (const token of next.tokens) delta.tokens.push(token)
  for (const logprob of next.logprobs ?? []) (delta.logprobs ??= []).push(logprob)
  for (const logprob of next.promptLogprobs ?? []) (delta.promptLogprobs ??= []).push(logprob)
  if (next.finishReason) delta.finishReason = next.finishReason
  if (next.error) delta.error = next.error
  delta.promptTokens = next.promptTokens
  delta.cachedTokens = next.cachedTokens
  delta.outputTokens = next.outputTokens
}

export class HeldDeltas {
  readonly #byChoice = new Map<number, GenerationDelta>()
  #bytes = 0

  /** About as many bytes as a frame with all of it would have. */
  get bytes(): number {
    return this.#bytes
  }

  get empty(): boolean {
    return this.#byChoice.size === 0
  }

  /** Keeps a copy: the caller's delta stays as it is. */
  add(delta: GenerationDelta): void {
    this.#bytes += weight(delta)
    const held = this.#byChoice.get(delta.choice)
    if (held) merge(held, delta)
    else {
      const copy = { ...delta, tokens: [...delta.tokens] }
      if (delta.logprobs) copy.logprobs = [...delta.logprobs]
      if (delta.toolCalls) copy.toolCalls = [...delta.toolCalls]
      if (delta.promptLogprobs) copy.promptLogprobs = [...delta.promptLogprobs]
      this.#byChoice.set(delta.choice, copy)
    }
  }

  /** What was kept, one delta a choice; nothing is kept afterwards. */
  take(): GenerationDelta[] {
    const deltas = [...this.#byChoice.values()]
    this.#byChoice.clear()
    this.#bytes = 0
    return deltas
  }
}
