import { errorEvent } from '../protocol/chat-mapping.js'
import type { ApiError } from '../protocol/errors.js'
import type { Call } from './call.js'
import type { TurnListener } from './turn.js'

/** What a streamed output needs of the generations behind it. */
export interface FlowControl {
  pause(): void
  resume(): void
  /** The comment that a silent stream gets. */
  keepAlive(): string
}

/**
 * Server-sent events as an answer: what one turn brings leaves in one write. The status line goes with the first of it, so that a request which
 * fails while it waits still gets a status that says so; one that waits for long gets keep-alives meanwhile.
 */
export class EventStream implements TurnListener {
  #opened = false
  #pending = ''
  #scheduled = false
  #lastWrite = performance.now()

  constructor(
    readonly call: Call,
    readonly flow: FlowControl,
  ) {}

  open(): void {
    if (this.#opened) return
    this.#opened = true
    this.call.beginEvents()
    this.call.exchange.onWritable(() => this.flow.resume())
  }

  /** @param events whole ones; they leave when the turn ends */
  write(events: string): void {
    this.open()
    this.#pending += events
    if (this.#pending === '' || this.#scheduled) return
    this.#scheduled = true
    this.call.context.turn.atEnd(this)
  }

  onTurnEnd(now: number): void {
    this.#scheduled = false
    this.#flush(now)
  }

  end(events: string): void {
    this.open()
    const all = this.#pending + events
    this.#pending = ''
    this.call.exchange.end(all)
  }

  fail(error: ApiError): void {
    if (this.#opened) this.end(errorEvent(error))
    else this.call.fail(error)
  }

  /** Whether nothing has left for so long that a keep-alive is due. */
  silent(now: number): boolean {
    return now - this.#lastWrite >= this.call.context.options.keepAliveMs && !this.call.exchange.closed
  }

  keepAlive(): void {
    this.open()
    this.#pending += this.flow.keepAlive()
    this.#flush(performance.now())
  }

  /** Silence counts from now on. */
  touch(): void {
    this.#lastWrite = performance.now()
  }

  #flush(now: number): void {
    if (this.#pending === '') return
    const text = this.#pending
    this.#pending = ''
    this.#lastWrite = now
    if (!this.call.exchange.write(text)) this.flow.pause()
  }
}
