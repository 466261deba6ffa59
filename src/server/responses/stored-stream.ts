import { ApiError, errorObject, toApiError } from '../../protocol/errors.js'
import type { Call } from '../call.js'
import type { LiveCall } from '../live-calls.js'
import type { EventPage } from './database.js'
import { endMark, eventText } from './event-log.js'

/** Writes the stored events of a response to a client: a page at a time, and the next one when the client has taken it. */
export class StoredStream implements LiveCall {
  #next: number
  #over = false
  #blockedAt: number | undefined
  #unblock: () => void = () => undefined

  /** @param from number of the first event to write */
  constructor(
    private readonly call: Call,
    private readonly id: string,
    from: number,
  ) {
    this.#next = from
  }

  /** Resolves when the stream has ended, whatever way. Rejects with an ApiError where it cannot begin. */
  async run(): Promise<void> {
    const { call } = this
    const page = await this.#page()
    if (!page) throw notStreamedAgain()
    if (this.#next < page.oldest) throw eventsGone(page.oldest)
    if (call.exchange.closed) return
    call.context.chats.add(this)
    call.exchange.onAborted(() => this.#end())
    call.exchange.onWritable(() => this.#unblock())
    call.beginEvents()
    try {
      await this.#write(page)
    } catch (error) {
      // it was deleted meanwhile, or there is no store any more
      this.#fail(toApiError(error))
    }
  }

  tick(now: number): void {
    if (this.#blockedAt === undefined || now - this.#blockedAt < this.call.context.options.slowReaderTimeoutMs) return
    this.call.context.options.log('info', `a client did not read for too long: ${this.call.requestId}`)
    this.#end()
    this.call.exchange.destroy()
  }

  shutDown(): void {
    this.#fail(new ApiError('shutting_down'))
  }

  #page(): Promise<EventPage | undefined> {
    return this.call.context.responses.store.call('getEvents', this.call.owner, this.id, this.#next)
  }

  async #write(first: EventPage): Promise<void> {
    const { exchange } = this.call
    let page: EventPage | undefined = first
    while (page && page.text !== '') {
      this.#next = page.next
      if (!exchange.write(page.text)) await this.#writable()
      if (this.#over) return
      page = await this.#page()
      if (this.#over) return
    }
    this.#end()
    exchange.end(endMark)
  }

  async #writable(): Promise<void> {
    this.#blockedAt = performance.now()
    await new Promise<void>((resolve) => (this.#unblock = resolve))
    this.#blockedAt = undefined
  }

  #fail(error: ApiError): void {
    if (this.#over) return
    this.#end()
    const { message, code, param } = errorObject(error)
    this.call.exchange.end(eventText({ type: 'error', sequence_number: this.#next, code, message, param }))
  }

  #end(): void {
    this.#over = true
    this.call.context.chats.delete(this)
    this.#unblock()
  }
}

export function notStreamedAgain(): ApiError {
  return new ApiError(
    'invalid_request',
    'Only a response that was created with `background: true` and `stream: true` can be streamed again.',
  )
}

/** @param first the number of the oldest event that is left */
export function eventsGone(first: number): ApiError {
  return new ApiError('invalid_request', `The events before ${first} are gone.`, 'starting_after')
}
