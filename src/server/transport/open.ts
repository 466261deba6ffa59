import { openNodeTransport } from './node-http.js'
import { openUwsTransport } from './uws.js'
import { loadUws, type Uws } from './uws-binary.js'
import { ListenError, type Transport, type TransportOptions } from './types.js'

export type TransportChoice = 'auto' | 'uws' | 'node'

/**
 * Opens the transport that was asked for; 'auto' takes uWebSockets where its binary loads.
 * Rejects with a ListenError.
 * @param load gets uWebSockets, or says why there is none
 * @param note told why 'auto' fell back to node:http
 */
export async function openTransport(
  choice: TransportChoice,
  options: TransportOptions,
  note: (sentence: string) => void,
  load: () => Uws | string = loadUws,
): Promise<Transport> {
  if (choice === 'node') return openNodeTransport(options)
  const uws = load()
  if (typeof uws !== 'string') return openUwsTransport(uws, options)
  if (choice === 'uws') throw new ListenError(options.addresses[0] ?? '', options.port, `${uws}; --transport node needs none`)
  note(`${uws}; HTTP runs on node:http`)
  return openNodeTransport(options)
}
