/** Something that can give back a part of what it holds. */
export interface Holder {
  readonly bytes: number
  /** Gives back at least as many bytes, or as many as it can. */
  shed(bytes: number): void
}

// part of the budget that is freed beyond what is needed, so that the largest holder is not searched for with every event
const slack = 1 / 64

/**
 * What all event logs together may hold. When it is exceeded, the largest log gives up its oldest events: no response fails because of another's
 * length, one log alone may use all there is, and many end up with about the same each.
 */
export class LogBudget {
  /** With the bytes that are counted for each. */
  readonly #holders = new Map<Holder, number>()
  #bytes = 0

  constructor(private readonly maxBytes: number) {}

  /** Of all holders. */
  get bytes(): number {
    return this.#bytes
  }

  /** Counts the holder as it is now, and makes room where the sum is too large. */
  update(holder: Holder): void {
    this.#count(holder)
    if (this.#bytes > this.maxBytes) this.#free(this.#bytes - this.maxBytes * (1 - slack))
  }

  /** Counts the holder no more. */
  remove(holder: Holder): void {
    this.#bytes -= this.#holders.get(holder) ?? 0
    this.#holders.delete(holder)
  }

  #count(holder: Holder): void {
    const { bytes } = holder
    this.#bytes += bytes - (this.#holders.get(holder) ?? 0)
    this.#holders.set(holder, bytes)
  }

  #free(bytes: number): void {
    const largestFirst = [...this.#holders.keys()].sort((a, b) => b.bytes - a.bytes)
    // levels the largest ones down, as many as it takes, so that those of one size lose alike
    const { level, count } = levelOf(
      largestFirst.map((holder) => holder.bytes),
      bytes,
    )
    for (const holder of largestFirst.slice(0, count)) {
      holder.shed(holder.bytes - level)
      this.#count(holder)
    }
  }
}

/**
 * Where to cut so that what stands above is `bytes`, or as much as there is.
 * @param sizes largest first @returns the height, and how many of the sizes it cuts
 */
function levelOf(sizes: readonly number[], bytes: number): { level: number; count: number } {
  let sum = 0
  for (const [i, size] of sizes.entries()) {
    sum += size
    const level = (sum - bytes) / (i + 1)
    if (level >= (sizes[i + 1] ?? 0)) return { level: Math.max(level, 0), count: i + 1 }
  }
  return { level: 0, count: sizes.length }
}
