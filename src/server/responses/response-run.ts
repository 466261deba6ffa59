import type { GenerateRequest, GenerationDelta } from '../../engine/types.js'
import type { UsageCount } from '../../protocol/chat-mapping.js'
import { ApiError } from '../../protocol/errors.js'
import { canonicalName } from '../../protocol/model-names.js'
import { ResponseBuilder, type ResponseHead } from '../../protocol/responses/builder.js'
import type { Item } from '../../protocol/responses/items.js'
import type { ResponseResource, ResponseUsage } from '../../protocol/responses/resource.js'
import { chatRequestOf, inOwnWords, type ResponsesRequest } from '../../protocol/responses/schema.js'
import type { Owner } from '../api-keys.js'
import type { Call } from '../call.js'
import type { ServerContext } from '../context.js'
import { GenerationRun, type GenerationSink } from '../generation-run.js'
import type { LiveCall } from '../live-calls.js'
import type { ModelLease } from '../model-directory.js'
import type { Outcome } from '../outcomes.js'
import { withTemplateDefaults } from '../template-defaults.js'
import { EventLog } from './event-log.js'
import { EventReader } from './event-reader.js'
import type { LogBudget } from './log-budget.js'
import { olderLeftOut } from './truncation.js'

/** Memory of the events of one background response. */
const maxLogBytes = 32 << 20

/** What a run is made of. */
export interface RunSettings {
  context: ServerContext
  owner: Owner
  request: ResponsesRequest
  head: ResponseHead
  /** What was said before the request's own input. */
  before: readonly Item[]
  /** The request's own input, references resolved. */
  input: readonly Item[]
  /** Whether its events are read. */
  streamed: boolean
  /** Shared by the logs of all background responses. */
  budget: LogBudget
  startedAt: number
  label: string
  /** Called once, when nothing changes any more. */
  onEnd(run: ResponseRun): void
}

const now = (): number => Math.floor(Date.now() / 1000)

function usageOf(usage: UsageCount): ResponseUsage {
  return {
    input_tokens: usage.promptTokens,
    input_tokens_details: { cached_tokens: usage.cachedTokens, cache_write_tokens: 0 },
    output_tokens: usage.outputTokens,
    output_tokens_details: { reasoning_tokens: usage.reasoningTokens },
    total_tokens: usage.promptTokens + usage.outputTokens,
  }
}

/** One response from its request to its end: it may outlive the connection that asked for it. */
export class ResponseRun implements GenerationSink, LiveCall {
  readonly log: EventLog
  readonly #builder: ResponseBuilder
  readonly #generation: GenerationRun
  readonly #readers = new Set<EventReader>()
  #call: Call | undefined
  #attempts = 0

  /** Throws an ApiError where the request makes no sense together with what came before it. */
  constructor(private readonly settings: RunSettings) {
    const { context, request, head, before, input } = settings
    const chat = chatRequestOf(request, [...before, ...input])
    const generate = withTemplateDefaults(chat.generate, context)
    this.log = new EventLog(this.background ? { maxBytes: maxLogBytes, budget: settings.budget } : undefined)
    const emit = settings.streamed ? this.log.add.bind(this.log) : () => undefined
    this.#builder = new ResponseBuilder(head, request.logprobs, emit)
    const asked = { generate, owner: settings.owner, ...(request.model === undefined ? {} : { model: request.model }) }
    this.#generation = new GenerationRun(context, asked, this, settings.startedAt, settings.label)
    this.#builder.create()
  }

  get id(): string {
    return this.settings.head.id
  }

  get background(): boolean {
    return this.settings.request.echo.background
  }

  get streamed(): boolean {
    return this.settings.streamed
  }

  /** The request's own input. */
  get input(): readonly Item[] {
    return this.settings.input
  }

  /** The response as of now. */
  get resource(): ResponseResource {
    const { resource } = this.#builder
    return { ...resource, output: [...resource.output] }
  }

  get ended(): boolean {
    return this.#builder.ended
  }

  /** Starts it. Never rejects. */
  run(): Promise<void> {
    this.settings.context.chats.add(this)
    return this.#generation.run()
  }

  /** Answers the call with the whole response when it is complete; the response ends when the client leaves. */
  answer(call: Call): void {
    this.#call = call
    call.exchange.onAborted(() => this.#abandon('client_gone'))
  }

  /** Streams the events to a client. @param from number of the first one */
  stream(call: Call, from: number): void {
    if (!this.background) this.#call = call
    const reader: EventReader = new EventReader(
      call,
      this.log,
      from,
      {
        keepAlive: () => this.#generation.keepAlive(),
        onFlow: (blocked) => {
          if (this.background) return
          if (blocked) this.#generation.pause()
          else this.#generation.resume()
        },
        onGone: (why) => {
          this.#readers.delete(reader)
          if (!this.background) this.#abandon(why)
        },
        onDone: () => this.#readers.delete(reader),
      },
      this.background,
    )
    this.#readers.add(reader)
  }

  cancel(): void {
    if (this.ended) return
    this.#generation.stop('client_gone')
    this.#builder.cancel()
    this.#finished()
  }

  tick(time: number): void {
    for (const reader of [...this.#readers]) reader.tick(time)
  }

  shutDown(): void {
    this.#generation.fail(new ApiError('shutting_down'), 'shut_down')
  }

  // what the generation tells

  begin(lease: ModelLease): void {
    this.#builder.begin(canonicalName(lease.name))
  }

  delta(delta: GenerationDelta): void {
    this.#builder.add(delta)
    for (const reader of this.#readers) reader.open()
  }

  finish(usage: UsageCount, cut: boolean): void {
    this.#builder.finish(cut, usageOf(usage), now())
    this.#finished()
    const call = this.#call
    if (call && !this.streamed) call.sendJson(200, JSON.stringify(this.resource))
  }

  fail(error: ApiError): void {
    const told = inOwnWords(error)
    this.#builder.fail(told)
    const call = this.#call
    // as long as nothing has been sent, the status says it best
    if (call && !call.answered) {
      for (const reader of this.#readers) reader.detach()
      call.fail(told)
    }
    this.#finished()
  }

  retry(error: ApiError): GenerateRequest | undefined {
    const { request, before, input, context } = this.settings
    if (!request.truncate || error.code !== 'context_length_exceeded') return undefined
    const fewer = olderLeftOut([...before, ...input], this.#attempts++)
    return fewer && withTemplateDefaults(chatRequestOf(request, fewer).generate, context)
  }

  #abandon(outcome: Outcome): void {
    if (this.ended) return
    if (outcome === 'slow_reader') this.settings.context.options.log('info', `a client did not read for too long: ${this.settings.label}`)
    this.#generation.stop(outcome)
    this.#builder.cancel()
    this.#finished()
  }

  #finished(): void {
    this.settings.context.chats.delete(this)
    this.log.end()
    this.settings.onEnd(this)
  }
}
