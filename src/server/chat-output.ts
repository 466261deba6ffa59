import type { GenerationDelta } from '../engine/types.js'
import { ChatChunks, ChatReply, type CompletionHead, type UsageCount } from '../protocol/chat-mapping.js'
import { functionNames } from '../protocol/chat-functions.js'
import type { ChatRequest } from '../protocol/chat-schema.js'
import type { ApiError } from '../protocol/errors.js'
import { renamedFields } from '../protocol/renamed-fields.js'
import type { Call } from './call.js'
import { EventStream, type FlowControl } from './event-stream.js'
import type { GenerationOutput } from './generation-session.js'

// what is wrong with tools is wrong with `functions` where the request has those
const inWordsOf = ({ functionCalls }: ChatRequest, error: ApiError): ApiError =>
  functionCalls ? renamedFields(error, functionNames) : error

/** Chunks of a chat completion. */
export class StreamedOutput implements GenerationOutput {
  readonly #stream: EventStream
  #chunks: ChatChunks | undefined
  #introduced = false

  constructor(
    call: Call,
    readonly request: ChatRequest,
    flow: FlowControl,
  ) {
    this.#stream = new EventStream(call, flow)
  }

  begin(head: CompletionHead): void {
    this.#chunks = new ChatChunks(head, this.request.usage, this.request.functionCalls)
    this.#stream.touch()
  }

  delta(_prompt: number, delta: GenerationDelta, usage: UsageCount, last: boolean): void {
    const chunks = this.#introduce()
    const { choice, finishReason } = delta
    const events = chunks.delta(delta)
    const ended = finishReason !== undefined && finishReason !== 'abort' && finishReason !== 'error'
    this.#stream.write(ended ? events + chunks.finish(choice, finishReason, last ? usage : undefined) : events)
  }

  finish(usage: UsageCount): void {
    this.#stream.end(this.#introduce().done(usage))
  }

  fail(error: ApiError): void {
    this.#stream.fail(inWordsOf(this.request, error))
  }

  tick(now: number): void {
    if (!this.#stream.silent(now)) return
    if (this.#chunks) this.#introduce()
    this.#stream.keepAlive()
  }

  // who answers is known only when the model is there
  #introduce(): ChatChunks {
    if (!this.#chunks) throw new Error('a delta came before the beginning')
    const choices = this.#introduced ? 0 : (this.request.generate.n ?? 1)
    this.#introduced = true
    for (let choice = 0; choice < choices; choice++) this.#stream.write(this.#chunks.role(choice))
    return this.#chunks
  }
}

/** One JSON reply at the end. */
export class WholeOutput implements GenerationOutput {
  #reply: ChatReply | undefined

  constructor(
    readonly call: Call,
    readonly request: ChatRequest,
  ) {}

  begin(head: CompletionHead): void {
    const { n = 1, params } = this.request.generate
    this.#reply = new ChatReply(head, n, params.logprobs ?? false, this.request.functionCalls)
  }

  delta(_prompt: number, delta: GenerationDelta): void {
    this.#reply?.add(delta)
  }

  finish(usage: UsageCount): void {
    if (this.#reply) this.call.sendJson(200, this.#reply.render(usage))
  }

  fail(error: ApiError): void {
    this.call.fail(inWordsOf(this.request, error))
  }

  tick(): void {
    // nothing can be said before the reply
  }
}
