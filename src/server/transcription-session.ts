import { requireSpeechModel } from '../engine/model-kinds.js'
import type { StartedTranscription, TranscriptionDelta } from '../engine/speech-types.js'
import { ApiError, toApiError } from '../protocol/errors.js'
import { Transcript, type TranscriptionHead } from '../protocol/transcript-formats.js'
import type { TranscriptionRequest } from '../protocol/transcription-schema.js'
import type { Call } from './call.js'
import type { FlowControl } from './event-stream.js'
import type { LiveCall } from './live-calls.js'
import type { ModelLease } from './model-directory.js'
import type { Outcome } from './outcomes.js'
import type { UploadFile } from './uploads/upload-folder.js'

/** Where a transcription's deltas go. Nothing is called after `finish` or `fail`, which may come before any delta. */
export interface TranscriptionOutput {
  delta(delta: TranscriptionDelta): void
  finish(transcript: Transcript, head: TranscriptionHead): void
  fail(error: ApiError): void
  /** Called about once a second. */
  tick(now: number): void
}

/** One recording from its upload to its last word. It holds the model meanwhile, and removes the recording when it ends, whatever way. */
export class TranscriptionSession implements LiveCall, FlowControl {
  readonly #output: TranscriptionOutput
  readonly #transcript = new Transcript()
  // ends the wait for the model, and the work
  readonly #over = new AbortController()
  #lease: ModelLease | undefined
  #started: StartedTranscription | undefined
  #early: TranscriptionDelta[] = []
  #ended = false
  #pausedAt: number | undefined
  #askedAt = 0
  #position = 0

  constructor(
    private readonly call: Call,
    private readonly request: TranscriptionRequest,
    private readonly upload: UploadFile,
    private readonly fileName: string | undefined,
    makeOutput: (flow: FlowControl) => TranscriptionOutput,
  ) {
    this.#output = makeOutput(this)
  }

  /** Waits for the model and starts the work; the rest follows from its deltas. Never rejects. */
  async run(): Promise<void> {
    const { context, exchange } = this.call
    if (this.#ended) return
    if (exchange.closed) return this.#end('client_gone')
    context.chats.add(this)
    exchange.onAborted(() => this.#end('client_gone'))
    try {
      const lease = await this.#borrow()
      if (this.#ended) return lease.release()
      this.#lease = lease
      const model = requireSpeechModel(lease.model)
      const audio = { path: this.upload.path, ...(this.fileName !== undefined && { name: this.fileName }) }
      this.#askedAt = performance.now()
      const request = { ...this.request.transcribe, audio }
      this.#started = await model.transcribe(request, (delta) => this.#deliver(delta), this.#over.signal)
      // the client may have left, or the drain ended, while the request was on its way
      if (this.#ended) return this.#started.abort()
    } catch (error) {
      if (!this.#ended) this.#refuse(error)
      return
    }
    for (const delta of this.#early.splice(0)) this.#deliver(delta)
  }

  pause(): void {
    if (!this.#ended) this.#pausedAt ??= performance.now()
  }

  resume(): void {
    this.#pausedAt = undefined
  }

  keepAlive(): string {
    return this.#lease ? ': keep-alive\n\n' : ': keep-alive, waiting for the model\n\n'
  }

  tick(now: number): void {
    if (this.#pausedAt === undefined) return this.#output.tick(now)
    if (now - this.#pausedAt < this.call.context.options.slowReaderTimeoutMs) return
    this.call.context.options.log('info', `a client did not read for too long: aborted ${this.call.requestId}`)
    this.#end('slow_reader')
    this.call.exchange.destroy()
  }

  shutDown(): void {
    this.#fail(new ApiError('shutting_down'), 'shut_down')
  }

  async #borrow(): Promise<ModelLease> {
    const { models, metrics } = this.call.context
    metrics.waitingForModel++
    try {
      return await models.lease(this.request.model, this.#over.signal)
    } finally {
      metrics.waitingForModel--
    }
  }

  // the caller serves other requests, too: what goes wrong with this one must not reach it
  #deliver(delta: TranscriptionDelta): void {
    try {
      this.#receive(delta)
    } catch (error) {
      this.#logFault(error)
      try {
        this.#fail(new ApiError('internal_error'), 'failed')
      } catch (again) {
        this.#logFault(again)
        this.call.exchange.destroy()
      }
    }
  }

  #receive(delta: TranscriptionDelta): void {
    if (this.#ended) return
    if (!this.#started) {
      this.#early.push(delta)
      return
    }
    this.#transcript.add(delta)
    this.#position = delta.position
    const { finishReason } = delta
    if (finishReason === 'error') {
      const { code, message } = delta.error ?? { code: 'engine_error' as const, message: undefined }
      return this.#fail(new ApiError(code, message), 'failed')
    }
    // nobody here asked for the abort: the engine gave the recording up
    if (finishReason === 'abort')
      return this.#fail(new ApiError('aborted', 'The transcription was aborted before it was complete.'), 'failed')
    this.#output.delta(delta)
    if (finishReason !== 'stop') return
    const { duration, languageName } = this.#started
    this.#position = duration
    // an answer that cannot be rendered is still to be answered: the session ends after it
    this.#output.finish(this.#transcript, { duration, languageName, task: this.request.transcribe.task ?? 'transcribe' })
    this.#end('stop')
  }

  #refuse(error: unknown): void {
    const apiError = toApiError(error)
    if (apiError.code === 'internal_error') this.#logFault(error)
    this.#fail(apiError, apiError.status < 500 ? 'refused' : 'failed')
  }

  #fail(error: ApiError, outcome: Outcome): void {
    if (this.#ended) return
    this.#end(outcome)
    this.#output.fail(error)
  }

  #logFault(error: unknown): void {
    this.call.context.options.log('error', `${this.call.requestId}: ${error instanceof Error ? error.stack : String(error)}`)
  }

  /** Lets go of everything; without another word to the output. */
  #end(outcome: Outcome): void {
    if (this.#ended) return
    this.#ended = true
    const { chats, metrics } = this.call.context
    if (outcome !== 'stop') {
      this.#over.abort(new ApiError('aborted'))
      this.#started?.abort()
    }
    metrics.speech.ended(outcome, this.#position, this.#askedAt === 0 ? 0 : (performance.now() - this.#askedAt) / 1000)
    this.#lease?.release()
    void this.upload.remove()
    chats.delete(this)
  }
}
