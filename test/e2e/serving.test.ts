// The real command with the embedded model, as curl and the openai client see it.
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ServerProcess, type StreamEvent } from '../support/cli.js'
import { readGoldens } from '../support/goldens.js'

const chats = readGoldens('tfserve-demo').goldens.filter(
  (golden) => golden.messages && !golden.tools && golden.kwargs?.['enable_thinking'] === false,
)
const bodyOf = (golden: (typeof chats)[number]) => ({
  messages: golden.messages,
  temperature: 0,
  max_tokens: golden.max_tokens,
  chat_template_kwargs: golden.kwargs,
})
const hello = chats.find((golden) => golden.kind === 'greeting')!

interface Completion {
  choices: { message: { role: string; content: string }; finish_reason: string }[]
  usage: { prompt_tokens: number; completion_tokens: number; total_tokens: number }
}

async function collect(events: AsyncIterable<StreamEvent | '[DONE]'>): Promise<(StreamEvent | '[DONE]')[]> {
  const all: (StreamEvent | '[DONE]')[] = []
  for await (const event of events) all.push(event)
  return all
}

const contentOf = (events: (StreamEvent | '[DONE]')[]) =>
  events.map((event) => (event === '[DONE]' ? '' : (event.choices?.[0]?.delta.content ?? ''))).join('')

describe.each(['uws', 'node'])('over %s', (transport) => {
  let server: ServerProcess

  beforeAll(async () => {
    server = await ServerProcess.start('--transport', transport, '--dtype', 'float32')
  })
  afterAll(() => server.stop())

  test('takes the transport it was told', () => expect(server.transport).toBe(transport))

  test('health, models and metrics', async () => {
    expect((await server.get('/health')).status).toBe(200)
    const models = (await (await server.get('/v1/models')).json()) as { object: string; data: { id: string; object: string }[] }
    expect(models.object).toBe('list')
    expect(models.data[0]!.id).toContain('tfserve-demo')
    expect((await server.get(`/v1/models/${encodeURIComponent(models.data[0]!.id)}`)).status).toBe(200)
    const metrics = await (await server.get('/metrics')).text()
    expect(metrics).toMatch(/^# TYPE \w+ counter$/m)
  })

  test('a completion that is not streamed', async () => {
    const response = await server.post('/v1/chat/completions', bodyOf(hello))
    expect(response.status).toBe(200)
    const body = (await response.json()) as Completion
    expect(body.choices[0]!.message).toMatchObject({ role: 'assistant', content: hello.text })
    expect(body.choices[0]!.finish_reason).toBe('stop')
    expect(body.usage.prompt_tokens).toBe(hello.prompt_ids.length)
    expect(body.usage.total_tokens).toBe(body.usage.prompt_tokens + body.usage.completion_tokens)
  })

  test('a stream: role first, deltas, finish reason with usage, [DONE]', async () => {
    const events = await collect(server.chatEvents(bodyOf(hello)))
    expect(events.at(-1)).toBe('[DONE]')
    const chunks = events.slice(0, -1) as StreamEvent[]
    expect(chunks[0]!.choices[0]!.delta.role).toBe('assistant')
    expect(contentOf(events)).toBe(hello.text)
    expect(chunks.filter((chunk) => chunk.choices[0]?.finish_reason).map((chunk) => chunk.choices[0]!.finish_reason)).toEqual(['stop'])
    expect(chunks.at(-1)!.usage!.prompt_tokens).toBe(hello.prompt_ids.length)
  })

  test('usage of a stream as stream_options ask', async () => {
    const withUsage = (await collect(server.chatEvents({ ...bodyOf(hello), stream_options: { include_usage: true } }))).slice(
      0,
      -1,
    ) as StreamEvent[]
    expect(withUsage.at(-1)!.choices).toEqual([])
    expect(withUsage.filter((chunk) => chunk.usage)).toHaveLength(1)
    const without = (await collect(server.chatEvents({ ...bodyOf(hello), stream_options: { include_usage: false } }))).slice(
      0,
      -1,
    ) as StreamEvent[]
    expect(without.filter((chunk) => chunk.usage)).toHaveLength(0)
  })

  test('two streams at the same time', async () => {
    const two = [chats.find((g) => g.kind === 'count')!, chats.find((g) => g.kind === 'story')!]
    const results = await Promise.all(two.map((golden) => collect(server.chatEvents(bodyOf(golden)))))
    expect(results.map(contentOf)).toEqual(two.map((golden) => golden.text))
  })

  test('the openai client, streamed and not', async () => {
    const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none' })
    const model = (await client.models.list()).data[0]!.id
    const ask = {
      model,
      messages: [{ role: 'user' as const, content: 'Hello' }],
      temperature: 0,
      chat_template_kwargs: { enable_thinking: false },
    }
    const whole = await client.chat.completions.create(ask)
    let text = ''
    for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) text += chunk.choices[0]?.delta.content ?? ''
    expect(text).toBe(whole.choices[0]!.message.content)
    expect(text).toBe(hello.text)
  })

  test('bad requests get an error object and the next one works', async () => {
    for (const [body, status] of [
      ['{', 422],
      [{ messages: [] }, undefined],
      [{ ...bodyOf(hello), temperature: 'hot' }, undefined],
      [{ ...bodyOf(hello), model: 'no/such-model' }, 404],
      [{ ...bodyOf(hello), messages: [{ role: 'user', content: 'word '.repeat(200_000) }] }, undefined],
    ] as const) {
      const response = await server.post('/v1/chat/completions', body)
      expect(response.status).toBeGreaterThanOrEqual(400)
      expect(response.status).toBeLessThan(500)
      if (status) expect(response.status).toBe(status)
      const { error } = (await response.json()) as { error: { message: string; type: string } }
      expect(error.message.length).toBeGreaterThan(0)
      expect(error.type.length).toBeGreaterThan(0)
    }
    expect((await server.post('/v1/chat/completions', bodyOf(hello))).status).toBe(200)
  })

  test('a seeded sample repeats itself', async () => {
    const ask = { messages: [{ role: 'user', content: 'Tell me a story' }], temperature: 1.5, seed: 7, max_tokens: 40 }
    const texts = await Promise.all(
      [0, 1, 2].map(
        async () => ((await (await server.post('/v1/chat/completions', ask)).json()) as Completion).choices[0]!.message.content,
      ),
    )
    expect(new Set(texts).size).toBe(1)
  })
})

test.each([
  ['--no-continuous-batching', []],
  ['--max-batch-tokens', ['16']],
  ['--no-prefix-caching', []],
  ['--max-num-seqs', ['1']],
])('all chats at once with %s %j', async (flag, value) => {
  await using server = await ServerProcess.start('--dtype', 'float32', flag, ...value)
  const some = chats.filter((_, i) => i % 4 === 0)
  const got = await Promise.all(
    some.map(
      async (golden) =>
        ((await (await server.post('/v1/chat/completions', bodyOf(golden))).json()) as Completion).choices[0]!.message.content,
    ),
  )
  expect(got.map((text) => text.trim())).toEqual(some.map((golden) => golden.text.trim()))
})
