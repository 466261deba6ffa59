import { describe, expect, test } from 'vitest'
import { request } from '../support/http-client.js'
import { hello, testServer, transports } from '../support/test-server.js'

const bodies: readonly [string, object][] = [
  ['/v1/chat/completions', { messages: hello }],
  ['/v1/completions', { prompt: 'Hi' }],
  ['/v1/responses', { input: 'Hi' }],
]

describe.each(transports)('fields that no API knows, over %s', (transport) => {
  test.each(bodies)('%s refuses them unless told otherwise', async (path, body) => {
    const text = JSON.stringify({ ...body, surprise: 1 })
    const large = JSON.stringify({ ...body, surprise: 'x'.repeat(200_000) })
    await using strict = await testServer(transport)
    for (const each of [text, large]) expect((await request(strict.port, 'POST', path, each)).status).toBe(422)
    await using lenient = await testServer(transport, {}, { allowUnknownFields: true })
    for (const each of [text, large]) expect((await request(lenient.port, 'POST', path, each)).status).toBe(200)
    // what is known stays judged, and what would change the answer stays refused
    for (const wrong of [{ temperature: 'hot' }, { num_beams: 4 }]) {
      expect((await request(lenient.port, 'POST', path, JSON.stringify({ ...body, ...wrong }))).status).toBeLessThan(500)
      expect((await request(lenient.port, 'POST', path, JSON.stringify({ ...body, ...wrong }))).status).toBeGreaterThanOrEqual(400)
    }
  })

  test('bodies about conversations as well', async () => {
    const item = { role: 'user', content: 'Hi' }
    const statuses = async (port: number): Promise<number[]> => {
      const made = await request(port, 'POST', '/v1/conversations', '{}')
      const { id } = JSON.parse(made.text) as { id: string }
      const asked: [string, object][] = [
        ['', { items: [item] }],
        [`/${id}`, { metadata: { a: 'b' } }],
        [`/${id}/items`, { items: [item] }],
      ]
      const replies = asked.map(([path, body]) =>
        request(port, 'POST', `/v1/conversations${path}`, JSON.stringify({ ...body, surprise: 1 })),
      )
      return (await Promise.all(replies)).map(({ status }) => status)
    }
    await using strict = await testServer(transport)
    expect(await statuses(strict.port)).toEqual([422, 422, 422])
    await using lenient = await testServer(transport, {}, { allowUnknownFields: true })
    expect(await statuses(lenient.port)).toEqual([200, 200, 200])
  })
})
