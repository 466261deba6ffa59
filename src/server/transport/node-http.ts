import { createServer, STATUS_CODES, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { Server as NetServer, type AddressInfo } from 'node:net'
import { BodyBudget, BodyCollector } from './body-collector.js'
import { BodyStream } from './body-stream.js'
import { WaitableSet } from '../waitable-set.js'
import { ListenError, type Headers, type HttpExchange, type Transport, type TransportOptions } from './types.js'

// longer than the idle time of common proxies, so that the proxy closes first
const keepAliveMs = 75_000
// for a body that is gathered in memory; one that is streamed has its reader to watch over it
const gatheredBodyMs = 120_000
const requestMs = 24 * 3_600_000

class NodeExchange implements HttpExchange {
  readonly method: string
  readonly path: string
  readonly query: string
  #abortListener: (() => void) | undefined
  #body: BodyCollector | BodyStream | undefined
  #gone = false
  #ended = false

  constructor(
    readonly request: IncomingMessage,
    readonly response: ServerResponse,
    readonly budget: BodyBudget,
    readonly unsent: WaitableSet<HttpExchange>,
  ) {
    this.method = request.method ?? 'GET'
    const url = request.url ?? '/'
    const mark = url.indexOf('?')
    this.path = mark < 0 ? url : url.slice(0, mark)
    this.query = mark < 0 ? '' : url.slice(mark + 1)
    response.on('finish', () => this.unsent.delete(this))
    response.on('close', () => this.#close())
    response.on('error', () => this.#close())
  }

  get closed(): boolean {
    return this.#gone || this.#ended
  }

  header(name: string): string | undefined {
    const value = this.request.headers[name]
    return Array.isArray(value) ? value.join(', ') : value
  }

  readBody<T>(limit: number, read: (body: Uint8Array) => T | Promise<T>): Promise<T> {
    const collector = new BodyCollector(limit, this.budget, this.request.headers['content-length'])
    this.#body = collector
    this.request.on('data', (chunk: Buffer) => collector.add(chunk))
    this.request.on('end', () => collector.finish())
    this.request.on('error', () => collector.abort())
    const late = setTimeout(() => this.destroy(), gatheredBodyMs)
    this.request.once('end', () => clearTimeout(late)).once('close', () => clearTimeout(late))
    return collector.use(read)
  }

  streamBody(limit: number, signal?: AbortSignal): AsyncIterable<Uint8Array> {
    const flow = { pause: () => void this.request.pause(), resume: () => void this.request.resume() }
    const stream = new BodyStream(limit, this.request.headers['content-length'], flow, signal)
    this.#body = stream
    this.request.on('data', (chunk: Buffer) => stream.add(chunk))
    this.request.on('end', () => stream.finish())
    this.request.on('error', () => stream.abort())
    return stream
  }

  onAborted(listener: () => void): void {
    this.#abortListener = listener
  }

  send(status: number, headers: Headers, body: string): void {
    if (this.closed) return
    this.#ended = true
    this.unsent.add(this)
    this.response.writeHead(status, { ...headers, 'content-length': String(Buffer.byteLength(body)) })
    if (this.method === 'HEAD') this.response.end()
    else this.response.end(body)
    // what is left of the body is read and dropped, so that the answer reaches the client
    this.request.resume()
  }

  begin(status: number, headers: Headers): void {
    if (this.closed) return
    this.response.writeHead(status, headers)
  }

  write(text: string): boolean {
    if (this.closed) return true
    return this.response.write(text)
  }

  onWritable(listener: () => void): void {
    this.response.on('drain', listener)
  }

  end(text?: string): void {
    if (this.closed) return
    this.#ended = true
    this.unsent.add(this)
    if (text === undefined) this.response.end()
    else this.response.end(text)
  }

  destroy(): void {
    this.request.socket.destroy()
  }

  #close(): void {
    if (this.#gone) return
    this.#gone = true
    this.unsent.delete(this)
    this.#body?.abort()
    if (!this.#ended) this.#abortListener?.()
  }
}

function listen(server: Server, address: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(new ListenError(address, port, error.code ?? error.message)))
    server.listen({ host: address, port }, () => resolve((server.address() as AddressInfo).port))
  })
}

/** Serves HTTP with Node's own server: the transport for platforms without a uWebSockets binary. */
export async function openNodeTransport(options: TransportOptions): Promise<Transport> {
  const budget = new BodyBudget(options.bodyBudget)
  const unsent = new WaitableSet<HttpExchange>()
  const servers: Server[] = []
  const addresses: string[] = []
  let port = options.port
  for (const address of options.addresses) {
    const server = createServer(
      { keepAliveTimeout: keepAliveMs, headersTimeout: 60_000, requestTimeout: requestMs },
      (request, response) => {
        options.handler(new NodeExchange(request, response, budget, unsent))
      },
    )
    server.on('clientError', (_, socket) => {
      if (socket.writable) socket.end(`HTTP/1.1 400 ${STATUS_CODES[400]}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`)
      else socket.destroy()
    })
    try {
      port = await listen(server, address, port)
    } catch (error) {
      if (servers.length === 0) throw error
      continue
    }
    servers.push(server)
    addresses.push(address)
  }
  return {
    kind: 'node',
    port,
    addresses,
    stopListening() {
      // the HTTP server's own close() also drops connections whose complete answer has not left yet
      for (const server of servers) NetServer.prototype.close.call(server)
    },
    sent: (timeoutMs) => unsent.empty(timeoutMs),
    async close() {
      await Promise.all(
        servers.map(
          (server) =>
            new Promise<void>((resolve) => {
              server.close(() => resolve())
              server.closeAllConnections()
            }),
        ),
      )
    },
  }
}
