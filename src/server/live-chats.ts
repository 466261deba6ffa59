/** A chat request between its arrival and its end. */
export interface LiveChat {
  /** Its client does not keep up, so that nothing is generated for it. */
  readonly paused: boolean
  /** Called about once a second. @param now performance.now() */
  tick(now: number): void
  /** Ends it with an error event. */
  shutDown(): void
}

/** The chats under way. */
export class LiveChats {
  readonly #chats = new Set<LiveChat>()
  #emptied: (() => void)[] = []

  get size(): number {
    return this.#chats.size
  }

  /** Whether any of them waits for the engine rather than for its client. */
  get anyWorking(): boolean {
    for (const chat of this.#chats) if (!chat.paused) return true
    return false
  }

  add(chat: LiveChat): void {
    this.#chats.add(chat)
  }

  delete(chat: LiveChat): void {
    if (!this.#chats.delete(chat) || this.#chats.size > 0) return
    for (const resolve of this.#emptied.splice(0)) resolve()
  }

  tick(now: number): void {
    for (const chat of this.#chats) chat.tick(now)
  }

  shutDownAll(): void {
    for (const chat of [...this.#chats]) chat.shutDown()
  }

  /** @returns whether all had ended in time */
  async empty(timeoutMs: number): Promise<boolean> {
    if (this.#chats.size === 0) return true
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
