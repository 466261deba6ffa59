import { STATUS_CODES } from 'node:http'
import { BodyBudget, BodyCollector } from './body-collector.js'
import { BodyStream } from './body-stream.js'
import { WaitableSet } from '../waitable-set.js'
import { ListenError, type Headers, type HttpExchange, type Transport, type TransportOptions } from './types.js'
import type { Uws, UwsListenSocket, UwsRequest, UwsResponse } from './uws-binary.js'

// To know about uWebSockets: a second request that a client pipelines while the first is unanswered drops the
// connection; the request object lives only in the handler's first turn; a response must not be touched after it has
// ended or was aborted; every write outside of the first turn belongs in cork(). What the socket does not take of a
// write() is kept and sent on with the next one, or after end(), and nobody is told when it has left. So text that the
// client is not ready for stays here, and what uWebSockets keeps is never more than a piece.
const pieceBytes = 64 << 10
// an end no longer than this is written at once
const lastPieceBytes = 4 << 10

class UwsExchange implements HttpExchange {
  readonly method: string
  readonly path: string
  readonly query: string
  readonly #headers = new Map<string, string>()
  #body: BodyCollector | BodyStream | undefined
  #abortListener: (() => void) | undefined
  #writableListener: (() => void) | undefined
  #backlog: Buffer = Buffer.alloc(0)
  // the socket takes text; else it is held back
  #clear = true
  #gone = false
  #ended = false

  constructor(
    readonly response: UwsResponse,
    request: UwsRequest,
    readonly budget: BodyBudget,
    readonly unsent: WaitableSet<HttpExchange>,
  ) {
    this.method = request.getCaseSensitiveMethod().toUpperCase()
    this.path = request.getUrl()
    this.query = request.getQuery() ?? ''
    request.forEach((name, value) => {
      const before = this.#headers.get(name)
      this.#headers.set(name, before === undefined ? value : `${before}, ${value}`)
    })
    response.onAborted(() => this.#close())
  }

  get closed(): boolean {
    return this.#gone || this.#ended
  }

  header(name: string): string | undefined {
    return this.#headers.get(name)
  }

  readBody<T>(limit: number, read: (body: Uint8Array) => T | Promise<T>): Promise<T> {
    const collector = new BodyCollector(limit, this.budget, this.#headers.get('content-length'))
    this.#body = collector
    this.response.onData((chunk, isLast) => {
      if (chunk.byteLength > 0) collector.add(new Uint8Array(chunk))
      if (isLast) collector.finish()
    })
    return collector.use(read)
  }

  streamBody(limit: number, signal?: AbortSignal): AsyncIterable<Uint8Array> {
    const flow = {
      pause: () => void (this.closed || this.response.pause()),
      resume: () => void (this.closed || this.response.resume()),
    }
    const stream = new BodyStream(limit, this.#headers.get('content-length'), flow, signal)
    this.#body = stream
    this.response.onData((chunk, isLast) => {
      // the buffer is gone when this has returned
      if (chunk.byteLength > 0) stream.add(new Uint8Array(chunk.slice(0)))
      if (isLast) stream.finish()
    })
    return stream
  }

  onAborted(listener: () => void): void {
    this.#abortListener = listener
  }

  send(status: number, headers: Headers, body: string): void {
    if (this.closed) return
    this.#ended = true
    this.response.cork(() => {
      this.#writeHead(status, headers)
      if (this.method === 'HEAD') this.response.endWithoutBody(Buffer.byteLength(body))
      else if (body.length < pieceBytes) this.response.end(body, headers.connection === 'close')
      else this.#sendLarge(Buffer.from(body))
    })
  }

  begin(status: number, headers: Headers): void {
    if (this.closed) return
    this.response.onWritable(() => {
      // with nothing to write, the next write tells
      if (this.#backlog.length === 0) this.#clear = true
      else this.response.cork(() => this.#pump())
      if (this.#clear && !this.#ended) this.#writableListener?.()
      return true
    })
    this.response.cork(() => this.#writeHead(status, headers))
  }

  write(text: string): boolean {
    if (this.closed) return true
    this.response.cork(() => {
      if (this.#clear && text.length < pieceBytes) this.#clear = this.response.write(text)
      else this.#hold(text)
    })
    return this.#clear
  }

  onWritable(listener: () => void): void {
    this.#writableListener = listener
  }

  end(text?: string): void {
    if (this.closed) return
    this.#ended = true
    this.unsent.add(this)
    this.response.cork(() => this.#hold(text ?? ''))
  }

  destroy(): void {
    if (!this.closed) this.response.close()
  }

  #sendLarge(body: Buffer): void {
    this.unsent.add(this)
    const send = (offset: number): boolean => {
      const [taken, done] = this.response.tryEnd(body.subarray(offset), body.length)
      if (done) this.unsent.delete(this)
      return taken
    }
    this.response.onWritable(send)
    send(0)
  }

  // text goes behind what is held; as much as the socket takes leaves at once
  #hold(text: string): void {
    this.#backlog = this.#backlog.length > 0 ? Buffer.concat([this.#backlog, Buffer.from(text)]) : Buffer.from(text)
    if (this.#clear || this.#backlog.length === 0) this.#pump()
  }

  #pump(): void {
    if (this.#gone) return
    do {
      if (this.#backlog.length === 0) break
      // only a write tells whether the ones before it have left: towards the end they get smaller, so that one is left for that
      const left = this.#backlog.length
      const atOnce = this.#ended && (!this.#clear || left > lastPieceBytes) ? Math.ceil(left / 2) : left
      const length = Math.min(pieceBytes, atOnce)
      this.#clear = this.response.write(this.#backlog.subarray(0, length))
      this.#backlog = this.#backlog.subarray(length)
    } while (this.#clear)
    if (!this.#ended || this.#backlog.length > 0) return
    this.unsent.delete(this)
    this.response.end()
  }

  #writeHead(status: number, headers: Headers): void {
    this.response.writeStatus(`${status} ${STATUS_CODES[status] ?? ''}`)
    for (const name in headers) {
      const value = headers[name]
      if (value !== undefined) this.response.writeHeader(name, value)
    }
  }

  // also while an answer that is complete is still on its way
  #close(): void {
    if (this.#gone) return
    this.#gone = true
    this.#backlog = Buffer.alloc(0)
    this.unsent.delete(this)
    this.#body?.abort()
    if (!this.#ended) this.#abortListener?.()
  }
}

/** Serves HTTP with uWebSockets: about 4 us less processor time a streamed token than Node's own server. */
export function openUwsTransport(uws: Uws, options: TransportOptions): Transport {
  const budget = new BodyBudget(options.bodyBudget)
  const unsent = new WaitableSet<HttpExchange>()
  const app = uws.App()
  app.any('/*', (response, request) => options.handler(new UwsExchange(response, request, budget, unsent)))

  const sockets: UwsListenSocket[] = []
  const addresses: string[] = []
  let port = options.port
  for (const address of options.addresses) {
    // exclusive: the default would silently share the port with another server
    app.listen(address, port, uws.LIBUS_LISTEN_EXCLUSIVE_PORT, (socket) => {
      if (!socket) return
      sockets.push(socket)
      addresses.push(address)
      port = uws.us_socket_local_port(socket)
    })
    if (sockets.length === 0) throw new ListenError(address, port, 'the port is in use or the address is not available')
  }
  let listening = true
  const stopListening = () => {
    if (!listening) return
    listening = false
    for (const socket of sockets) uws.us_listen_socket_close(socket)
  }
  return {
    kind: 'uws',
    port,
    addresses,
    stopListening,
    sent: (timeoutMs) => unsent.empty(timeoutMs),
    close() {
      stopListening()
      app.close()
      return Promise.resolve()
    },
  }
}
