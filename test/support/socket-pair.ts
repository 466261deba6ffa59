import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

/** Two connected sockets: like the pipe between front and worker, they have buffers, ends and errors of the system. */
export async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const accepted = once(server, 'connection') as Promise<[Socket]>
  const one = connect(address.port, '127.0.0.1')
  const [other] = await accepted
  server.close()
  return [one, other]
}
