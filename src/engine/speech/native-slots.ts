// The slots of a native speech model as backends of transcriptions: promises in place of operations and their results.
import { setTimeout as sleep } from 'node:timers/promises'
import type { NativeSpeechModel, NativeSpeechModelInfo, NativeSpeechResult, NativeSpeechToken } from '../native-speech.js'
import { RequestError } from '../types.js'
import type { AlignRequest, Decoded, DecodeRequest, SpeechBackend } from './backend.js'
import { firstTime, type SpeechVocabulary } from './vocabulary.js'

// how often a slot that is being closed is looked at
const closingMs = 2

interface Operation {
  readonly tokens: NativeSpeechToken[]
  readonly resolve: (result: NativeSpeechResult, tokens: NativeSpeechToken[]) => void
  readonly reject: (error: unknown) => void
}

/** Slots of one model. `deliver` is to be called after each of its wakes. */
export class NativeSlots {
  readonly #operations = new Map<number, Operation>()
  #native: NativeSpeechModel | undefined
  #info: NativeSpeechModelInfo | undefined
  #nextOp = 1
  #open = 0

  /** @param info the model's own, which is made anew each time that it is asked for */
  attach(native: NativeSpeechModel, info: NativeSpeechModelInfo): void {
    this.#native = native
    this.#info = info
  }

  /**
   * A slot, to be closed, for who has a turn. The signal ends what runs in it. One that was just closed is free when the engine has
   * come to it, between two steps: until then it is waited for. Rejects with the signal's reason.
   */
  async open(vocabulary: SpeechVocabulary, signal: AbortSignal): Promise<NativeSlot> {
    for (;;) {
      signal.throwIfAborted()
      const { native, info } = this.#require()
      const slot = native.open()
      if (slot >= 0) {
        this.#open++
        native.setBusy(true)
        return new NativeSlot(this, native, info, slot, vocabulary, signal)
      }
      await sleep(closingMs)
    }
  }

  closed(): void {
    if (--this.#open === 0) this.#native?.setBusy(false)
  }

  /** Begins an operation, and resolves with its last result. */
  run(begin: (op: number) => void): Promise<{ result: NativeSpeechResult; tokens: NativeSpeechToken[] }> {
    return new Promise((resolve, reject) => {
      const op = this.#nextOp++
      this.#operations.set(op, { tokens: [], resolve: (result, tokens) => resolve({ result, tokens }), reject })
      try {
        begin(op)
      } catch (error) {
        this.#operations.delete(op)
        reject(error)
      }
    })
  }

  /** Hands out what the native engine has brought. */
  deliver(): void {
    for (const result of this.#native?.take() ?? []) {
      const operation = this.#operations.get(result.op)
      if (!operation) continue
      for (const token of result.tokens) operation.tokens.push(token)
      if (result.finish === '') continue
      this.#operations.delete(result.op)
      if (result.finish === 'error')
        operation.reject(new RequestError('engine_error', result.error || 'The engine failed on this recording.'))
      else operation.resolve(result, operation.tokens)
    }
  }

  /** Ends what is left after the native model has been closed. */
  abandon(): void {
    this.#native = undefined
    for (const { reject } of this.#operations.values()) reject(unloaded())
    this.#operations.clear()
  }

  #require(): { native: NativeSpeechModel; info: NativeSpeechModelInfo } {
    if (!this.#native || !this.#info) throw unloaded()
    return { native: this.#native, info: this.#info }
  }
}

const unloaded = (): RequestError => new RequestError('shutting_down', 'The model has been unloaded.')

/** Where the checkpoint does not say which heads follow the sound: all of the later layers, as OpenAI has it. */
function laterHeads({ decoderLayers, decoderHeads }: NativeSpeechModelInfo): [number, number][] {
  const first = Math.floor(decoderLayers / 2)
  return Array.from({ length: (decoderLayers - first) * decoderHeads }, (_, index) => [
    first + Math.floor(index / decoderHeads),
    index % decoderHeads,
  ])
}

/** One recording's place. */
export class NativeSlot implements SpeechBackend {
  readonly #end: () => void

  constructor(
    private readonly slots: NativeSlots,
    private readonly native: NativeSpeechModel,
    private readonly info: NativeSpeechModelInfo,
    private readonly slot: number,
    readonly vocabulary: SpeechVocabulary,
    private readonly signal: AbortSignal,
  ) {
    this.#end = () => native.abort(slot)
    signal.addEventListener('abort', this.#end)
  }

  get melBands(): number {
    return this.info.melBands
  }

  get positions(): number {
    return this.info.positions
  }

  get context(): number {
    return this.info.context
  }

  /** Gives the slot back. */
  close(): void {
    this.signal.removeEventListener('abort', this.#end)
    this.native.closeSlot(this.slot)
    this.slots.closed()
  }

  async encode(mel: Float32Array): Promise<void> {
    await this.#run((op) => this.native.encode(this.slot, mel, op))
  }

  async decode(request: DecodeRequest): Promise<Decoded> {
    const { vocabulary } = this
    const { startAt, timestamps, topLogprobs = 0 } = request
    const { result, tokens } = await this.#run((op) =>
      this.native.decode(this.slot, {
        op,
        prompt: Int32Array.from(request.prompt),
        maxNewTokens: request.maxNewTokens,
        eos: vocabulary.end,
        suppress: vocabulary.suppress,
        beginSuppress: vocabulary.beginSuppress,
        ...(timestamps && {
          timestamps: {
            begin: firstTime(vocabulary),
            noTimestamps: vocabulary.noTimestamps,
            ...(vocabulary.maxInitialTime !== undefined && { maxInitialIndex: vocabulary.maxInitialTime }),
          },
        }),
        temperature: request.temperature,
        seed: BigInt.asUintN(64, BigInt(request.seed)),
        noSpeech: { token: vocabulary.noSpeech, position: startAt },
        topLogprobs,
      }),
    )
    const ended = result.finish === 'eos'
    return {
      tokens: ended ? tokens.slice(0, -1) : tokens,
      ended,
      avgLogprob: result.avgLogprob,
      noSpeechProb: result.noSpeechProb,
    }
  }

  async score(tokens: readonly number[], ids: readonly number[]): Promise<ArrayLike<number>> {
    const { result } = await this.#run((op) =>
      this.native.score(this.slot, { op, tokens: Int32Array.from(tokens), ids: Int32Array.from(ids) }),
    )
    return result.values
  }

  async align({ prompt, tokens, positions }: AlignRequest): Promise<ArrayLike<number>> {
    const { result } = await this.#run((op) =>
      this.native.align(this.slot, {
        op,
        prompt: Int32Array.from(prompt),
        tokens: Int32Array.from(tokens),
        positions,
        heads: this.vocabulary.alignmentHeads ?? laterHeads(this.info),
        medianWidth: this.vocabulary.alignmentWidth,
      }),
    )
    return result.values
  }

  async #run(begin: (op: number) => void): Promise<{ result: NativeSpeechResult; tokens: NativeSpeechToken[] }> {
    this.signal.throwIfAborted()
    const done = await this.slots.run(begin)
    this.signal.throwIfAborted()
    if (done.result.finish === 'aborted') throw unloaded()
    return done
  }
}
