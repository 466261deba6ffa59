import { WaitableSet } from './waitable-set.js'

/** A chat request between its arrival and its end. */
export interface LiveChat {
  /** Called about once a second. @param now performance.now() */
  tick(now: number): void
  /** Ends it with an error event. */
  shutDown(): void
}

/** The chats under way. */
export class LiveChats extends WaitableSet<LiveChat> {
  tick(now: number): void {
    for (const chat of this) chat.tick(now)
  }

  shutDownAll(): void {
    for (const chat of [...this]) chat.shutDown()
  }
}
