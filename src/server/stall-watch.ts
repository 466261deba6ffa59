import type { LiveChats } from './live-chats.js'
import type { ServedModel } from './served-model.js'

/** Notices that work is there but the engine ends no step. An idle server is never stalled. */
export class StallWatch {
  #lastProgress = performance.now()
  #lastSteps = -1
  #asking = false

  constructor(
    readonly model: ServedModel,
    readonly chats: LiveChats,
    readonly timeoutMs: number,
  ) {}

  /** A delta came, or work arrived where there was none. */
  progress(): void {
    this.#lastProgress = performance.now()
  }

  get stalled(): boolean {
    return this.chats.anyWorking && performance.now() - this.#lastProgress > this.timeoutMs
  }

  /** Called about once a second: a long prompt brings steps but no deltas, so the engine is asked. */
  tick(): void {
    // a model that is not there is another matter, and asking for it could start a load
    if (!this.chats.anyWorking || this.model.state().phase !== 'ready') return this.progress()
    if (!this.#asking && performance.now() - this.#lastProgress > Math.min(2000, this.timeoutMs / 4)) void this.#ask()
  }

  async #ask(): Promise<void> {
    this.#asking = true
    try {
      const { steps } = await (await this.model.get()).stats()
      if (steps !== this.#lastSteps) this.progress()
      this.#lastSteps = steps
    } catch {
      // a model that is gone ends its chats itself; one that does not answer makes no progress
    } finally {
      this.#asking = false
    }
  }
}
