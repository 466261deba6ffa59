// Requests to the Hub: redirects by hand so that the token stays with its host, timeouts, and trying again.
import { setTimeout as sleep } from 'node:timers/promises'
import { errorOfResponse, HubError, type RequestSubject } from './errors.js'
import type { HubSettings } from './settings.js'

const maxRedirects = 10
const redirects = new Set([301, 302, 303, 307, 308])
const userAgent = `tfserve; node/${process.versions.node}`

export interface RequestOptions {
  method?: 'GET' | 'HEAD'
  headers?: Record<string, string>
  subject: RequestSubject
  /** Asked on each redirect: true takes it as the answer. */
  stopAt?: (response: Response) => boolean
}

export interface ClientOptions {
  signal?: AbortSignal | undefined
  /** First pause before another attempt, doubled each time; milliseconds. */
  retryDelayMs?: number | undefined
  onNotice?: ((message: string) => void) | undefined
}

export class HubClient {
  readonly signal: AbortSignal | undefined
  readonly #retryDelayMs: number
  readonly #onNotice: (message: string) => void

  constructor(
    readonly settings: HubSettings,
    { signal, retryDelayMs = 500, onNotice = () => undefined }: ClientOptions = {},
  ) {
    this.signal = signal
    this.#retryDelayMs = retryDelayMs
    this.#onNotice = onNotice
  }

  /** Throws when the user has ended it all. */
  checkAborted(): void {
    if (this.signal?.aborted) throw aborted()
  }

  /** One request, redirects followed. Resolves with any answer but a refusal; those and lost connections reject with a HubError. */
  async request(url: string | URL, { method = 'GET', headers = {}, subject, stopAt }: RequestOptions): Promise<Response> {
    const { endpoint, token, responseTimeoutMs } = this.settings
    const home = new URL(endpoint).origin
    let target = new URL(url)
    for (let hop = 0; hop <= maxRedirects; hop++) {
      this.checkAborted()
      const timeout = new AbortController()
      const timer = setTimeout(() => timeout.abort(), responseTimeoutMs)
      let response: Response
      try {
        const signal = this.signal ? AbortSignal.any([timeout.signal, this.signal]) : timeout.signal
        // the token is for the endpoint alone: where it redirects to, signed addresses are used
        const authorization = token !== undefined && target.origin === home && { authorization: `Bearer ${token}` }
        response = await unlessAborted(
          fetch(target, { method, redirect: 'manual', headers: { 'user-agent': userAgent, ...headers, ...authorization }, signal }),
          signal,
        )
      } catch (error) {
        this.checkAborted()
        throw unreachable(target, timeout.signal.aborted ? `no answer in ${responseTimeoutMs / 1000} s` : reasonOf(error), error)
      } finally {
        clearTimeout(timer)
      }
      const location = response.headers.get('location')
      if (!redirects.has(response.status) || location === null || stopAt?.(response)) {
        if (response.status < 400) return response
        discard(response)
        throw errorOfResponse(response, subject, endpoint, this.settings)
      }
      discard(response)
      const next = URL.canParse(location, target.href) ? new URL(location, target) : undefined
      if (!next || !/^https?:$/.test(next.protocol)) {
        throw new HubError('invalid_response', `${target.host} redirects to an address that cannot be used: '${location.slice(0, 200)}'.`)
      }
      target = next
    }
    throw new HubError('invalid_response', `${target.host} redirects in a circle.`)
  }

  /** The pieces of an answer's body. Rejects with a HubError when the connection breaks or nothing comes for too long. */
  async *pieces(response: Response): AsyncGenerator<Uint8Array, void, undefined> {
    if (!response.body) return
    const { stallTimeoutMs } = this.settings
    const reader = response.body.getReader()
    const stalled = new AbortController()
    const signal = this.signal ? AbortSignal.any([stalled.signal, this.signal]) : stalled.signal
    let timer: NodeJS.Timeout | undefined
    try {
      for (;;) {
        timer = setTimeout(() => stalled.abort(), stallTimeoutMs)
        const piece = await unlessAborted(reader.read(), signal)
        clearTimeout(timer)
        if (piece.done) return
        yield piece.value
      }
    } catch (error) {
      this.checkAborted()
      const reason = stalled.signal.aborted ? `nothing came for ${stallTimeoutMs / 1000} s` : reasonOf(error)
      throw unreachable(new URL(response.url), reason, error)
    } finally {
      clearTimeout(timer)
      reader.cancel().catch(() => undefined)
    }
  }

  /** One request for a small body, of `limit` bytes at most. */
  async text(url: string | URL, options: RequestOptions, limit: number): Promise<{ text: string; headers: Headers }> {
    const response = await this.request(url, options)
    const pieces: Uint8Array[] = []
    let size = 0
    for await (const piece of this.pieces(response)) {
      size += piece.length
      if (size > limit) throw new HubError('invalid_response', `${new URL(response.url).origin} answers with more than ${limit} bytes.`)
      pieces.push(piece)
    }
    return { text: Buffer.concat(pieces).toString('utf8'), headers: response.headers }
  }

  /**
   * Runs `attempt` until it succeeds, `limit` times in a row at most while the failures are transient.
   * @param progressed asked after a failure: true when the attempt got further, which starts the count anew
   */
  async retrying<T>(limit: number, attempt: () => Promise<T>, progressed: () => boolean = () => false): Promise<T> {
    for (let failed = 0; ;) {
      try {
        return await attempt()
      } catch (error) {
        this.checkAborted()
        if (!(error instanceof HubError) || !error.transient) throw error
        failed = progressed() ? 1 : failed + 1
        if (failed >= limit) throw error
        const backoff = Math.min(this.#retryDelayMs * 2 ** (failed - 1), 15_000) * (0.75 + Math.random() / 2)
        this.#onNotice(`${error.message} Trying again.`)
        await sleep(error.retryAfterMs ?? backoff, undefined, { ...(this.signal && { signal: this.signal }) }).catch(() => undefined)
        this.checkAborted()
      }
    }
  }
}

export const aborted = (): HubError => new HubError('aborted', 'The download was interrupted; the next one goes on where it stopped.')

/** A connection that failed or broke. */
export function unreachable(target: URL, reason: string, cause: unknown): HubError {
  const message = `${target.origin} could not be reached: ${reason}. Check the connection, HF_ENDPOINT and proxies.`
  return new HubError('unreachable', message, { transient: true, cause })
}

/** What fetch hides in its errors' causes. */
export function reasonOf(error: unknown): string {
  let deepest = error
  for (let depth = 0; depth < 5 && deepest instanceof Error && deepest.cause !== undefined; depth++) deepest = deepest.cause
  if (deepest instanceof AggregateError && deepest.errors.length > 0) deepest = deepest.errors[0] as unknown
  const text = deepest instanceof Error ? deepest.message || (deepest as NodeJS.ErrnoException).code || deepest.name : String(deepest)
  return text.replace(/\.$/, '')
}

/** Lets go of an answer whose body nobody wants; not waited for, as an exchange that has ended may never say so. */
export function discard(response: Response): void {
  response.body?.cancel().catch(() => undefined)
}

/** Settles as `work` does, or rejects when the signal aborts: a body that is read while fetch aborts may stay silent for good. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  let stop: () => void = () => undefined
  const abort = new Promise<never>((_resolve, reject) => {
    stop = () => reject(signal.reason instanceof Error ? signal.reason : new Error('aborted'))
    signal.addEventListener('abort', stop, { once: true })
  })
  work.catch(() => undefined)
  if (signal.aborted) stop()
  return Promise.race([work, abort]).finally(() => signal.removeEventListener('abort', stop))
}
