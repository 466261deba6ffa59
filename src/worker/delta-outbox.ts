// Gathers the deltas of a turn into one step, and keeps within bounds what cannot be sent yet: the engine does not wait for readers.
import type { GenerationDelta } from '../engine/types.js'
import { HeldDeltas } from './held-deltas.js'
import type { StepRow } from './step-frame.js'

export interface OutboxLimits {
  /** Bytes kept for one generation. */
  maxHeldBytes: number
  /** Bytes kept for all of them. */
  maxTotalHeldBytes: number
  /** How long a generation may stay paused, milliseconds. */
  maxHeldMs: number
}

export const defaultOutboxLimits: OutboxLimits = {
  maxHeldBytes: 4 * 1024 * 1024,
  maxTotalHeldBytes: 256 * 1024 * 1024,
  maxHeldMs: 5 * 60_000,
}

export interface OutboxEvents {
  /** Sends one step. False: the front reads too slowly; the outbox keeps everything until `drain()`. */
  send(rows: StepRow[]): boolean
  /** The generation's reader is too slow: it should be aborted. Its further text is dropped. */
  onOverflow(id: number, reason: string): void
}

interface Entry {
  readonly held: HeldDeltas
  /** Choices whose last delta has not been sent. */
  unfinished: number
  /** When it was paused, or before the front knows of it; undefined: deltas may go. */
  waitingSince: number | undefined
  dropsText: boolean
}

export class DeltaOutbox {
  readonly #entries = new Map<number, Entry>()
  /** Entries that keep something. */
  readonly #keeping = new Set<number>()
  #turn: StepRow[] = []
  #flushing = false
  #blocked = false
  #totalHeld = 0

  constructor(
    private readonly events: OutboxEvents,
    private readonly limits: OutboxLimits = defaultOutboxLimits,
  ) {}

  /** Generations whose last delta has not been sent. */
  get size(): number {
    return this.#entries.size
  }

  get heldBytes(): number {
    return this.#totalHeld
  }

  /** A new generation of n choices; its deltas wait for `release`, as the front must hear first that it was accepted. */
  open(id: number, n: number): void {
    this.#entries.set(id, { held: new HeldDeltas(), unfinished: n, waitingSince: performance.now(), dropsText: false })
  }

  drop(id: number): void {
    const entry = this.#entries.get(id)
    if (!entry) return
    this.#totalHeld -= entry.held.bytes
    this.#entries.delete(id)
    this.#keeping.delete(id)
  }

  /** Keeps the generation's deltas until `release`; the engine computes on. */
  hold(id: number): void {
    const entry = this.#entries.get(id)
    if (!entry || entry.waitingSince !== undefined) return
    // what came before the pause may go, and so cannot end up behind what comes after it
    this.#flush()
    entry.waitingSince = performance.now()
  }

  release(id: number): void {
    const entry = this.#entries.get(id)
    if (!entry) return
    entry.waitingSince = undefined
    if (!this.#blocked) this.#sendKept([id])
  }

  /** Takes a delta; those of one turn of the event loop go out as one step. */
  add(id: number, delta: GenerationDelta): void {
    const entry = this.#entries.get(id)
    if (!entry) return
    // what is kept goes first
    if (this.#blocked || entry.waitingSince !== undefined || !entry.held.empty) this.#keep(id, entry, delta)
    else this.#queue({ id, delta })
  }

  /** The front reads again. */
  drain(): void {
    if (!this.#blocked) return
    this.#blocked = false
    this.#sendKept([...this.#keeping])
  }

  /** Gives up generations that have been paused for too long; call it now and then. */
  expire(): void {
    const now = performance.now()
    for (const [id, entry] of this.#entries) {
      if (entry.waitingSince === undefined || entry.dropsText || now - entry.waitingSince <= this.limits.maxHeldMs) continue
      this.#overflow(id, entry, 'its reader has been paused for too long')
    }
  }

  #queue(row: StepRow): void {
    this.#turn.push(row)
    if (this.#flushing) return
    this.#flushing = true
    queueMicrotask(() => {
      this.#flushing = false
      this.#flush()
    })
  }

  #flush(): void {
    const rows = this.#turn
    this.#turn = []
    const ready: StepRow[] = []
    for (const row of rows) {
      const entry = this.#entries.get(row.id)
      if (!entry) continue
      // blocked or paused since the delta came
      if (this.#blocked || entry.waitingSince !== undefined) this.#keep(row.id, entry, row.delta)
      else ready.push(row)
    }
    if (ready.length === 0) return
    if (!this.events.send(ready)) this.#blocked = true
    for (const { id, delta } of ready) {
      if (!delta.finishReason) continue
      const entry = this.#entries.get(id)
      if (!entry || --entry.unfinished > 0) continue
      this.drop(id)
    }
  }

  #keep(id: number, entry: Entry, delta: GenerationDelta): void {
    if (entry.dropsText) {
      if (!delta.finishReason) return
      delta = { ...delta, text: '', tokens: [] }
      delete delta.logprobs
      delete delta.reasoning
      delete delta.toolCalls
      delete delta.promptLogprobs
    }
    this.#totalHeld -= entry.held.bytes
    entry.held.add(delta)
    this.#totalHeld += entry.held.bytes
    this.#keeping.add(id)
    if (entry.dropsText) return
    if (entry.held.bytes > this.limits.maxHeldBytes) this.#overflow(id, entry, 'its reader is too slow')
    else if (this.#totalHeld > this.limits.maxTotalHeldBytes) this.#overflow(id, entry, 'too much text waits for slow readers')
  }

  #overflow(id: number, entry: Entry, reason: string): void {
    entry.dropsText = true
    this.events.onOverflow(id, reason)
  }

  #sendKept(ids: number[]): void {
    for (const id of ids) {
      const entry = this.#entries.get(id)
      if (!entry || entry.waitingSince !== undefined || entry.held.empty) continue
      this.#totalHeld -= entry.held.bytes
      this.#keeping.delete(id)
      for (const delta of entry.held.take()) this.#queue({ id, delta })
    }
  }
}
