import type { Headers, HttpExchange } from './transport/types.js'

// lists and values from outside go into headers of ours: anything but plain characters is dropped
const plain = /^[\x20-\x7e]{1,1000}$/

function plainHeader(exchange: HttpExchange, name: string): string | undefined {
  const value = exchange.header(name)
  return value !== undefined && plain.test(value) ? value : undefined
}

/** What an answer to a page of another origin carries. */
export function corsHeaders(exchange: HttpExchange): Headers {
  const origin = plainHeader(exchange, 'origin')
  if (origin === undefined) return {}
  return {
    'access-control-allow-origin': origin,
    'access-control-allow-credentials': 'true',
    'access-control-expose-headers': 'x-request-id',
    vary: 'Origin',
  }
}

/** Whether a browser asks what it may send. */
export function isPreflight(exchange: HttpExchange): boolean {
  return (
    exchange.method === 'OPTIONS' &&
    exchange.header('origin') !== undefined &&
    exchange.header('access-control-request-method') !== undefined
  )
}

/** The answer to a preflight, beside `corsHeaders`. */
export function preflightHeaders(exchange: HttpExchange): Headers {
  const wanted = plainHeader(exchange, 'access-control-request-headers')
  return {
    'access-control-allow-methods': 'DELETE, GET, HEAD, OPTIONS, POST',
    'access-control-max-age': '600',
    ...(wanted === undefined ? {} : { 'access-control-allow-headers': wanted }),
    vary: 'Origin, Access-Control-Request-Method, Access-Control-Request-Headers',
  }
}

/** Whether a host's name or address, in a URL's brackets or not, means this machine only. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host)
}

/** Whether a name or address, in a URL's brackets or not, is this machine's own or the one that the server is bound to. */
function isOwn(name: string, boundHost: string): boolean {
  return isLoopback(name) || name === boundHost.toLowerCase() || name === `[${boundHost.toLowerCase()}]`
}

/** Whether a page of a foreign origin sends this: a browser cannot be made to hide the page's origin from a POST. */
export function isForeignPage(exchange: HttpExchange, boundHost: string): boolean {
  const origin = exchange.header('origin')
  if (origin === undefined) return false
  try {
    return !isOwn(new URL(origin).hostname, boundHost)
  } catch {
    return true
  }
}

/**
 * Whether this was meant for another host. A page's own name can be made to resolve to 127.0.0.1: the page then reaches a server
 * that listens on the local machine only, and the browser takes its answers for the page's own. A request that names no host is
 * no browser's.
 */
export function isForeignHost(exchange: HttpExchange, boundHost: string): boolean {
  const host = exchange.header('host')?.toLowerCase()
  if (host === undefined || host === '') return false
  const name = /^(\[[^\]]*\]|[^:]*)(?::\d*)?$/.exec(host)?.[1]
  return name === undefined || !isOwn(name, boundHost)
}
