import { randomUUID } from 'node:crypto'
import { ApiError, renderError } from '../protocol/errors.js'
import type { Owner } from './api-keys.js'
import type { ServerContext } from './context.js'
import { corsHeaders } from './cors.js'
import { BodyTooLargeError, type Headers, type HttpExchange } from './transport/types.js'

// what may stand in a header; anything else gets an id of ours
const acceptableId = /^[\x21-\x7e]{1,200}$/

/** One request on its way through a route: the exchange with its id and the headers that every answer carries. */
export class Call {
  /** performance.now() when the request arrived. */
  readonly startedAt = performance.now()
  readonly requestId: string
  /** Whose it is; set before the call reaches its route. */
  owner: Owner = ''
  readonly #common: Headers
  #answeredYet = false

  constructor(
    readonly context: ServerContext,
    readonly exchange: HttpExchange,
  ) {
    const sent = exchange.header('x-request-id')
    this.requestId = sent !== undefined && acceptableId.test(sent) ? sent : randomUUID()
    this.#common = { 'x-request-id': this.requestId, ...(context.options.enableCors ? corsHeaders(exchange) : {}) }
  }

  /** Whether the status line is out. */
  get answered(): boolean {
    return this.#answeredYet
  }

  /**
   * What `read` makes of the JSON body's bytes; rejects with an ApiError where the body is too large or is not said to be JSON.
   * First turn only.
   */
  async readJsonBody<T>(read: (body: Uint8Array) => T | Promise<T>): Promise<T> {
    // without this check any web page could send a request that needs no preflight
    const type = (this.exchange.header('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? ''
    if (type !== 'application/json' && !type.endsWith('+json')) throw new ApiError('unsupported_media_type')
    const limit = this.context.options.bodyLimit
    try {
      return await this.exchange.readBody(limit, read)
    } catch (error) {
      if (!(error instanceof BodyTooLargeError)) throw error
      if (error.scope === 'server') throw new ApiError('server_busy')
      throw new ApiError('body_too_large', `The request body is larger than ${limit} bytes.`)
    }
  }

  sendJson(status: number, body: string, headers: Headers = {}): void {
    this.sendText(status, 'application/json', body, headers)
  }

  sendText(status: number, contentType: string, body: string, headers: Headers = {}): void {
    this.#answered(status)
    this.exchange.send(status, { 'content-type': contentType, ...this.#common, ...headers }, body)
  }

  fail(error: ApiError, headers: Headers = {}): void {
    const retry: Headers = error.retryAfter === undefined ? {} : { 'retry-after': String(error.retryAfter) }
    this.sendJson(error.status, renderError(error), { ...retry, ...headers })
  }

  /** Starts a stream of server-sent events. */
  beginEvents(): void {
    this.#answered(200)
    this.exchange.begin(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
      ...this.#common,
    })
  }

  #answered(status: number): void {
    this.#answeredYet = true
    if (this.exchange.closed) return
    this.context.metrics.responses.add(1, `${Math.floor(status / 100)}xx`)
    const { log } = this.context.options
    const ms = Math.round(performance.now() - this.startedAt)
    log(status === 500 ? 'warning' : 'debug', `${this.exchange.method} ${this.exchange.path} ${status} ${ms} ms ${this.requestId}`)
  }
}
