// A speech model whose answers a test writes; it keeps what it was asked.
import type { AlignRequest, Decoded, DecodeRequest, SpeechBackend } from '../../src/engine/speech/backend.js'
import type { SpeechVocabulary } from '../../src/engine/speech/vocabulary.js'

export interface ScriptedAnswer {
  tokens?: readonly number[]
  ended?: boolean
  avgLogprob?: number
  noSpeechProb?: number
}

export class ScriptedBackend implements SpeechBackend {
  readonly melBands = 2
  readonly positions = 1500
  readonly context = 448
  readonly windows: Float32Array[] = []
  readonly decodes: DecodeRequest[] = []
  readonly scores: { tokens: readonly number[]; ids: readonly number[] }[] = []
  readonly aligns: AlignRequest[] = []
  /** Called before each answer; what it throws the backend rejects with. */
  check: () => void = () => undefined
  logits: (ids: readonly number[]) => number[] = (ids) => ids.map(() => 0)

  /** @param answer to the decode request with this index */
  constructor(
    readonly vocabulary: SpeechVocabulary,
    private readonly answer: (index: number, request: DecodeRequest, backend: ScriptedBackend) => ScriptedAnswer,
  ) {}

  async encode(mel: Float32Array): Promise<void> {
    await this.#turn()
    this.windows.push(mel)
  }

  async decode(request: DecodeRequest): Promise<Decoded> {
    await this.#turn()
    this.decodes.push(request)
    const { tokens = [], ended = true, avgLogprob = -0.5, noSpeechProb = 0 } = this.answer(this.decodes.length - 1, request, this)
    const kept = tokens.slice(0, request.maxNewTokens)
    return { tokens: kept.map((id) => ({ id, logprob: -0.5, top: [] })), ended, avgLogprob, noSpeechProb }
  }

  async score(tokens: readonly number[], ids: readonly number[]): Promise<number[]> {
    await this.#turn()
    this.scores.push({ tokens, ids })
    return this.logits(ids)
  }

  /** Each token begins half a second after the one before it. */
  async align(request: AlignRequest): Promise<number[]> {
    await this.#turn()
    this.aligns.push(request)
    return request.tokens.map((_, index) => Math.min((index + 1) * 0.5, request.positions * 0.02))
  }

  async #turn(): Promise<void> {
    await Promise.resolve()
    this.check()
  }
}
