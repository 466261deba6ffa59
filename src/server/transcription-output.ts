import type { TranscriptionDelta } from '../engine/speech-types.js'
import type { ApiError } from '../protocol/errors.js'
import { deltaEvent, doneEvent, renderTranscript, type Transcript, type TranscriptionHead } from '../protocol/transcript-formats.js'
import type { TranscriptionRequest } from '../protocol/transcription-schema.js'
import type { Call } from './call.js'
import { EventStream, type FlowControl } from './event-stream.js'
import type { TranscriptionOutput } from './transcription-session.js'

/** The events of a stream. */
export class StreamedTranscript implements TranscriptionOutput {
  readonly #stream: EventStream

  constructor(
    call: Call,
    private readonly request: TranscriptionRequest,
    flow: FlowControl,
  ) {
    this.#stream = new EventStream(call, flow)
  }

  delta(delta: TranscriptionDelta): void {
    this.#stream.write(deltaEvent(delta))
  }

  finish(transcript: Transcript, head: TranscriptionHead): void {
    this.#stream.end(doneEvent(transcript, head, this.request.transcribe.logprobs ?? false))
  }

  fail(error: ApiError): void {
    this.#stream.fail(error)
  }

  tick(now: number): void {
    if (this.#stream.silent(now)) this.#stream.keepAlive()
  }
}

/** One answer at the end. */
export class WholeTranscript implements TranscriptionOutput {
  /** @param render makes the answer of the transcript */
  constructor(
    private readonly call: Call,
    private readonly render: (transcript: Transcript, head: TranscriptionHead) => { contentType: string; body: string },
  ) {}

  /** As the request's format says. */
  static of(call: Call, request: TranscriptionRequest): WholeTranscript {
    const { format, segments, words, transcribe } = request
    const view = { format, segments, words, logprobs: transcribe.logprobs ?? false }
    return new WholeTranscript(call, (transcript, head) => renderTranscript(transcript, head, view))
  }

  delta(): void {
    // the session keeps the transcript
  }

  finish(transcript: Transcript, head: TranscriptionHead): void {
    const { contentType, body } = this.render(transcript, head)
    this.call.sendText(200, contentType, body)
  }

  fail(error: ApiError): void {
    this.call.fail(error)
  }

  tick(): void {
    // nothing can be said before the answer
  }
}
