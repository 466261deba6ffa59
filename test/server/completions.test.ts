import OpenAI from 'openai'
import { describe, expect, test } from 'vitest'
import { RequestError } from '../../src/engine/types.js'
import { request, until } from '../support/http-client.js'
import { testServer, transports } from '../support/test-server.js'

const path = '/v1/completions'
const complete = (port: number, body: unknown) => request(port, 'POST', path, JSON.stringify(body))

interface Completion {
  id: string
  object: string
  model: string
  created: number
  choices: { index: number; text: string; finish_reason?: string; logprobs?: Record<string, unknown[]> }[]
  usage?: { prompt_tokens: number; completion_tokens: number; total_tokens: number }
}
const parsed = (text: string) => JSON.parse(text) as Completion
const streamed = (text: string): Completion[] => {
  const events = text.split('\n\n').filter((event) => event.startsWith('data: '))
  expect(events.pop()).toBe('data: [DONE]')
  return events.map((event) => parsed(event.slice(6)))
}

describe.each(transports)('completions over %s', (transport) => {
  test('a reply in the recorded shape', async () => {
    await using t = await testServer(transport)
    const { status, text } = await complete(t.port, { model: 'test-org/fake', prompt: 'Hello', max_tokens: 3 })
    expect(status).toBe(200)
    const reply = parsed(text)
    expect(Object.keys(reply)).toEqual(['id', 'choices', 'created', 'model', 'object', 'usage'])
    expect(reply).toMatchObject({ object: 'text_completion', model: 'test-org/fake@main' })
    expect(reply.id).toMatch(/^cmpl-[0-9a-f]{32}$/)
    expect(reply.choices).toEqual([{ finish_reason: 'length', index: 0, text: 'Hello there, "wörld"' }])
    expect(reply.usage).toMatchObject({ completion_tokens: 3, total_tokens: reply.usage!.prompt_tokens + 3 })
  })

  test('a stream in the recorded shape, without a role', async () => {
    await using t = await testServer(transport)
    const { text } = await complete(t.port, { prompt: 'Hello', max_tokens: 2, stream: true })
    const [first, second, last, ...more] = streamed(text)
    expect(more).toEqual([])
    expect(first?.choices).toEqual([{ index: 0, text: 'Hello' }])
    expect(second?.choices).toEqual([{ index: 0, text: ' there' }])
    expect(last?.choices).toEqual([{ index: 0, text: '', finish_reason: 'length' }])
    expect(last?.usage).toMatchObject({ completion_tokens: 2 })
    expect(Object.keys(first!)).toEqual(['id', 'choices', 'created', 'model', 'object'])
  })

  test.each([
    { prompt: 'Hello', echo: true, logprobs: 2 },
    { prompt: ['a', 'bc', 'def'], n: 2, logprobs: 0 },
    { prompt: [[5, 6], [7]], echo: true, n: 3 },
    { prompt: ['Hé', ''], echo: true, logprobs: 1, max_tokens: 0 },
    { prompt: 'a', stream_options: { include_usage: true } },
  ])('%j: the stream adds up to the reply', async (body) => {
    await using t = await testServer(transport)
    const whole = parsed((await complete(t.port, body)).text)
    const events = streamed((await complete(t.port, { ...body, stream: true })).text)
    const sums = whole.choices.map(({ index }) => ({ index, text: '' }) as Completion['choices'][number])
    for (const choice of events.flatMap(({ choices }) => choices)) {
      const sum = sums[choice.index]!
      sum.text += choice.text
      if (choice.finish_reason) sum.finish_reason = choice.finish_reason
      for (const [name, values] of Object.entries(choice.logprobs ?? {})) ((sum.logprobs ??= {})[name] ??= []).push(...values)
    }
    expect(sums).toEqual(whole.choices)
    expect(events.filter(({ usage }) => usage)).toHaveLength(1)
    expect(events.find(({ usage }) => usage)?.usage).toEqual(whole.usage)
    expect(t.model.live).toBe(0)
  })

  test('an echo and the log probabilities of a prompt, as harnesses ask for them', async () => {
    await using t = await testServer(transport)
    const { choices, usage } = parsed((await complete(t.port, { prompt: 'Hello', echo: true, logprobs: 1, max_tokens: 0 })).text)
    expect(choices[0]).toEqual({
      finish_reason: 'length',
      index: 0,
      text: 'Hello',
      logprobs: { tokens: ['H', 'ello'], token_logprobs: [null, -2], top_logprobs: [null, { ello: -2 }], text_offset: [0, 1] },
    })
    expect(usage?.completion_tokens).toBe(0)
  })

  test('best_of asks for candidates and gives the best', async () => {
    await using t = await testServer(transport)
    const reply = parsed((await complete(t.port, { prompt: 'a', n: 1, best_of: 4, max_tokens: 2 })).text)
    expect(reply.choices).toEqual([{ finish_reason: 'length', index: 0, text: 'Hello there' }])
    expect(reply.usage?.completion_tokens).toBe(8)
    expect(t.model.requests[0]).toMatchObject({ n: 4, params: { logprobs: true } })
  })

  test('one prompt that is refused refuses the request, and frees the others', async () => {
    const onStart = ({ input }: { input: unknown }) => {
      if (JSON.stringify(input).includes('bad')) throw new RequestError('context_length_exceeded', 'Too long.', 'prompt')
    }
    await using t = await testServer(transport, { onStart, stepMs: 5 })
    for (const stream of [false, true]) {
      const { status, text } = await complete(t.port, { prompt: ['good', 'bad', 'good'], stream, ignore_eos: true })
      expect(status).toBe(400)
      expect(JSON.parse(text)).toMatchObject({ error: { code: 'context_length_exceeded', param: 'prompt' } })
      await until(() => t.model.live === 0, 'freed')
    }
  })

  test('a model that dies ends the stream with one error event', async () => {
    await using t = await testServer(transport, { stepMs: 5 })
    const reply = complete(t.port, { prompt: ['a', 'b'], stream: true, ignore_eos: true })
    await until(() => t.model.live === 2, 'started')
    setTimeout(() => t.model.crash(), 50)
    const events = (await reply).text.trim().split('\n\n')
    expect(events.filter((event) => event.includes('"error"'))).toHaveLength(1)
    expect(events.at(-1)).toContain('model_crashed')
  })

  test('the openai client completes, streams and reads errors', async () => {
    await using t = await testServer(transport)
    const openai = new OpenAI({ baseURL: `http://127.0.0.1:${t.port}/v1`, apiKey: '-', maxRetries: 0 })
    const model = 'test-org/fake'
    const whole = await openai.completions.create({ model, prompt: ['x', 'y'], echo: true, logprobs: 2, max_tokens: 4 })
    expect(whole.choices.map(({ text }) => text[0])).toEqual(['x', 'y'])
    expect(whole.choices[1]?.logprobs?.text_offset?.slice(0, 2)).toEqual([0, 1])
    let text = ''
    for await (const part of await openai.completions.create({ model, prompt: 'x', stream: true })) text += part.choices[0]?.text ?? ''
    expect(text).toBe(t.model.text)
    await expect(openai.completions.create({ model, prompt: 'x', best_of: 1, n: 2 })).rejects.toMatchObject({
      status: 400,
      param: 'best_of',
    })
    await expect(openai.completions.create({ model: 'other/x', prompt: 'x' })).rejects.toMatchObject({ status: 400, param: 'model' })
  })

  test('a client that leaves frees every prompt', async () => {
    await using t = await testServer(transport, { stepMs: 5 })
    const openai = new OpenAI({ baseURL: `http://127.0.0.1:${t.port}/v1`, apiKey: '-', maxRetries: 0 })
    const ask = { model: 'test-org/fake', prompt: ['a', 'b', 'c'], stream: true as const, ignore_eos: true }
    const stream = await openai.completions.create(ask)
    for await (const part of stream) if (part.choices[0]) break
    await until(() => t.model.live === 0, 'freed')
  })
})
