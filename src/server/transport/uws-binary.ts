import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

// What we use of uWebSockets.js; the binary comes without types.

export interface UwsRequest {
  getUrl(): string
  getQuery(): string | undefined
  getCaseSensitiveMethod(): string
  getHeader(lowerCaseName: string): string
  forEach(visit: (name: string, value: string) => void): void
}

export interface UwsResponse {
  onAborted(listener: () => void): UwsResponse
  onData(listener: (chunk: ArrayBuffer, isLast: boolean) => void): UwsResponse
  /** The listener gets how many bytes of tryEnd have left. */
  onWritable(listener: (offset: number) => boolean): UwsResponse
  cork(work: () => void): UwsResponse
  writeStatus(status: string): UwsResponse
  writeHeader(name: string, value: string): UwsResponse
  /** @returns false when the socket did not take all: the rest is kept and goes with what is written next */
  write(chunk: string | Uint8Array): boolean
  /** @returns whether the socket took all of the chunk, and whether the answer is complete */
  tryEnd(chunk: string | Uint8Array, totalBytes: number): [boolean, boolean]
  end(body?: string, closeConnection?: boolean): UwsResponse
  endWithoutBody(reportedContentLength?: number, closeConnection?: boolean): UwsResponse
  close(): UwsResponse
  /** No more of the body is read, and the connection's idle time does not count, until `resume`. */
  pause(): void
  resume(): void
}

/** An open listening socket. */
export type UwsListenSocket = object

export interface UwsApp {
  any(pattern: string, handler: (response: UwsResponse, request: UwsRequest) => void): UwsApp
  listen(host: string, port: number, options: number, opened: (socket: UwsListenSocket | false) => void): UwsApp
  close(): UwsApp
}

export interface Uws {
  App(): UwsApp
  LIBUS_LISTEN_EXCLUSIVE_PORT: number
  us_listen_socket_close(socket: UwsListenSocket): void
  us_socket_local_port(socket: UwsListenSocket): number
}

const packageRoot = new URL('../../../', import.meta.url)

/** Platform, processor and Node's module version: a uWebSockets binary fits exactly one such triple. */
export const uwsKey = `${process.platform}-${process.arch}-${process.versions.modules}`

// Node's limit on a request's headers; uWebSockets' own (4 KiB) is less than the cookies that collect on localhost
const headerBytes = 16_384

/** Loads the binary that the install script fetched. @returns a sentence that says why there is none, where there is none */
export function loadUws(): Uws | string {
  const path = fileURLToPath(new URL(`vendor/uws/${uwsKey}/uws.node`, packageRoot))
  process.env.UWS_HTTP_MAX_HEADERS_SIZE ??= String(headerBytes)
  try {
    return createRequire(import.meta.url)(path) as Uws
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'MODULE_NOT_FOUND') return `no uWebSockets binary for ${uwsKey}`
    return `the uWebSockets binary does not load: ${message.split('\n')[0]}`
  }
}
