import { WaitableSet } from './waitable-set.js'

/** A request that is answered over time. */
export interface LiveCall {
  /** Called about once a second. @param now performance.now() */
  tick(now: number): void
  /** Ends it with an error event. */
  shutDown(): void
}

/** Requests between their arrival and their end. */
export class LiveCalls extends WaitableSet<LiveCall> {
  tick(now: number): void {
    for (const call of this) call.tick(now)
  }

  shutDownAll(): void {
    for (const call of [...this]) call.shutDown()
  }
}
