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
  /** Ends the exchange when it aborts; the caller's own, on top of the client's. */
  signal?: AbortSignal
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
  async request(url: string | URL, { method = 'GET', headers = {}, subject, signal, stopAt }: RequestOptions): Promise<Response> {
    const { endpoint, token, responseTimeoutMs } = this.settings
    const home = new URL(endpoint).origin
    let target = new URL(url)
    for (let hop = 0; hop <= maxRedirects; hop++) {
      this.checkAborted()
      const timeout = new AbortController()
      const timer = setTimeout(() => timeout.abort(), responseTimeoutMs)
      let response: Response
      try {
        response = await fetch(target, {
          method,
          redirect: 'manual',
          // the token is for the endpoint alone: where it redirects to, signed addresses are used
          headers: {
            'user-agent': userAgent,
            ...headers,
            ...(token !== undefined && target.origin === home && { authorization: `Bearer ${token}` }),
          },
          signal: AbortSignal.any([timeout.signal, ...[this.signal, signal].filter((each) => each !== undefined)]),
        })
      } catch (error) {
        this.checkAborted()
        throw unreachable(target, timeout.signal.aborted ? `no answer in ${responseTimeoutMs / 1000} s` : reasonOf(error), error)
      } finally {
        clearTimeout(timer)
      }
      const location = response.headers.get('location')
      if (!redirects.has(response.status) || location === null || stopAt?.(response)) {
        if (response.status < 400) return response
        await discard(response)
        throw errorOfResponse(response, subject, endpoint, this.settings)
      }
      await discard(response)
      const next = URL.canParse(location, target.href) ? new URL(location, target) : undefined
      if (!next || !/^https?:$/.test(next.protocol)) {
        throw new HubError('invalid_response', `${target.host} redirects to an address that cannot be used: '${location.slice(0, 200)}'.`)
      }
      target = next
    }
    throw new HubError('invalid_response', `${target.host} redirects in a circle.`)
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

async function discard(response: Response): Promise<void> {
  await response.body?.cancel().catch(() => undefined)
}
