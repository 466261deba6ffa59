/** Whole numbers below a bound, the same ones for the same seed. */
export function seeded(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    // the low bits of such a generator repeat soon
    return Math.floor((state / 2 ** 32) * below)
  }
}
