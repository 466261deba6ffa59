// The transcriptions that a worker's front has asked for and that have not ended.
import { requireSpeechModel, type AnyModel } from '../engine/model-kinds.js'
import type { StartedTranscription, TranscriptionDelta } from '../engine/speech-types.js'
import { RequestError } from '../engine/types.js'
import { parseTranscribeRequest, type WorkerMessage } from './messages.js'

export interface TranscriptionHost {
  send(message: WorkerMessage): void
  /** What the front is told of a request that failed. */
  refusal(error: unknown): RequestError
}

export class Transcriptions {
  readonly #open = new Map<number, AbortController>()

  constructor(private readonly host: TranscriptionHost) {}

  get size(): number {
    return this.#open.size
  }

  has(id: number): boolean {
    return this.#open.has(id)
  }

  /** Answers the front's request; never rejects. */
  async begin(id: number, model: AnyModel | undefined, json: Uint8Array): Promise<void> {
    const ending = new AbortController()
    this.#open.set(id, ending)
    // the front hears first that it has begun
    const early: TranscriptionDelta[] = []
    let started: StartedTranscription | undefined
    const deliver = (delta: TranscriptionDelta): void => {
      if (!started) return void early.push(delta)
      if (delta.finishReason) this.#open.delete(id)
      this.host.send({ type: 'transcript', id, delta })
    }
    try {
      if (!model) throw new RequestError('model_loading', 'The model is still being loaded.')
      started = await requireSpeechModel(model).transcribe(parseTranscribeRequest(json), deliver, ending.signal)
      const { duration, language, languageName } = started
      this.host.send({ type: 'transcribing', id, duration, language, languageName })
      for (const delta of early) deliver(delta)
    } catch (error) {
      this.#open.delete(id)
      // nobody waits for the answer any more
      if (ending.signal.aborted) return
      const { code, message, param } = this.host.refusal(error)
      this.host.send({ type: 'rejected', id, code, message, param })
    }
  }

  /** Ends it wherever it is: before its answer, in the waiting line, or between two steps. */
  abort(id: number): void {
    this.#open.get(id)?.abort()
  }

  abortAll(): void {
    for (const ending of this.#open.values()) ending.abort()
  }
}
