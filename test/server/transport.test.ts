import { connect } from 'node:net'
import { networkInterfaces } from 'node:os'
import { describe, expect, test } from 'vitest'
import { openTransport } from '../../src/server/transport/open.js'
import {
  BodyTooLargeError,
  ListenError,
  type ExchangeHandler,
  type HttpExchange,
  type Transport,
} from '../../src/server/transport/types.js'
import { request, sleep, until } from '../support/http-client.js'
import { transports } from '../support/test-server.js'

const limit = 1000

async function opened(kind: 'uws' | 'node', handler: ExchangeHandler, bodyBudget = 10_000): Promise<Transport & AsyncDisposable> {
  const transport = await openTransport(kind, { addresses: ['127.0.0.1', '::1'], port: 0, bodyBudget, handler }, () => undefined)
  return { ...transport, [Symbol.asyncDispose]: () => transport.close() }
}

/** Sends bytes over a socket and gathers the answer until the condition holds. */
async function raw(port: number, bytes: string, enough: (text: string) => boolean): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  let text = ''
  socket.setEncoding('utf8').on('data', (piece: string) => (text += piece))
  socket.on('error', () => undefined)
  socket.write(bytes)
  await until(() => enough(text), `an answer, not ${JSON.stringify(text)}`)
  socket.destroy()
  return text
}

const echo: ExchangeHandler = (exchange) => {
  const { method, path, query } = exchange
  const header = exchange.header('x-test') ?? null
  exchange
    .readBody(limit, (body) => Buffer.from(body).toString())
    .then(
      (body) => exchange.send(200, { 'content-type': 'application/json' }, JSON.stringify({ method, path, query, header, body })),
      (error: unknown) => exchange.send(error instanceof BodyTooLargeError ? 413 : 500, {}, String(error)),
    )
}

describe.each(transports)('the transport %s', (kind) => {
  test('hands over method, path, query, headers and body as sent', async () => {
    await using transport = await opened(kind, echo)
    const reply = await request(transport.port, 'POST', '/a%2Fb/c?d=%20e', 'héllo', { 'X-Test': 'a value' })
    expect(JSON.parse(reply.text)).toEqual({ method: 'POST', path: '/a%2Fb/c', query: 'd=%20e', header: 'a value', body: 'héllo' })
    expect(reply.headers.date).toBeDefined()
    const get = await request(transport.port, 'GET', '/')
    expect(JSON.parse(get.text)).toEqual({ method: 'GET', path: '/', query: '', header: null, body: '' })
  })

  test('takes long headers', async () => {
    await using transport = await opened(kind, echo)
    const long = 'x'.repeat(10_000)
    expect((await request(transport.port, 'GET', '/', undefined, { 'x-test': long })).text).toContain(long)
  })

  test('takes chunked bodies and keeps the connection', async () => {
    await using transport = await opened(kind, echo)
    const head = 'POST /x HTTP/1.1\r\nhost: x\r\n'
    const chunked = `${head}transfer-encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n`
    const text = await raw(transport.port, chunked, (t) => t.endsWith('}'))
    expect(text).toContain('"body":"abcde"')
    const socket = connect(transport.port, '127.0.0.1')
    let answers = ''
    socket.setEncoding('utf8').on('data', (piece: string) => (answers += piece))
    for (let i = 1; i <= 5; i++) {
      socket.write(`${head}content-length: 1\r\n\r\n${i}`)
      await until(() => answers.includes(`"body":"${i}"`), `answer ${i}`)
    }
    socket.destroy()
  })

  test('a body at the limit passes, one above does not, and the connection goes on', async () => {
    await using transport = await opened(kind, echo)
    expect((await request(transport.port, 'POST', '/', 'x'.repeat(limit))).status).toBe(200)
    expect((await request(transport.port, 'POST', '/', 'x'.repeat(limit + 1))).status).toBe(413)
    const both = `POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n\r\n${'x'.repeat(5000)}`
    const socket = connect(transport.port, '127.0.0.1')
    let text = ''
    socket.setEncoding('utf8').on('data', (piece: string) => (text += piece))
    socket.write(both)
    await until(() => text.includes('413'), 'refused')
    await sleep(20)
    socket.write('GET /again HTTP/1.1\r\nhost: x\r\n\r\n')
    await until(() => text.includes('/again'), 'the next answer')
    socket.destroy()
  })

  test('all bodies together stay within the budget, which is given back', async () => {
    await using transport = await opened(kind, echo, 1500)
    const start = () => {
      const socket = connect(transport.port, '127.0.0.1')
      socket.on('error', () => undefined)
      socket.write(`POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n${'x'.repeat(900)}`)
      return socket
    }
    const first = start()
    await sleep(50)
    expect((await request(transport.port, 'POST', '/', 'x'.repeat(1000))).status).toBe(413)
    first.destroy()
    await sleep(50)
    expect((await request(transport.port, 'POST', '/', 'x'.repeat(1000))).status).toBe(200)
  })

  test('a body counts in the budget until it has been read', async () => {
    let finish: () => void = () => undefined
    const reading = new Promise<void>((resolve) => (finish = resolve))
    let begun = false
    const readSlowly: ExchangeHandler = (exchange) => {
      const read = async () => {
        begun = true
        await reading
      }
      exchange.readBody(limit, read).then(
        () => exchange.send(200, {}, ''),
        () => exchange.send(413, {}, ''),
      )
    }
    await using transport = await opened(kind, readSlowly, 1500)
    const first = request(transport.port, 'POST', '/', 'x'.repeat(1000))
    await until(() => begun, 'the first body is read')
    expect((await request(transport.port, 'POST', '/', 'x'.repeat(1000))).status).toBe(413)
    finish()
    expect((await first).status).toBe(200)
    expect((await request(transport.port, 'POST', '/', 'x'.repeat(1000))).status).toBe(200)
  })

  test('streams, and says when the client goes', async () => {
    const ended: string[] = []
    let exchange: HttpExchange | undefined
    await using transport = await opened(kind, (e) => {
      exchange = e
      e.onAborted(() => ended.push('aborted'))
      e.begin(200, { 'content-type': 'text/plain' })
      e.write('one ')
    })
    const text = await raw(transport.port, 'GET / HTTP/1.1\r\nhost: x\r\n\r\n', (t) => t.includes('one '))
    expect(text).toMatch(/transfer-encoding: chunked/i)
    await until(() => ended.length === 1, 'aborted')
    expect(exchange?.closed).toBe(true)
    // nothing that is said to a client that has gone does harm
    expect(exchange?.write('x')).toBe(true)
    exchange?.end('y')
    exchange?.send(200, {}, 'z')
    exchange?.destroy()
  })

  test('a whole stream arrives, and its end is no abort', async () => {
    let aborted = false
    await using transport = await opened(kind, (e) => {
      e.onAborted(() => (aborted = true))
      e.begin(200, {})
      for (let i = 0; i < 1000; i++) e.write(`${i} `)
      setTimeout(() => e.end('end'), 20)
    })
    const reply = await request(transport.port, 'GET', '/')
    expect(reply.text).toBe(`${Array.from({ length: 1000 }, (_, i) => `${i} `).join('')}end`)
    await sleep(20)
    expect(aborted).toBe(false)
  })

  test('a stream with long writes arrives whole and in order at a client that reads slowly', async () => {
    const words = Array.from({ length: 400 }, (_, i) => `<${i}${'é'.repeat(i % 7 === 0 ? 100_000 : 10)}>`)
    await using transport = await opened(kind, (e) => {
      let next = 0
      const more = () => {
        while (next < words.length) if (!e.write(words[next++] ?? '')) return
        if (!e.closed) e.end('the end')
      }
      e.onWritable(more)
      e.begin(200, {})
      more()
    })
    const reply = await fetch(`http://127.0.0.1:${transport.port}/`)
    let text = ''
    const decoder = new TextDecoder()
    for await (const chunk of reply.body ?? []) {
      text += decoder.decode(chunk as Uint8Array, { stream: true })
      await sleep(1)
    }
    expect(text === `${words.join('')}the end`).toBe(true)
    expect(await transport.sent(1000)).toBe(true)
  })

  test('a large answer arrives whole', async () => {
    const body = 'é'.repeat(5_000_000)
    await using transport = await opened(kind, (e) => e.send(200, {}, body))
    const reply = await request(transport.port, 'GET', '/')
    expect(reply.text === body).toBe(true)
    expect(reply.headers['content-length']).toBe(String(Buffer.byteLength(body)))
  })

  test('bytes that are no HTTP do no harm', async () => {
    await using transport = await opened(kind, echo)
    for (const bytes of [
      '\r\n\r\n',
      'nonsense\r\n\r\n',
      '\u0000\u0001\u0002\r\n\r\n',
      'GET\r\n\r\n',
      `GET / HTTP/1.1\r\n${'x'.repeat(100_000)}`,
    ]) {
      const socket = connect(transport.port, '127.0.0.1')
      socket.on('error', () => undefined)
      socket.write(bytes)
      await sleep(30)
      socket.destroy()
    }
    expect((await request(transport.port, 'GET', '/')).status).toBe(200)
  })

  test.runIf(networkInterfaces().lo?.some((address) => address.family === 'IPv6'))('answers on ::1 at the same port', async () => {
    await using transport = await opened(kind, echo)
    expect(transport.addresses).toEqual(['127.0.0.1', '::1'])
    expect((await fetch(`http://[::1]:${transport.port}/`)).status).toBe(200)
  })

  // uWebSockets ends a connection that is idle for some ten seconds, an open request's, too, once its body was held back
  test('an answer to a large body may take its time', { timeout: 60_000 }, async () => {
    const slow: ExchangeHandler = (exchange) => {
      const read = async (): Promise<void> => {
        let bytes = 0
        for await (const piece of exchange.streamBody(8 << 20)) bytes += piece.length
        await sleep(18_000)
        exchange.send(200, {}, String(bytes))
      }
      read().catch(() => exchange.destroy())
    }
    await using transport = await opened(kind, slow)
    const sizes = [300_000, 400_000, 520_000, 700_000, 900_000, 1_000_000, 2_000_000, 5_000_000]
    const inOne = sizes.map(async (size) => (await request(transport.port, 'POST', '/', Buffer.alloc(size))).text)
    const inChunks = sizes.map(async (size) => {
      const body = new Blob([Buffer.alloc(size)]).stream()
      return (await fetch(`http://127.0.0.1:${transport.port}/`, { method: 'POST', body, duplex: 'half' })).text()
    })
    expect(await Promise.all(inOne)).toEqual(sizes.map(String))
    expect(await Promise.all(inChunks)).toEqual(sizes.map(String))
  })
})

test('without a uWebSockets binary, uws is refused in a sentence and auto is node:http', async () => {
  const options = { addresses: ['127.0.0.1'], port: 0, bodyBudget: 1, handler: echo }
  const notes: string[] = []
  const open = (choice: 'uws' | 'auto') =>
    openTransport(
      choice,
      options,
      (note) => notes.push(note),
      () => 'no uWebSockets binary for this machine',
    )
  const refusal = await open('uws').catch((error: unknown) => error)
  expect(refusal).toBeInstanceOf(ListenError)
  expect(String(refusal)).toContain('cannot listen on 127.0.0.1:0: no uWebSockets binary for this machine; --transport node needs none')
  const transport = await open('auto')
  expect(transport.kind).toBe('node')
  expect(notes).toEqual(['no uWebSockets binary for this machine; HTTP runs on node:http'])
  await transport.close()
})

test('auto takes what there is', async () => {
  const notes: string[] = []
  const transport = await openTransport('auto', { addresses: ['127.0.0.1'], port: 0, bodyBudget: 1, handler: echo }, (note) =>
    notes.push(note),
  )
  expect(transport.kind).toBe(transports[0])
  expect(notes).toHaveLength(transport.kind === 'uws' ? 0 : 1)
  await transport.close()
})
