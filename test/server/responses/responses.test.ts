import net from 'node:net'
import OpenAI from 'openai'
import type { Response } from 'openai/resources/responses/responses'
import { describe, expect, test } from 'vitest'
import type { ChatMessage } from '../../../src/engine/types.js'
import { request, sleep, until, type Reply } from '../../support/http-client.js'
import { testServer, transports, type TestServer } from '../../support/test-server.js'

const model = 'test-org/fake'
const client = (t: TestServer, apiKey = '-') => new OpenAI({ baseURL: `http://127.0.0.1:${t.port}/v1`, apiKey, maxRetries: 0 })
const ask = (t: TestServer, body: object, headers: Record<string, string> = {}): Promise<Reply> =>
  request(t.port, 'POST', '/v1/responses', JSON.stringify(body), headers)
const json = (reply: Reply): Record<string, never> => JSON.parse(reply.text) as Record<string, never>

/** The events of a stream; each `event:` line must name the type in its data. */
function events(text: string): Record<string, unknown>[] {
  const blocks = text.split('\n\n').filter((block) => block.startsWith('event: '))
  return blocks.map((block) => {
    const [name, data] = block.split('\n')
    const event = JSON.parse(data!.slice(6)) as Record<string, unknown>
    expect(name).toBe(`event: ${String(event.type)}`)
    return event
  })
}

const prompts = (t: TestServer): (readonly ChatMessage[])[] =>
  t.model.requests.map(({ input }) => (input.kind === 'chat' ? input.messages : []))

describe.each(transports)('responses over %s', (transport) => {
  test('answer as one object unless a stream is asked for', async () => {
    await using t = await testServer(transport)
    const reply = await ask(t, { model, input: 'Hi', instructions: 'Be brief', metadata: { a: 'b' }, max_output_tokens: 500 })
    expect(reply.status).toBe(200)
    const response = json(reply)
    expect(response).toMatchObject({
      object: 'response',
      status: 'completed',
      model: `${model}@main`,
      instructions: 'Be brief',
      metadata: { a: 'b' },
      max_output_tokens: 500,
      error: null,
      incomplete_details: null,
      output: [{ type: 'message', role: 'assistant', status: 'completed', content: [{ type: 'output_text', text: t.model.text }] }],
    })
    expect(response.usage).toMatchObject({ input_tokens_details: { cached_tokens: 4 }, output_tokens_details: { reasoning_tokens: 0 } })
    expect(prompts(t)[0]).toMatchObject([
      { role: 'system', content: 'Be brief' },
      { role: 'user', content: 'Hi' },
    ])
  })

  test('stream by the field or by the accept header; the stream says what the object says', async () => {
    await using t = await testServer(transport)
    const asked = await ask(t, { model, input: 'Hi', stream: true })
    const accepted = await ask(t, { model, input: 'Hi' }, { accept: 'text/event-stream' })
    for (const { text, headers } of [asked, accepted]) {
      expect(headers['content-type']).toContain('text/event-stream')
      expect(text.endsWith('data: [DONE]\n\n')).toBe(true)
      const all = events(text)
      expect(all.map((event) => event.sequence_number)).toEqual(all.map((_, index) => index))
      expect([all[0]?.type, all[1]?.type, all.at(-1)?.type]).toEqual(['response.created', 'response.in_progress', 'response.completed'])
      const deltas = all.filter((event) => event.type === 'response.output_text.delta').map((event) => event.delta)
      expect(deltas.join('')).toBe(t.model.text)
      const names = all.flatMap(({ response }) => (response === undefined ? [] : [(response as { model: string }).model]))
      expect(new Set(names)).toEqual(new Set([names.at(-1)]))
    }
    expect((await ask(t, { model, input: 'Hi', stream: false }, { accept: 'text/event-stream' })).headers['content-type']).toContain('json')
  })

  test("OpenAI's client: create, stream helper, retrieve, list, delete", async () => {
    await using t = await testServer(transport)
    const openai = client(t)
    const whole = await openai.responses.create({ model, input: 'Hi' })
    expect(whole.output_text).toBe(t.model.text)
    const final = await openai.responses.stream({ model, input: 'Hi' }).finalResponse()
    expect(final.output_text).toBe(t.model.text)
    expect((await openai.responses.retrieve(whole.id)).output_text).toBe(t.model.text)
    const input = await openai.responses.inputItems.list(whole.id)
    expect(input.data).toMatchObject([{ type: 'message', role: 'user', content: [{ type: 'input_text', text: 'Hi' }] }])
    await openai.responses.delete(whole.id)
    await expect(openai.responses.retrieve(whole.id)).rejects.toMatchObject({ status: 404 })
  })

  test('go on from a previous response', async () => {
    await using t = await testServer(transport)
    const openai = client(t)
    const first = await openai.responses.create({ model, input: 'One', instructions: 'Not carried over' })
    const second = await openai.responses.create({ model, input: 'Two', previous_response_id: first.id })
    await openai.responses.create({ model, input: 'Three', previous_response_id: second.id })
    expect(prompts(t)[2]?.map(({ role, content }) => [role, content])).toEqual([
      ['user', 'One'],
      ['assistant', t.model.text],
      ['user', 'Two'],
      ['assistant', t.model.text],
      ['user', 'Three'],
    ])
    const missing = { model, input: 'x', previous_response_id: `resp_${'0'.repeat(48)}` }
    await expect(openai.responses.create(missing)).rejects.toMatchObject({ status: 404, param: 'previous_response_id' })
    const unstored = await openai.responses.create({ model, input: 'x', store: false })
    await expect(openai.responses.retrieve(unstored.id)).rejects.toMatchObject({ status: 404 })
  })

  test('take items by reference', async () => {
    await using t = await testServer(transport)
    const first = (await client(t).responses.create({ model, input: 'One' })) as Response
    const input = [
      { type: 'item_reference', id: first.output[0]!.id! },
      { role: 'user', content: 'Two' },
    ]
    expect((await ask(t, { model, input })).status).toBe(200)
    expect(prompts(t)[1]?.map(({ role }) => role)).toEqual(['assistant', 'user'])
    expect((await ask(t, { model, input: [{ type: 'item_reference', id: 'msg_nothing' }] })).status).toBe(404)
  })

  test('go on from no more than a request may hold', async () => {
    await using t = await testServer(transport, { maxPromptLength: 1e9 })
    const long = { role: 'user', content: 'x'.repeat(9 << 20) }
    const first = json(await ask(t, { model, input: [long] })) as unknown as Response
    const second = json(await ask(t, { model, input: [long], previous_response_id: first.id })) as unknown as Response
    expect(second.status).toBe('completed')
    const refused = await ask(t, { model, input: 'x', previous_response_id: second.id })
    expect([refused.status, json(refused).error]).toMatchObject([
      400,
      { code: 'context_length_exceeded', param: 'previous_response_id', message: expect.stringContaining('new conversation') as string },
    ])
  })

  test('grow a conversation', async () => {
    await using t = await testServer(transport)
    const openai = client(t)
    const conversation = await openai.conversations.create({ metadata: { topic: 'x' }, items: [{ role: 'user', content: 'Zero' }] })
    await openai.responses.create({ model, input: 'One', conversation: conversation.id })
    await openai.responses.create({ model, input: 'Two', conversation: { id: conversation.id } })
    expect(prompts(t)[1]?.map(({ role }) => role)).toEqual(['user', 'user', 'assistant', 'user'])
    const items = await openai.conversations.items.list(conversation.id, { order: 'asc', limit: 3 })
    expect(items.data).toHaveLength(3)
    expect(items.hasNextPage()).toBe(true)
    const item = await openai.conversations.items.retrieve(items.data[0]!.id!, { conversation_id: conversation.id })
    expect(item).toMatchObject({ role: 'user' })
    await openai.conversations.items.delete(items.data[0]!.id!, { conversation_id: conversation.id })
    expect((await openai.conversations.update(conversation.id, { metadata: { topic: 'y' } })).metadata).toEqual({ topic: 'y' })
    expect(await openai.conversations.delete(conversation.id)).toMatchObject({ deleted: true })
    await expect(openai.conversations.retrieve(conversation.id)).rejects.toMatchObject({ status: 404 })
  })

  test('end incomplete at the limit of tokens', async () => {
    await using t = await testServer(transport)
    const response = json(await ask(t, { model, input: 'Hi', max_output_tokens: 2 }))
    expect(response).toMatchObject({ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } })
    const streamed = events((await ask(t, { model, input: 'Hi', max_output_tokens: 2, stream: true })).text)
    expect(streamed.at(-1)?.type).toBe('response.incomplete')
  })

  test('run on in the background when the client leaves, and can be attached to again', async () => {
    await using t = await testServer(transport, { stepMs: 20 })
    const openai = client(t)
    const stream = await openai.responses.create({ model, input: 'Hi', background: true, stream: true })
    let id = ''
    let seen = 0
    for await (const event of stream) {
      if (event.type === 'response.created') id = event.response.id
      seen = event.sequence_number
      if (event.type === 'response.output_text.delta') break
    }
    const rest = await request(t.port, 'GET', `/v1/responses/${id}?stream=true&starting_after=${seen}`)
    const again = events(rest.text)
    expect(again[0]?.sequence_number).toBe(seen + 1)
    expect(again.at(-1)).toMatchObject({ type: 'response.completed', response: { status: 'completed' } })
    const stored = events((await request(t.port, 'GET', `/v1/responses/${id}?stream=true&starting_after=${seen}`)).text)
    expect(stored).toEqual(again)
    expect((await openai.responses.retrieve(id)).output_text).toBe(t.model.text)
  })

  test('that are stored go out as fast as they are read; who does not read is cut off', async () => {
    const pieces = Array.from({ length: 64 }, (_, n) => `${n} ${'word '.repeat(12_000)}`)
    await using t = await testServer(transport, { pieces, stepMs: 1 }, { slowReaderTimeoutMs: 300 })
    const live = (await ask(t, { model, input: 'Hi', background: true, stream: true, max_output_tokens: 64 })).text
    const [created] = events(live)
    const { id } = created!.response as { id: string }
    await until(async () => json(await request(t.port, 'GET', `/v1/responses/${id}`)).status !== 'in_progress', 'the response has ended')
    const stream = (): net.Socket => {
      const socket = net.connect(t.port, '127.0.0.1')
      socket.write(`GET /v1/responses/${id}?stream=true HTTP/1.1\r\nHost: localhost\r\n\r\n`)
      return socket
    }
    const deaf = stream().pause()
    const closed = new Promise<void>((resolve) => deaf.on('close', () => resolve()).on('error', () => undefined))
    expect((await request(t.port, 'GET', `/v1/responses/${id}?stream=true`)).text).toBe(live)
    await sleep(1500)
    // what was on its way may be read, but it is not all, and then comes the end
    let received = 0
    deaf.on('data', (chunk: Buffer) => (received += chunk.length)).resume()
    await closed
    expect(received).toBeLessThan(live.length)
  })

  test('are polled and cancelled in the background', async () => {
    await using t = await testServer(transport, { stepMs: 20 })
    const openai = client(t)
    const done = await openai.responses.create({ model, input: 'Hi', background: true })
    expect(done.status).toBe('queued')
    await until(async () => (await openai.responses.retrieve(done.id)).status === 'completed', 'the response is complete')
    const endless = { model, input: 'Hi', background: true, generation_config: '{"max_new_tokens": 100000}' }
    t.model.stalled = true
    const open = json(await ask(t, endless)) as unknown as { id: string }
    expect((await openai.responses.cancel(open.id)).status).toBe('cancelled')
    expect((await openai.responses.retrieve(open.id)).status).toBe('cancelled')
    t.model.stalled = false
    await until(() => t.model.live === 0, 'the generation is aborted')
    const foreground = await openai.responses.create({ model, input: 'Hi' })
    await expect(openai.responses.cancel(foreground.id)).rejects.toMatchObject({ status: 400 })
  })

  test('answer HEAD without a body, a stream too', async () => {
    await using t = await testServer(transport)
    const [created] = events((await ask(t, { model, input: 'Hi', background: true, stream: true })).text)
    const { id } = created!.response as { id: string }
    const socket = net.connect(t.port, '127.0.0.1')
    socket.write(`HEAD /v1/responses/${id}?stream=true HTTP/1.1\r\nHost: localhost\r\n\r\n`)
    let text = ''
    socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
    await until(() => text.includes('\r\n\r\n'), 'an answer')
    await sleep(50)
    socket.destroy()
    expect(text).toMatch(/^HTTP\/1\.1 200 /)
    expect(text.slice(text.indexOf('\r\n\r\n') + 4)).toBe('')
  })

  test('list the input of one that is under way by the page', async () => {
    await using t = await testServer(transport)
    t.model.stalled = true
    const openai = client(t)
    const input = ['One', 'Two', 'Three'].map((content) => ({ role: 'user' as const, content }))
    const { id } = await openai.responses.create({ model, input, background: true })
    const list = async (query: string) => {
      const { data, has_more } = json(await request(t.port, 'GET', `/v1/responses/${id}/input_items?${query}`)) as unknown as {
        data: { id: string; content: { text: string }[] }[]
        has_more: boolean
      }
      return { ids: data.map((item) => item.id), texts: data.map((item) => item.content[0]?.text), has_more }
    }
    const first = await list('limit=1&order=asc')
    expect(first).toMatchObject({ texts: ['One'], has_more: true })
    expect(await list(`order=asc&after=${first.ids[0]}`)).toMatchObject({ texts: ['Two', 'Three'], has_more: false })
    expect((await list('')).texts).toEqual(['Three', 'Two', 'One'])
    expect((await request(t.port, 'GET', `/v1/responses/${id}/input_items?after=msg_none`)).status).toBe(404)
  })

  test('end when the client of the foreground leaves', async () => {
    await using t = await testServer(transport, { stepMs: 5, pieces: Array.from({ length: 2000 }, () => 'word ') })
    const stream = await client(t).responses.create({ model, input: 'Hi', stream: true, max_output_tokens: 2000 })
    for await (const event of stream) if (event.type === 'response.output_text.delta') break
    await until(() => t.model.calls.abort > 0, 'the generation is aborted')
  })

  test('leave out old turns with truncation auto, and say so without', async () => {
    await using t = await testServer(transport, { maxPromptLength: 400 })
    const turn = (n: number) => [
      { role: 'user', content: `question ${n} ${'x'.repeat(40)}` },
      { role: 'assistant', content: `answer ${n}` },
    ]
    const input = [{ role: 'system', content: 'S' }, ...[1, 2, 3, 4, 5, 6].flatMap(turn), { role: 'user', content: 'last' }]
    const refused = await ask(t, { model, input })
    expect([refused.status, json(refused).error]).toMatchObject([400, { code: 'context_length_exceeded', param: 'input' }])
    expect((await ask(t, { model, input, truncation: 'auto' })).status).toBe(200)
    const kept = prompts(t).at(-1)!
    expect(kept[0]).toMatchObject({ role: 'system' })
    expect(kept.at(-1)).toMatchObject({ role: 'user', content: 'last' })
    expect(kept.length).toBeLessThan(input.length)
    expect(kept[1]?.role).toBe('user')
  })

  test('failing in mid-stream end with events, not broken JSON', async () => {
    await using t = await testServer(transport, { stepMs: 20 })
    const stream = ask(t, { model, input: 'Hi', stream: true })
    await until(() => t.model.live === 1, 'it runs')
    await sleep(30)
    t.model.crash()
    const all = events((await stream).text)
    expect(all.slice(-2).map((event) => event.type)).toEqual(['error', 'response.failed'])
    expect(all.at(-1)).toMatchObject({ response: { status: 'failed', error: { code: 'server_error' } } })
  })

  test.each<[string, object, number, string | null]>([
    ['no input', { model }, 400, 'input'],
    ['a number as input', { model, input: 5 }, 400, 'input'],
    ['no items', { model, input: [] }, 400, 'input'],
    ['an unknown field', { model, input: 'x', foo: 1 }, 422, 'foo'],
    ['an unknown item', { model, input: [{ type: 'computer_call' }] }, 422, 'input[0].type'],
    ['a hosted tool', { model, input: 'x', tools: [{ type: 'web_search' }] }, 400, 'tools[0].type'],
    ['no tokens', { model, input: 'x', max_output_tokens: 0 }, 400, 'max_output_tokens'],
    ['an unknown include', { model, input: 'x', include: ['all'] }, 400, 'include[0]'],
    ['a stored prompt', { model, input: 'x', prompt: { id: 'p' } }, 400, 'prompt'],
    ['both histories', { model, input: 'x', conversation: 'conv_1', previous_response_id: 'resp_1' }, 400, 'conversation'],
    ['the background unstored', { model, input: 'x', background: true, store: false }, 400, 'background'],
    ['an image for a text model', { model, input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'data:,' }] }] }, 400, null],
    ['another model', { model: 'other/one', input: 'x' }, 400, 'model'],
    ['stream as text', { model, input: 'x', stream: 'yes' }, 400, 'stream'],
    ['too much metadata', { model, input: 'x', metadata: { a: 'x'.repeat(600) } }, 400, 'metadata.a'],
  ])('refuse %s', async (_name, body, status, param) => {
    await using t = await testServer(transport)
    const reply = await ask(t, body)
    expect([reply.status, (json(reply).error as { param: string | null } | undefined)?.param]).toEqual([
      status,
      param ?? (expect.any(String) as string),
    ])
  })

  test('methods and paths that there are not', async () => {
    await using t = await testServer(transport)
    const id = `resp_${'0'.repeat(48)}`
    const status = async (method: string, path: string) => {
      const { status, headers } = await request(t.port, method, path)
      return [status, headers.allow]
    }
    expect(await status('PUT', `/v1/responses/${id}`)).toEqual([405, 'GET, HEAD, DELETE'])
    expect(await status('GET', `/v1/responses/${id}/cancel`)).toEqual([405, 'POST'])
    expect(await status('GET', '/v1/responses')).toEqual([405, 'POST'])
    expect(await status('GET', `/v1/responses/${id}/other`)).toEqual([404, undefined])
    expect(await status('GET', '/v1/responses/..%2f..')).toEqual([404, undefined])
  })
})

describe.each(transports)('API keys over %s', (transport) => {
  test('open every path but /health, and keep what is stored apart', async () => {
    await using t = await testServer(transport, {}, { apiKeys: ['key-of-anna', 'key-of-bert'] })
    expect((await request(t.port, 'GET', '/health')).status).toBe(200)
    for (const path of ['/v1/models', '/metrics', '/nothing', '/health/', '//health', '/v1/responses']) {
      const { status, headers } = await request(t.port, 'GET', path)
      expect([path, status, headers['www-authenticate']]).toEqual([path, 401, 'Bearer'])
    }
    for (const authorization of ['Bearer wrong', 'Bearer ', 'Basic key-of-anna', 'key-of-anna', 'Bearer key-of-anna x']) {
      expect((await request(t.port, 'GET', '/v1/models', undefined, { authorization })).status).toBe(401)
    }
    const [anna, bert] = [client(t, 'key-of-anna'), client(t, 'key-of-bert')]
    const hers = await anna.responses.create({ model, input: 'Hi' })
    expect((await anna.responses.retrieve(hers.id)).id).toBe(hers.id)
    await expect(bert.responses.retrieve(hers.id)).rejects.toMatchObject({ status: 404 })
    await expect(bert.responses.delete(hers.id)).rejects.toMatchObject({ status: 404 })
    await expect(bert.responses.create({ model, input: 'x', previous_response_id: hers.id })).rejects.toMatchObject({ status: 404 })
    await bert.responses.create({ model, input: 'Hi' })
    const salts = t.model.requests.map((each) => each.cacheSalt)
    expect(new Set(salts).size).toBe(2)
    await expect(client(t, 'wrong').models.list()).rejects.toMatchObject({ status: 401, code: 'invalid_api_key' })
  })
})
