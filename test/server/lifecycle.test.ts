import { describe, expect, test } from 'vitest'
import { chunks, events, openChat, post, request, sleep, until } from '../support/http-client.js'
import { hello, testServer, transports } from '../support/test-server.js'

const endless = { messages: hello, ignore_eos: true, max_tokens: 1_000_000 }

describe.each(transports)('clients that come and go over %s', (transport) => {
  test.each([true, false])('a client that leaves is an abort within a step (stream: %s)', async (stream) => {
    await using t = await testServer(transport, { stepMs: 20 })
    const socket = openChat(t.port, { ...endless, stream })
    await until(() => t.model.live === 1, 'started')
    await sleep(60)
    const { steps } = await t.model.stats()
    socket.destroy()
    await until(() => t.model.live === 0, 'aborted')
    expect((await t.model.stats()).steps - steps).toBeLessThanOrEqual(3)
    expect(t.model.calls.abort).toBe(1)
    expect((await request(t.port, 'GET', '/metrics')).text).toContain('tfserve_requests_total{outcome="client_gone"} 1\n')
  })

  test('a client that leaves before the model has accepted is aborted too', async () => {
    let accept: () => void = () => undefined
    const accepted = new Promise<void>((resolve) => (accept = resolve))
    await using t = await testServer(transport, { onStart: () => accepted })
    const socket = openChat(t.port, { ...endless, stream: true })
    await until(() => t.model.requests.length === 1, 'asked')
    socket.destroy()
    await sleep(50)
    accept()
    await until(() => t.model.calls.abort === 1, 'aborted')
    await until(() => t.model.live === 0, 'freed')
  })

  test('200 vanishing clients leave nothing behind', async () => {
    await using t = await testServer(transport, { stepMs: 2 })
    for (let round = 0; round < 4; round++) {
      const sockets = Array.from({ length: 50 }, (_, i) => openChat(t.port, { ...endless, stream: i % 2 === 0 }))
      await until(() => t.model.live === 50, 'all started')
      for (const socket of sockets) socket.destroy()
      await until(() => t.model.live === 0, 'all gone')
    }
    expect((await post(t.port, { messages: hello })).status).toBe(200)
  })

  test('a slow reader pauses its generation; nothing is lost when it reads on', async () => {
    const pieces = ['x'.repeat(2000)]
    await using t = await testServer(transport, { pieces })
    const tokens = 4000
    const socket = openChat(t.port, { ...endless, max_tokens: tokens, stream: true })
    let text = ''
    socket.setEncoding('utf8').on('data', (piece: string) => (text += piece))
    await new Promise((resolve) => socket.once('data', resolve))
    socket.pause()
    await until(() => t.model.calls.pause > 0, 'paused')
    await sleep(200)
    const outputs = (await t.model.stats()).outputTokens
    await sleep(200)
    expect((await t.model.stats()).outputTokens).toBe(outputs)
    expect(outputs).toBeLessThan(tokens)
    // others are not held up
    expect((await post(t.port, { messages: hello, max_tokens: 3 })).status).toBe(200)
    socket.resume()
    await until(() => text.includes('[DONE]'), 'the rest', 20_000)
    expect(t.model.calls.resume).toBeGreaterThan(0)
    expect(text.split('"content":"x').length - 1).toBe(tokens)
    socket.destroy()
  }, 30_000)

  test('a reader that never reads on is dropped', async () => {
    await using t = await testServer(transport, { pieces: ['x'.repeat(20_000)] }, { slowReaderTimeoutMs: 300 })
    const socket = openChat(t.port, { ...endless, stream: true })
    await new Promise((resolve) => socket.once('data', resolve))
    socket.pause()
    await until(() => t.model.live === 0, 'dropped', 10_000)
    expect((await request(t.port, 'GET', '/metrics')).text).toContain('tfserve_requests_total{outcome="slow_reader"} 1\n')
    socket.destroy()
  }, 15_000)

  test('a silent stream gets keep-alive comments, which clients skip', async () => {
    await using t = await testServer(transport, {}, { keepAliveMs: 50 })
    t.model.stalled = true
    const reply = post(t.port, { messages: hello, stream: true })
    await sleep(250)
    t.model.stalled = false
    const { text } = await reply
    expect(text).toContain(': keep-alive, queue position 1\n\n')
    expect(
      chunks(text)
        .map((part) => part.choices[0]?.delta.content ?? '')
        .join(''),
    ).toBe(t.model.text)
  })

  test('a stream that waits is told its place in the queue', async () => {
    await using t = await testServer(transport, {}, { keepAliveMs: 50 })
    t.model.stalled = true
    const replies = [1, 2, 3].map(() => post(t.port, { messages: hello, stream: true }))
    await until(() => t.model.live === 3, 'all are accepted')
    await sleep(200)
    t.model.stalled = false
    const texts = (await Promise.all(replies)).map(({ text }) => text)
    const places = texts.map((text) => Number(/queue position (\d)/.exec(text)?.[1]))
    expect(places.sort()).toEqual([1, 2, 3])
  })

  test('a body over the limit is 413, announced or not, and the next request works', async () => {
    await using t = await testServer(transport, {}, { bodyLimit: 100_000 })
    const big = JSON.stringify({ messages: [{ role: 'user', content: 'x'.repeat(3_000_000) }] })
    const announced = await post(t.port, big)
    expect(announced.status).toBe(413)
    expect(JSON.parse(announced.text)).toMatchObject({ error: { code: 'body_too_large', type: 'invalid_request_error' } })
    const chunked = await fetch(`http://127.0.0.1:${t.port}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: new Blob([big]).stream(),
      duplex: 'half',
    } as RequestInit)
    expect(chunked.status).toBe(413)
    await chunked.text()
    expect((await post(t.port, { messages: hello })).status).toBe(200)
  })

  test('drain: open streams end well, new work is refused', async () => {
    await using t = await testServer(transport, { stepMs: 10 })
    const open = post(t.port, { ...endless, max_tokens: 40, stream: true })
    await until(() => t.model.live === 1, 'started')
    const agentSocket = openChat(t.port, { messages: hello, max_tokens: 1 })
    await new Promise((resolve) => agentSocket.once('data', resolve))
    const drained = t.server.drain()
    // on a connection that is still open
    const answer = new Promise<string>((resolve) => agentSocket.once('data', (data) => resolve(data.toString())))
    agentSocket.once('close', () => undefined)
    agentSocket.write(
      'POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}',
    )
    const late = await Promise.race([answer, sleep(500).then(() => 'closed')])
    expect(late === 'closed' || late.includes('503')).toBe(true)
    await expect(post(t.port, { messages: hello })).rejects.toThrow(/ECONNREFUSED/)
    expect(events((await open).text).at(-1)).toBe('[DONE]')
    await drained
    agentSocket.destroy()
  })

  test.each([true, false])('drain: a long answer that is complete reaches a slow client whole (stream: %s)', async (stream) => {
    const piece = 'x'.repeat(12_000_000)
    await using t = await testServer(transport, { pieces: [piece] })
    const socket = openChat(t.port, { messages: hello, stream })
    let length = 0
    let tail = ''
    socket.on('data', (data: Buffer) => {
      length += data.length
      tail = (tail + data.toString('latin1')).slice(-100)
      socket.pause()
      setTimeout(() => socket.resume(), 2)
    })
    await until(() => length > 0, 'begun', 10_000)
    await until(() => t.model.live === 0, 'generated')
    await t.server.drain()
    await t.server.close()
    await new Promise((resolve) => socket.once('close', resolve))
    expect(length).toBeGreaterThan(piece.length)
    expect(tail).toContain(stream ? '[DONE]' : '}')
  })

  test('drain: a client that never reads does not hold it up beyond its limit', async () => {
    await using t = await testServer(transport, { pieces: ['x'.repeat(12_000_000)] }, { drainTimeoutMs: 300 })
    const socket = openChat(t.port, { messages: hello })
    await until(() => t.model.requests.length === 1, 'asked')
    socket.pause()
    await until(() => t.model.live === 0, 'generated')
    const start = performance.now()
    await t.server.drain()
    expect(performance.now() - start).toBeLessThan(1500)
    socket.destroy()
  })

  test('drain: what does not end in time gets an error event', async () => {
    await using t = await testServer(transport, { stepMs: 10 }, { drainTimeoutMs: 200 })
    const stream = post(t.port, { ...endless, stream: true })
    const whole = post(t.port, endless)
    await until(() => t.model.live === 2, 'started')
    await t.server.drain()
    expect(events((await stream).text).at(-1)).toMatchObject({ error: { code: 'shutting_down' } })
    expect((await whole).status).toBe(503)
    await until(() => t.model.live === 0, 'aborted')
  })
})
