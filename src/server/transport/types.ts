// The small interface between the server and what moves its bytes; uws.ts and node-http.ts implement it alike.

/** Header names are lower case. */
export type Headers = Readonly<Record<string, string>>

/** The client went away before its request was answered: nothing is left to say. */
export class ClientGoneError extends Error {
  override readonly name = 'ClientGoneError'
  constructor() {
    super('the client closed the connection')
  }
}

/** The request's body is longer than the limit, or all bodies under way together are longer than theirs. */
export class BodyTooLargeError extends Error {
  override readonly name = 'BodyTooLargeError'
  constructor(readonly scope: 'request' | 'server') {
    super(scope === 'request' ? 'the request body is too large' : 'too many request bodies are being received')
  }
}

/** One request and the answer to it. An answer is either one `send`, or `begin`, any number of `write`s and `end`. */
export interface HttpExchange {
  /** Upper case. */
  readonly method: string
  /** As sent, percent-encoding included, without the query. */
  readonly path: string
  readonly query: string
  /** The client has gone, or the answer is complete. */
  readonly closed: boolean
  /** @param name lower case */
  header(name: string): string | undefined
  /**
   * Reads the whole body; resolves with what `read` made of it. Must be called in the handler's first turn, and once; rejects
   * with BodyTooLargeError (the rest is then read and dropped, so that the client gets to see the answer), ClientGoneError or
   * what `read` threw.
   * @param limit bytes
   * @param read gets the body, its to keep; the body counts among those under way until this has ended
   */
  readBody<T>(limit: number, read: (body: Uint8Array) => T | Promise<T>): Promise<T>
  /**
   * The body in pieces, for more than memory should hold; a client that sends faster than they are taken is held back. In the place of
   * `readBody`: must be called in the handler's first turn, and once. The iteration throws BodyTooLargeError, ClientGoneError, or the
   * signal's reason; what comes after its end is read and dropped.
   * @param limit bytes
   */
  streamBody(limit: number, signal?: AbortSignal): AsyncIterable<Uint8Array>
  /** Called at most once, when the client leaves before the answer is complete. */
  onAborted(listener: () => void): void
  /** A whole answer. For HEAD the body is left out and its length kept. Does nothing once closed. */
  send(status: number, headers: Headers, body: string): void
  /** Starts a streamed answer. */
  begin(status: number, headers: Headers): void
  /** @returns false when the client does not keep up: wait for onWritable before writing much more. */
  write(text: string): boolean
  /** Called each time after a `write` returned false and the client has caught up. */
  onWritable(listener: () => void): void
  /** Ends a streamed answer. */
  end(text?: string): void
  /** Drops the connection, as when a client has not read for too long. */
  destroy(): void
}

export type ExchangeHandler = (exchange: HttpExchange) => void

export interface TransportOptions {
  /** Addresses to bind; the first must succeed, the others may fail (a machine without IPv6). */
  addresses: readonly string[]
  /** 0: any free port, the same for all addresses. */
  port: number
  /** Bytes of all bodies under way: received in part, or whole and not read yet. */
  bodyBudget: number
  handler: ExchangeHandler
}

/** A listening server. */
export interface Transport {
  readonly kind: 'uws' | 'node'
  readonly port: number
  /** Addresses that are bound. */
  readonly addresses: readonly string[]
  /** No new connections; open ones live on. */
  stopListening(): void
  /**
   * Waits until the answers that are complete have left for their clients.
   * @returns whether they had in time
   */
  sent(timeoutMs: number): Promise<boolean>
  /** Drops every connection. */
  close(): Promise<void>
}

/** No transport could be opened: the port is taken, the address is not ours, or the transport asked for is not there. */
export class ListenError extends Error {
  override readonly name = 'ListenError'
  constructor(address: string, port: number, reason: string) {
    super(`cannot listen on ${address}:${port}: ${reason}`)
  }
}
