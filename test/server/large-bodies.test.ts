import { monitorEventLoopDelay } from 'node:perf_hooks'
import { describe, expect, test } from 'vitest'
import { BodyParser, inlineBodyLimit } from '../../src/server/body-parser.js'
import { parseChatBody } from '../../src/protocol/chat-schema.js'
import { post } from '../support/http-client.js'
import { testServer, transports } from '../support/test-server.js'

const large = (words: number, more: object = {}) =>
  JSON.stringify({ messages: [{ role: 'user', content: 'word é "x" '.repeat(words) }], seed: 7, ...more })

test('a large body is read as a small one is', async () => {
  const parser = new BodyParser()
  const text = large(200_000, { tools: [{ type: 'function', function: { name: 'f' } }] })
  expect(Buffer.byteLength(text)).toBeGreaterThan(inlineBodyLimit)
  expect(await parser.parseChat(Buffer.from(text))).toEqual(parseChatBody(Buffer.from(text)))
  await expect(parser.parseChat(Buffer.from(`${text}}`))).rejects.toMatchObject({ code: 'invalid_json' })
  await expect(parser.parseChat(Buffer.from(large(200_000, { foo: 1 })))).rejects.toMatchObject({ code: 'unexpected_fields', param: 'foo' })
  await parser.close()
})

describe.each(transports)('large bodies over %s', (transport) => {
  test('a large prompt does not hold up the event loop', async () => {
    await using t = await testServer(transport, { maxPromptLength: 1e9 })
    const body = large(800_000)
    expect((await post(t.port, body)).status).toBe(200)
    const delay = monitorEventLoopDelay({ resolution: 5 })
    delay.enable()
    for (let i = 0; i < 3; i++) expect((await post(t.port, body)).status).toBe(200)
    delay.disable()
    // parsing it here took several times as long; the fake model, which runs in this thread too, measures the prompt
    expect(delay.max / 1e6).toBeLessThan(400)
  }, 30_000)
})
