import type { Call } from '../call.js'
import type { TurnListener } from '../turn.js'
import { endMark, type EventListener, type EventLog } from './event-log.js'

/** Characters that go out in one write. */
const writeLength = 64 << 10

/** What a reader tells of its client. */
export interface ReaderEvents {
  /** The comment that a silent stream gets. */
  keepAlive(): string
  /** The client does not keep up, or has caught up again. */
  onFlow?(blocked: boolean): void
  /** The client has left, or has not read for too long. */
  onGone(why: 'client_gone' | 'slow_reader'): void
  /** Everything has been written. */
  onDone?(): void
}

/** Writes a response's events to one client. The status line goes with the first write. */
export class EventReader implements EventListener, TurnListener {
  #next: number
  #opened = false
  #blockedAt: number | undefined
  #scheduled = false
  #lastWrite = performance.now()
  #over = false
  readonly #deafen: () => void

  /** @param from number of the first event to write @param open whether to begin before there is an event */
  constructor(
    private readonly call: Call,
    private readonly log: EventLog,
    from: number,
    private readonly events: ReaderEvents,
    open: boolean,
  ) {
    this.#next = from
    this.#deafen = log.listen(this)
    call.exchange.onAborted(() => this.#leave('client_gone'))
    if (open) this.open()
  }

  /** Sends the status line. */
  open(): void {
    if (this.#opened || this.#over) return
    this.#opened = true
    this.call.beginEvents()
    this.call.exchange.onWritable(() => this.#unblock())
    this.onEvents()
  }

  // what one engine step brings leaves in one write
  onEvents(): void {
    if (!this.#opened || this.#scheduled || this.#over) return
    this.#scheduled = true
    this.call.context.turn.atEnd(this)
  }

  onTurnEnd(): void {
    this.#scheduled = false
    this.#pump()
  }

  /** Called about once a second. @param now performance.now() */
  tick(now: number): void {
    if (this.#over) return
    const { slowReaderTimeoutMs, keepAliveMs } = this.call.context.options
    if (this.#blockedAt !== undefined) {
      if (now - this.#blockedAt < slowReaderTimeoutMs) return
      this.#leave('slow_reader')
      return this.call.exchange.destroy()
    }
    if (now - this.#lastWrite < keepAliveMs || this.call.exchange.closed) return
    this.open()
    this.#write(this.events.keepAlive())
  }

  /** Lets go of the log without a word to the client. */
  detach(): void {
    this.#over = true
    this.#deafen()
  }

  #pump(): void {
    if (!this.#over && this.#next < this.log.first) {
      // what it has not read yet had to make room: better no stream than one with a gap
      this.#leave('slow_reader')
      return this.call.exchange.destroy()
    }
    while (!this.#over && this.#blockedAt === undefined && this.#next < this.log.next) {
      const { text, next } = this.log.read(this.#next, writeLength)
      this.#next = next
      this.log.release(next)
      this.#write(text)
    }
    if (this.#over || this.#next < this.log.next || !this.log.ended) return
    this.detach()
    this.call.exchange.end(endMark)
    this.events.onDone?.()
  }

  #write(text: string): void {
    this.#lastWrite = performance.now()
    if (this.call.exchange.write(text)) return
    this.#blockedAt = performance.now()
    this.events.onFlow?.(true)
  }

  #unblock(): void {
    if (this.#blockedAt === undefined) return
    this.#blockedAt = undefined
    this.events.onFlow?.(false)
    this.#pump()
  }

  #leave(why: 'client_gone' | 'slow_reader'): void {
    if (this.#over) return
    this.detach()
    this.events.onGone(why)
  }
}
