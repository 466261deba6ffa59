// The server-sent events of one response, for any number of readers, each at its own pace.
import type { ResponseEvent } from '../../protocol/responses/builder.js'

/** One event as it stands in a stream. */
export function eventText(event: ResponseEvent): string {
  return `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
}

/** What follows the last event. */
export const endMark = 'data: [DONE]\n\n'

/** Who wants to know of new events. */
export interface EventListener {
  /** Events have come, or the end has. */
  onEvents(): void
}

/** Events in order, numbered as their `sequence_number`s. The oldest go when they are more than `maxBytes`, or when nobody needs them. */
export class EventLog {
  readonly #listeners = new Set<EventListener>()
  #texts: string[] = []
  #first = 0
  #bytes = 0
  #ended = false

  /** @param keep whether events stay for readers that come later */
  constructor(
    private readonly keep: boolean,
    private readonly maxBytes: number,
  ) {}

  /** The number of the first event that is still there. */
  get first(): number {
    return this.#first
  }

  /** The number that the next event will have. */
  get next(): number {
    return this.#first + this.#texts.length
  }

  get ended(): boolean {
    return this.#ended
  }

  /** All events that are there. */
  get texts(): readonly string[] {
    return this.#texts
  }

  add(event: ResponseEvent): void {
    const text = eventText(event)
    this.#texts.push(text)
    this.#bytes += text.length
    while (this.#bytes > this.maxBytes && this.#texts.length > 1) this.#dropFirst()
    this.#tell()
  }

  /** No more events follow. */
  end(): void {
    this.#ended = true
    this.#tell()
  }

  /** The text of up to `maxLength` characters of events from number `from` on (at least one), and the number after them. */
  read(from: number, maxLength: number): { text: string; next: number } {
    let text = ''
    let next = Math.max(from, this.#first)
    for (; next < this.next && (text === '' || text.length < maxLength); next++) text += this.#texts[next - this.#first]
    return { text, next }
  }

  /** Everything before number `before` has been read by the one reader that there will be. */
  release(before: number): void {
    if (!this.keep) while (this.#first < before && this.#texts.length > 0) this.#dropFirst()
  }

  listen(listener: EventListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #dropFirst(): void {
    this.#bytes -= this.#texts.shift()?.length ?? 0
    this.#first++
  }

  #tell(): void {
    for (const listener of this.#listeners) listener.onEvents()
  }
}
