// A transcription in a worker process, seen from the front.
import type { StartedTranscription, TranscriptionDelta } from '../engine/speech-types.js'
import type { RequestError } from '../engine/types.js'

/** What a transcription needs of its model. */
export interface TranscriptionHost {
  /** Tells the worker that it is to end. */
  abort(id: number): void
  /** Its last delta was delivered, or its caller has left before it began. */
  ended(id: number): void
  listenerFailed(error: unknown): void
}

type Failure = NonNullable<TranscriptionDelta['error']>

/** From the request to the last delta. */
export class WorkerTranscription {
  /** Resolves when the worker has begun; rejects with its refusal, or the signal's reason. */
  readonly started: Promise<StartedTranscription>

  readonly #answer = Promise.withResolvers<StartedTranscription>()
  readonly #early: TranscriptionDelta[] = []
  // the caller must come to its next turn before it sees deltas
  #opening = false
  #begun = false
  #ended = false
  #position = 0

  constructor(
    readonly id: number,
    private readonly onDelta: (delta: TranscriptionDelta) => void,
    private readonly host: TranscriptionHost,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.started = this.#answer.promise
    this.signal?.addEventListener('abort', this.#onSignal, { once: true })
  }

  begin(facts: Omit<StartedTranscription, 'abort'>): void {
    if (this.#begun || this.#ended) return
    this.#begun = true
    this.#opening = true
    this.#answer.resolve({ ...facts, abort: () => this.#abort() })
    setImmediate(() => {
      this.#opening = false
      for (const delta of this.#early.splice(0)) this.receive(delta)
    })
  }

  refuse(error: RequestError): void {
    this.#end()
    this.#answer.reject(error)
  }

  receive(delta: TranscriptionDelta): void {
    if (this.#ended) return
    if (!this.#begun || this.#opening) return void this.#early.push(delta)
    this.#position = delta.position
    if (delta.finishReason) this.#end()
    try {
      this.onDelta(delta)
    } catch (error) {
      // a listener that fails must not take others' deltas with it
      this.host.listenerFailed(error)
      if (this.#ended) return
      this.#end()
      this.host.abort(this.id)
    }
  }

  /** The worker is gone, or going. */
  fail(error: Failure, refusal: RequestError): void {
    if (!this.#begun) return this.refuse(refusal)
    this.receive({ text: '', segments: [], position: this.#position, finishReason: 'error', error })
  }

  #abort(): void {
    if (!this.#ended) this.host.abort(this.id)
  }

  readonly #onSignal = (): void => {
    this.#abort()
    if (this.#begun || this.#ended) return
    this.#end()
    this.#answer.reject(this.signal?.reason)
  }

  #end(): void {
    this.#ended = true
    this.signal?.removeEventListener('abort', this.#onSignal)
    this.host.ended(this.id)
  }
}
