import { openNodeTransport } from './node-http.js'
import { openUwsTransport } from './uws.js'
import { loadUws } from './uws-binary.js'
import type { Transport, TransportOptions } from './types.js'

export type TransportChoice = 'auto' | 'uws' | 'node'

/**
 * Opens the transport that was asked for; 'auto' takes uWebSockets where its binary loads.
 * @param note told why 'auto' fell back to node:http
 */
export async function openTransport(
  choice: TransportChoice,
  options: TransportOptions,
  note: (sentence: string) => void,
): Promise<Transport> {
  if (choice === 'node') return openNodeTransport(options)
  const uws = loadUws()
  if (typeof uws !== 'string') return openUwsTransport(uws, options)
  if (choice === 'uws') throw new Error(uws)
  note(`${uws}; HTTP runs on node:http`)
  return openNodeTransport(options)
}
