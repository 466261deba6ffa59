import OpenAI from 'openai'
import { describe, expect, test } from 'vitest'
import { hello, testServer, transports } from '../support/test-server.js'
import { sleep, until } from '../support/http-client.js'

const model = 'test-org/fake'
const messages = hello as [{ role: 'user'; content: string }]
const client = (port: number) => new OpenAI({ baseURL: `http://127.0.0.1:${port}/v1`, apiKey: '-', maxRetries: 0 })

describe.each(transports)('the openai client over %s', (transport) => {
  test('lists, retrieves and completes, streaming and not', async () => {
    await using t = await testServer(transport)
    const openai = client(t.port)
    expect((await openai.models.list()).data[0]?.id).toBe(model)
    expect((await openai.models.retrieve(model)).id).toBe(model)
    const whole = await openai.chat.completions.create({ model, messages })
    expect(whole.choices[0]?.message.content).toBe(t.model.text)
    const stream = await openai.chat.completions.create({ model, messages, stream: true, stream_options: { include_usage: true } })
    let text = ''
    const usages: number[] = []
    for await (const part of stream) {
      text += part.choices[0]?.delta.content ?? ''
      if (part.usage) usages.push(part.usage.total_tokens)
    }
    expect(text).toBe(t.model.text)
    expect(usages).toHaveLength(1)
  })

  test('its stream helper puts the completion together', async () => {
    await using t = await testServer(transport)
    const runner = client(t.port).chat.completions.stream({ model, messages, n: 2, logprobs: true })
    const final = await runner.finalChatCompletion()
    expect(final.choices.map((choice) => choice.message.content)).toEqual([t.model.text, t.model.text])
    expect(final.choices[0]?.finish_reason).toBe('stop')
  })

  test('errors arrive as its own classes, with our message', async () => {
    await using t = await testServer(transport)
    const openai = client(t.port)
    await expect(openai.chat.completions.create({ model: 'other/x', messages })).rejects.toMatchObject({
      constructor: OpenAI.BadRequestError,
      code: 'model_not_found',
      param: 'model',
      message: "400 Server is pinned to 'test-org/fake'; requested 'other/x'.",
    })
    await expect(openai.models.retrieve('nope')).rejects.toBeInstanceOf(OpenAI.NotFoundError)
  })

  test('an error in mid-stream is raised, and abort() frees the generation', async () => {
    await using t = await testServer(transport, { stepMs: 5 })
    const openai = client(t.port)
    const ask = { model, messages, stream: true as const, ignore_eos: true }
    const doomed = await openai.chat.completions.create(ask)
    setTimeout(() => t.model.crash(), 100)
    await expect(
      (async () => {
        for await (const part of doomed) void part
      })(),
    ).rejects.toThrow(/The model process ended/)
    const cut = await openai.chat.completions.create(ask)
    await sleep(30)
    cut.controller.abort()
    await until(() => t.model.live === 0, 'freed')
  })
})
