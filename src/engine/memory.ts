// How much memory a KV cache may take when nobody says.

// the pool is reserved, not touched: this is a bound on what a busy server grows to
const shareOfAvailable = 0.4

/** Bytes for the KV cache of one model: a share of what is available to this process (cgroup limits included). */
export function defaultKvCacheMemory(): number {
  return Math.floor(process.availableMemory() * shareOfAvailable)
}
