// Which model makes room for which: arithmetic over what is in memory, without a clock and without processes.

/** A model that has a process. */
export interface Resident {
  /** Bytes that it is charged. */
  readonly bytes: number
  /** 'busy': requests hold it. 'leaving': its process is ending and its memory comes back by itself. */
  readonly use: 'loading' | 'idle' | 'busy' | 'leaving'
  /** Stays, whoever asks. */
  readonly pinned: boolean
  /** New requests are kept from it already, so that it becomes idle. */
  readonly draining: boolean
  /** When a request last took it. Times are milliseconds of one clock. */
  readonly lastUsed: number
  /** Until then a busy one keeps its place: a model that was just loaded is to earn the load. */
  readonly turnEnds: number
}

/** What may be in memory at once; Infinity: no bound. */
export interface MemoryBounds {
  readonly models: number
  readonly bytes: number
}

/** What to do for a model that wants into memory. */
export type Admission<T extends Resident> =
  | { kind: 'load' }
  /** It does not fit beside what stays for good. */
  | { kind: 'never' }
  /** It fits once `unload` and `drain` are gone, and those that leave anyway. `again`: when more can be drained. */
  | { kind: 'wait'; unload: T[]; drain: T[]; again?: number }

const ranks: readonly ((resident: Resident) => boolean)[] = [
  ({ use }) => use === 'leaving',
  ({ draining }) => draining,
  ({ use }) => use === 'idle',
  ({ use }) => use === 'busy',
]

/** The order in which residents give way: who leaves anyway, who was told to, idle ones, busy ones, and the least recently used first. */
function byTurn(a: Resident, b: Resident): number {
  const rank = (resident: Resident): number => {
    const found = ranks.findIndex((holds) => holds(resident))
    return found < 0 ? ranks.length : found
  }
  return rank(a) - rank(b) || a.lastUsed - b.lastUsed
}

/** Decides for one model of `bytes`, the next in order of arrival. */
export function admit<T extends Resident>(bytes: number, residents: readonly T[], bounds: MemoryBounds, now: number): Admission<T> {
  const fits = (others: readonly T[]): boolean =>
    others.length + 1 <= bounds.models && others.reduce((sum, other) => sum + other.bytes, bytes) <= bounds.bytes
  if (fits(residents)) return { kind: 'load' }
  let stay = [...residents]
  const go: T[] = []
  for (const resident of residents.filter(({ pinned }) => !pinned).sort(byTurn)) {
    if (fits(stay)) break
    stay = stay.filter((other) => other !== resident)
    go.push(resident)
  }
  if (!fits(stay)) return { kind: 'never' }
  // a large one at the end of the order may have made the small ones before it needless
  for (const resident of go.filter(({ use }) => use !== 'leaving').reverse()) {
    if (!fits([...stay, resident])) continue
    stay.push(resident)
    go.splice(go.indexOf(resident), 1)
  }
  const busy = go.filter(({ use }) => use === 'busy')
  const held = busy.filter(({ draining, turnEnds }) => !draining && turnEnds > now)
  return {
    kind: 'wait',
    unload: go.filter(({ use }) => use === 'idle'),
    drain: busy.filter((resident) => !held.includes(resident)),
    ...(held.length > 0 && { again: Math.min(...held.map(({ turnEnds }) => turnEnds)) }),
  }
}
