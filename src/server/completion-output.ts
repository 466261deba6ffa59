import type { GenerationDelta, PromptEcho } from '../engine/types.js'
import type { CompletionHead, UsageCount } from '../protocol/chat-mapping.js'
import { CompletionChunks, CompletionReply } from '../protocol/completions-mapping.js'
import type { CompletionRequest } from '../protocol/completions-schema.js'
import type { ApiError } from '../protocol/errors.js'
import type { Call } from './call.js'
import { EventStream, type FlowControl } from './event-stream.js'
import type { GenerationOutput } from './generation-session.js'

/** Chunks of a text completion. */
export class StreamedCompletion implements GenerationOutput {
  readonly #stream: EventStream
  #chunks: CompletionChunks | undefined
  readonly #introduced = new Set<number>()
  readonly #echoes: (PromptEcho | undefined)[] = []

  constructor(
    call: Call,
    readonly request: CompletionRequest,
    flow: FlowControl,
  ) {
    this.#stream = new EventStream(call, flow)
  }

  begin(head: CompletionHead): void {
    this.#chunks = new CompletionChunks(head, this.request)
    this.#stream.touch()
  }

  prompt(prompt: number, echo: PromptEcho | undefined): void {
    this.#echoes[prompt] = echo
  }

  delta(prompt: number, delta: GenerationDelta, usage: UsageCount, last: boolean): void {
    const chunks = this.#chunks
    if (!chunks) throw new Error('a delta came before the beginning')
    // the prompt's text goes with the first of its answer, so that a request that fails before it still gets a status
    const text = this.#introduced.has(prompt) ? '' : chunks.begin(prompt, this.#echoes[prompt])
    this.#introduced.add(prompt)
    this.#stream.write(text + chunks.delta(prompt, delta, last ? usage : undefined))
  }

  finish(usage: UsageCount): void {
    this.#stream.end(this.#chunks?.done(usage) ?? '')
  }

  fail(error: ApiError): void {
    this.#stream.fail(error)
  }

  tick(now: number): void {
    if (this.#stream.silent(now)) this.#stream.keepAlive()
  }
}

/** One JSON reply at the end. */
export class WholeCompletion implements GenerationOutput {
  #reply: CompletionReply | undefined

  constructor(
    readonly call: Call,
    readonly request: CompletionRequest,
  ) {}

  begin(head: CompletionHead): void {
    this.#reply = new CompletionReply(head, this.request)
  }

  prompt(prompt: number, echo: PromptEcho | undefined): void {
    this.#reply?.begin(prompt, echo)
  }

  delta(prompt: number, delta: GenerationDelta): void {
    this.#reply?.delta(prompt, delta)
  }

  finish(usage: UsageCount): void {
    if (this.#reply) this.call.sendJson(200, this.#reply.render(usage))
  }

  fail(error: ApiError): void {
    this.call.fail(error)
  }

  tick(): void {
    // nothing can be said before the reply
  }
}
