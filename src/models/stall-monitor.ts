// Tells from what a worker says whether it still works.
import type { WorkerModel } from './worker-model.js'

export interface StallLimits {
  /** Accepted work is open and no step ends for this long: stalled. */
  stallTimeoutMs: number
  /** No heartbeat for this long: the process is stuck. */
  heartbeatTimeoutMs: number
  /** The same while the model loads. */
  loadSilenceMs: number
}

export class StallMonitor {
  #model: WorkerModel | undefined
  #timer: NodeJS.Timeout | undefined
  #lastTick = 0
  #heartbeats = -1
  #progress = -1
  #silentMs = 0
  #idleMs = 0

  /** `onStuck` is called once for a model, with how long it has been silent. */
  constructor(
    private readonly limits: StallLimits,
    private readonly onStuck: (silentMs: number) => void,
  ) {}

  /** Watches this model from now on; `loaded`: it is ready for work. */
  watch(model: WorkerModel, loaded: boolean): void {
    this.stop()
    this.#model = model
    this.#lastTick = performance.now()
    const silenceLimit = loaded ? this.limits.heartbeatTimeoutMs : this.limits.loadSilenceMs
    const intervalMs = Math.max(10, Math.min(1000, this.limits.stallTimeoutMs / 4, silenceLimit / 4))
    this.#timer = setInterval(() => this.#tick(intervalMs, silenceLimit), intervalMs)
    this.#timer.unref()
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#model = undefined
    this.#silentMs = 0
    this.#idleMs = 0
  }

  get stalled(): boolean {
    return this.#idleMs > this.limits.stallTimeoutMs
  }

  #tick(intervalMs: number, silenceLimit: number): void {
    const model = this.#model
    if (!model) return
    const now = performance.now()
    // a machine that slept, or a front that was busy, has not listened in the meantime: that is nobody's silence
    const elapsed = Math.min(now - this.#lastTick, 2 * intervalMs)
    this.#lastTick = now
    const { heartbeats, stepFrames, engineSteps, active } = model.activity
    const silent = heartbeats === this.#heartbeats
    this.#heartbeats = heartbeats
    this.#silentMs = silent ? this.#silentMs + elapsed : 0

    // steps alone: acceptances and refusals need no engine, and a prompt that is still being made is none of its work
    const progress = stepFrames + engineSteps
    // a paused reader's generation may be open here and long finished there: the worker knows, unless it is silent
    const working = silent ? model.open > 0 : active > 0
    this.#idleMs = working && progress === this.#progress ? this.#idleMs + elapsed : 0
    this.#progress = progress

    if (this.#silentMs > silenceLimit) {
      this.#silentMs = 0
      this.onStuck(silenceLimit)
    }
  }
}
