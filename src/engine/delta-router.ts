// Brings the native engine's deltas to the generations they belong to, with flow control for slow readers.
import type { AnswerReader } from './output/answer-reader.js'
import type { NativeDelta, NativeModel, NativeSampledToken, NativeTokenLogprob } from './native.js'
import type { GenerationDelta, StartedGeneration, TokenLogprob, TopLogprob } from './types.js'

/** Text kept for a paused generation before it is aborted, in UTF-16 units, and the number of deltas. */
const maxHeldText = 1024 * 1024
const maxHeldDeltas = 65536

const decoder = new TextDecoder('utf-8')

function topLogprob({ logprob, bytes }: NativeTokenLogprob): TopLogprob {
  return { token: decoder.decode(bytes), logprob, bytes: [...bytes] }
}

function tokenLogprob(entry: NativeSampledToken): TokenLogprob {
  return { ...topLogprob(entry), top_logprobs: entry.top.map(topLogprob) }
}

function toDelta(native: NativeDelta): GenerationDelta {
  const delta: GenerationDelta = {
    choice: native.choice,
    text: native.text,
    tokens: native.tokens,
    promptTokens: native.promptTokens,
    cachedTokens: native.cachedTokens,
    outputTokens: native.outputTokens,
  }
  if (native.logprobs) delta.logprobs = native.logprobs.map(tokenLogprob)
  if (native.promptLogprobs) delta.promptLogprobs = native.promptLogprobs.map((entry) => entry && tokenLogprob(entry))
  if (native.finishReason) delta.finishReason = native.finishReason
  if (native.finishReason === 'error') {
    delta.error = { code: 'engine_error', message: native.error || 'The engine failed on this request.' }
  }
  return delta
}

class Generation implements StartedGeneration {
  readonly #open: Set<number>
  #held: GenerationDelta[] | undefined
  #heldText = 0

  constructor(
    private readonly router: DeltaRouter,
    readonly id: number,
    choices: number,
    readonly promptTokens: number,
    private readonly onDelta: (delta: GenerationDelta) => void,
    /** One a choice; empty: the text goes out as it is. */
    private readonly readers: readonly AnswerReader[],
  ) {
    this.#open = new Set(Array.from({ length: choices }, (_, choice) => choice))
  }

  /** Returns true when the last choice has ended. */
  receive(raw: GenerationDelta): boolean {
    // the choice was complete before the engine ended it
    if (!this.#open.has(raw.choice)) return false
    const reader = this.readers[raw.choice]
    const delta = reader ? reader.read(raw) : raw
    if (delta.finishReason) this.#open.delete(delta.choice)
    if (!this.#held) {
      this.onDelta(delta)
    } else {
      this.#held.push(delta)
      this.#heldText += raw.text.length
      if (this.#heldText > maxHeldText || this.#held.length > maxHeldDeltas) this.abort()
    }
    if (this.#open.size > 0) return false
    if (this.readers.some(({ done }) => done)) this.abort()
    return true
  }

  /** Ends every choice that is still open. */
  fail(error: NonNullable<GenerationDelta['error']>): void {
    for (const choice of [...this.#open]) {
      this.receive({
        choice,
        text: '',
        tokens: [],
        finishReason: 'error',
        promptTokens: this.promptTokens,
        cachedTokens: 0,
        outputTokens: 0,
        error,
      })
    }
  }

  abort(): void {
    this.router.abort(this.id)
  }

  pause(): void {
    this.#held ??= []
  }

  resume(): void {
    const held = this.#held
    this.#held = undefined
    this.#heldText = 0
    if (!held) return
    for (const [index, delta] of held.entries()) {
      this.onDelta(delta)
      // the reader may have paused again in the meantime
      if (this.#held) {
        ;(this.#held as GenerationDelta[]).push(...held.slice(index + 1))
        return
      }
    }
  }
}

/** The open generations of one native model. */
export class DeltaRouter {
  readonly #generations = new Map<number, Generation>()
  #native: NativeModel | undefined

  get size(): number {
    return this.#generations.size
  }

  attach(native: NativeModel): void {
    this.#native = native
  }

  open(
    id: number,
    choices: number,
    promptTokens: number,
    onDelta: (delta: GenerationDelta) => void,
    readers: readonly AnswerReader[] = [],
  ): StartedGeneration {
    const generation = new Generation(this, id, choices, promptTokens, onDelta, readers)
    this.#generations.set(id, generation)
    this.#native?.setBusy(true)
    return generation
  }

  drop(id: number): void {
    this.#generations.delete(id)
    if (this.#generations.size === 0) this.#native?.setBusy(false)
  }

  abort(id: number): void {
    if (this.#generations.has(id)) this.#native?.abort(id)
  }

  /** Called by the native engine's wake: hands out everything that its steps have brought since. */
  deliver(): void {
    for (const native of this.#native?.take() ?? []) {
      if (this.#generations.get(native.id)?.receive(toDelta(native))) this.drop(native.id)
    }
  }

  /** Ends what is left after the native model has been closed. */
  abandon(): void {
    for (const generation of [...this.#generations.values()]) {
      generation.fail({ code: 'shutting_down', message: 'The model has been unloaded.' })
      this.#generations.delete(generation.id)
    }
    this.#native = undefined
  }
}
