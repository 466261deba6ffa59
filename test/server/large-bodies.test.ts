import { describe, expect, test } from 'vitest'
import { BodyParser, inlineBodyLimit } from '../../src/server/body-parser.js'
import { parseChatBody } from '../../src/protocol/chat-schema.js'
import { post } from '../support/http-client.js'
import { hello, testServer, transports } from '../support/test-server.js'

const large = (words: number, more: object = {}) =>
  Buffer.from(JSON.stringify({ messages: [{ role: 'user', content: 'word é "x" '.repeat(words) }], seed: 7, ...more }))

/** The longest time that this thread's event loop stood still while the work went on, in ms. */
async function longestStandstill(work: Promise<unknown>): Promise<number> {
  let longest = 0
  let last = performance.now()
  const timer = setInterval(() => {
    const now = performance.now()
    longest = Math.max(longest, now - last)
    last = now
  }, 1)
  await work
  clearInterval(timer)
  return Math.max(longest, performance.now() - last)
}

describe('large bodies', () => {
  test('are read as small ones are, and refused alike', async () => {
    const parser = new BodyParser()
    const body = large(200_000, { tools: [{ type: 'function', function: { name: 'f' } }] })
    expect(body.length).toBeGreaterThan(inlineBodyLimit)
    const wanted = parseChatBody(body)
    expect(await parser.parse('chat', Buffer.from(body))).toEqual(wanted)
    await expect(parser.parse('chat', Buffer.concat([body, Buffer.from('}')]))).rejects.toMatchObject({ code: 'invalid_json' })
    await expect(parser.parse('chat', large(200_000, { foo: 1 }))).rejects.toMatchObject({ code: 'unexpected_fields', param: 'foo' })
    await parser.close()
  })

  test.runIf(new BodyParser().threaded)('do not hold up the event loop', async () => {
    const parser = new BodyParser()
    await parser.parse('chat', large(20_000))
    const costly = Buffer.from(JSON.stringify({ messages: hello, metadata: Array(400_000).fill({ a: 1 }), foo: 1 }))
    const start = performance.now()
    expect(() => parseChatBody(costly)).toThrow(/foo/)
    const here = performance.now() - start
    const standstill = await longestStandstill(expect(parser.parse('chat', costly)).rejects.toMatchObject({ param: 'foo' }))
    expect(standstill).toBeLessThan(here / 2)
    await parser.close()
  })

  test.each(transports)('arrive whole over %s', async (transport) => {
    await using t = await testServer(transport, { maxPromptLength: 1e9 })
    const body = large(500_000)
    expect((await post(t.port, body)).status).toBe(200)
    expect(t.model.requests[0]).toEqual(parseChatBody(body).generate)
  })
})
