/** A set that can be waited for until nothing is in it. */
export class WaitableSet<T> extends Set<T> {
  #emptied: (() => void)[] = []

  override delete(item: T): boolean {
    const found = super.delete(item)
    if (found && this.size === 0) for (const resolve of this.#emptied.splice(0)) resolve()
    return found
  }

  /** @returns whether it was empty in time */
  async empty(timeoutMs: number): Promise<boolean> {
    if (this.size === 0) return true
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), timeoutMs)
    })
    const done = new Promise<boolean>((resolve) => this.#emptied.push(() => resolve(true)))
    const inTime = await Promise.race([done, late])
    clearTimeout(timer)
    return inTime
  }
}
