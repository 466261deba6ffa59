// The server-sent events of one response, for any number of readers, each at its own pace.
import type { ResponseEvent } from '../../protocol/responses/builder.js'
import type { Holder, LogBudget } from './log-budget.js'

/** One event as it stands in a stream. */
export function eventText(event: ResponseEvent): string {
  return `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
}

/** What follows the last event. */
export const endMark = 'data: [DONE]\n\n'

// what a string and its place in a list cost beside its characters
const textOverhead = 64

// a string takes two bytes a character as soon as one of them needs it
const memoryOf = (text: string): number => textOverhead + text.length * (/[^\0-\xff]/.test(text) ? 2 : 1)

/** Who wants to know of new events. */
export interface EventListener {
  /** Events have come or gone, or the end has come. */
  onEvents(): void
}

/** How long events stay. */
export interface LogKeeping {
  /** Bytes of one log. */
  maxBytes: number
  /** Shared with other logs. */
  budget: LogBudget
}

/**
 * Events in order, numbered as their `sequence_number`s. A log with a keeping holds them for readers that come later, and loses the oldest where
 * bounds demand it; another only until they have been read.
 */
export class EventLog implements Holder {
  readonly #listeners = new Set<EventListener>()
  /** Those before `#head` have been dropped. */
  #texts: string[] = []
  #head = 0
  #first = 0
  #bytes = 0
  #ended = false

  constructor(private readonly keeping?: LogKeeping) {}

  /** The number of the first event that is still there. */
  get first(): number {
    return this.#first
  }

  /** The number that the next event will have. */
  get next(): number {
    return this.#first + this.#texts.length - this.#head
  }

  get ended(): boolean {
    return this.#ended
  }

  /** About what the events take of memory; 0 without a keeping. */
  get bytes(): number {
    return this.#bytes
  }

  /** All events that are there. */
  get text(): string {
    return this.#texts.slice(this.#head).join('')
  }

  add(event: ResponseEvent): void {
    const text = eventText(event)
    this.#texts.push(text)
    if (this.keeping) {
      this.#bytes += memoryOf(text)
      while (this.#bytes > this.keeping.maxBytes && this.#first + 1 < this.next) this.#dropFirst()
      this.keeping.budget.update(this)
    }
    this.#tell()
  }

  /** No more events follow. */
  end(): void {
    this.#ended = true
    this.#letGo()
    this.#tell()
  }

  /** The text of up to `maxLength` characters of events from number `from` on (at least one), and the number after them. */
  read(from: number, maxLength: number): { text: string; next: number } {
    let text = ''
    let next = from
    for (; next < this.next && (text === '' || text.length < maxLength); next++) text += this.#texts[next - this.#first + this.#head]!
    return { text, next }
  }

  /** Everything before number `before` has been read by the one reader that there will be. */
  release(before: number): void {
    if (!this.keeping) while (this.#first < before) this.#dropFirst()
  }

  /** Drops the oldest events until `bytes` are free or only the latest event is left. */
  shed(bytes: number): void {
    const enough = this.#bytes - bytes
    while (this.#bytes > enough && this.#first + 1 < this.next) this.#dropFirst()
    this.#tell()
  }

  listen(listener: EventListener): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
      this.#letGo()
    }
  }

  // what has ended is read from the store by those who come later
  #letGo(): void {
    if (this.#ended && this.#listeners.size === 0) this.keeping?.budget.remove(this)
  }

  #dropFirst(): void {
    const text = this.#texts[this.#head]!
    this.#texts[this.#head++] = ''
    this.#first++
    if (this.keeping) this.#bytes -= memoryOf(text)
    // moving the rest is worth it only when it is the smaller part
    if (this.#head * 2 < this.#texts.length) return
    this.#texts = this.#texts.slice(this.#head)
    this.#head = 0
  }

  #tell(): void {
    for (const listener of this.#listeners) listener.onEvents()
  }
}
