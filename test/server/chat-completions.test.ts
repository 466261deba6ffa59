import { describe, expect, test } from 'vitest'
import { RequestError } from '../../src/engine/types.js'
import { chunks, events, post, request } from '../support/http-client.js'
import { hello, testServer, transports } from '../support/test-server.js'

describe.each(transports)('chat completions over %s', (transport) => {
  test('a whole reply has the recorded shape', async () => {
    await using t = await testServer(transport)
    const reply = await post(t.port, { messages: hello })
    expect(reply.status).toBe(200)
    expect(reply.headers['content-type']).toBe('application/json')
    const body = JSON.parse(reply.text) as Record<string, unknown>
    expect(Object.keys(body)).toEqual(['id', 'choices', 'created', 'model', 'object', 'usage'])
    expect(body.id).toMatch(/^chatcmpl-[0-9a-f]{32}$/)
    expect(body).toMatchObject({
      choices: [{ finish_reason: 'stop', index: 0, message: { content: t.model.text, role: 'assistant' } }],
      model: 'test-org/fake@main',
      object: 'chat.completion',
      usage: { completion_tokens: 7, prompt_tokens_details: { cached_tokens: 4 } },
    })
    expect(Number.isInteger(body.created)).toBe(true)
  })

  test('a stream: role, content, finish with usage, end mark', async () => {
    await using t = await testServer(transport)
    const reply = await post(t.port, { messages: hello, stream: true })
    expect(reply.status).toBe(200)
    expect(reply.headers['content-type']).toBe('text/event-stream; charset=utf-8')
    const all = events(reply.text)
    expect(all.at(-1)).toBe('[DONE]')
    const parts = chunks(reply.text)
    expect(new Set(parts.map((part) => part.id)).size).toBe(1)
    expect(parts[0]?.choices).toEqual([{ delta: { role: 'assistant' }, index: 0 }])
    expect(
      parts
        .slice(1, -1)
        .map((part) => part.choices[0]?.delta.content)
        .join(''),
    ).toBe(t.model.text)
    expect(parts.slice(0, -1).every((part) => !part.usage && part.choices[0]?.finish_reason === undefined)).toBe(true)
    expect(parts.at(-1)).toMatchObject({ choices: [{ delta: {}, finish_reason: 'stop', index: 0 }], usage: { completion_tokens: 7 } })
    expect(parts[0]).toMatchObject({ object: 'chat.completion.chunk', model: 'test-org/fake@main', system_fingerprint: '' })
  })

  test('usage: a chunk of its own when asked for, none when declined', async () => {
    await using t = await testServer(transport)
    const asked = chunks((await post(t.port, { messages: hello, stream: true, stream_options: { include_usage: true } })).text)
    expect(asked.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 7 } })
    expect(asked.at(-2)?.choices[0]?.finish_reason).toBe('stop')
    expect(asked.slice(0, -1).some((part) => part.usage)).toBe(false)
    const declined = await post(t.port, { messages: hello, stream: true, stream_options: { include_usage: false } })
    expect(chunks(declined.text).some((part) => part.usage)).toBe(false)
    expect(declined.text.endsWith('data: [DONE]\n\n')).toBe(true)
    const usage = asked.at(-1)?.usage
    expect(usage?.total_tokens).toBe((usage?.prompt_tokens ?? 0) + (usage?.completion_tokens ?? 0))
  })

  test.each([{ max_tokens: 3 }, { max_completion_tokens: 3, max_tokens: 5 }, { max_new_tokens: 3 }])(
    'stops at the limit: %j',
    async (limit) => {
      await using t = await testServer(transport)
      const whole = JSON.parse((await post(t.port, { messages: hello, ...limit })).text) as {
        choices: [{ finish_reason: string; message: { content: string } }]
      }
      const parts = chunks((await post(t.port, { messages: hello, stream: true, ...limit })).text)
      expect(whole.choices[0].finish_reason).toBe('length')
      expect(parts.at(-1)?.choices[0]?.finish_reason).toBe('length')
      expect(parts.map((part) => part.choices[0]?.delta.content ?? '').join('')).toBe(whole.choices[0].message.content)
    },
  )

  test('several choices, each with its role, text and end', async () => {
    await using t = await testServer(transport)
    const whole = JSON.parse((await post(t.port, { messages: hello, n: 3 })).text) as {
      choices: { index: number }[]
      usage: { completion_tokens: number }
    }
    expect(whole.choices.map((choice) => choice.index)).toEqual([0, 1, 2])
    expect(whole.usage.completion_tokens).toBe(21)
    const parts = chunks((await post(t.port, { messages: hello, n: 3, stream: true })).text)
    for (const index of [0, 1, 2]) {
      const mine = parts.flatMap((part) => part.choices).filter((choice) => choice.index === index)
      expect(mine[0]?.delta.role).toBe('assistant')
      expect(mine.map((choice) => choice.delta.content ?? '').join('')).toBe(t.model.text)
      expect(mine.at(-1)?.finish_reason).toBe('stop')
    }
    expect(parts.filter((part) => part.usage)).toHaveLength(1)
    expect(parts.at(-1)?.usage?.completion_tokens).toBe(21)
  })

  test('logprobs come with the text that they belong to', async () => {
    await using t = await testServer(transport)
    const ask = { messages: hello, logprobs: true, top_logprobs: 2 }
    const whole = JSON.parse((await post(t.port, ask)).text) as { choices: [{ logprobs: { content: { top_logprobs: unknown[] }[] } }] }
    expect(whole.choices[0].logprobs.content).toHaveLength(6)
    expect(whole.choices[0].logprobs.content[0]?.top_logprobs).toHaveLength(2)
    const parts = chunks((await post(t.port, { ...ask, stream: true })).text)
    expect(parts.flatMap((part) => part.choices[0]?.logprobs?.content ?? [])).toEqual(whole.choices[0].logprobs.content)
    const without = await post(t.port, { messages: hello })
    expect(without.text).not.toContain('logprobs')
  })

  test.each([undefined, null, '', 'test-org/fake', 'test-org/fake@main', 'short-name', 'dummy', 'tgi'])(
    'model %j is the served one',
    async (model) => {
      await using t = await testServer(transport)
      const reply = await post(t.port, { messages: hello, model })
      expect(reply.status).toBe(200)
      expect(reply.text).toContain('"model":"test-org/fake@main"')
    },
  )

  test('another model is refused with the recorded text', async () => {
    await using t = await testServer(transport)
    const reply = await post(t.port, { messages: hello, model: 'other/x' })
    expect(reply.status).toBe(400)
    const message = "Server is pinned to 'test-org/fake'; requested 'other/x'."
    expect(JSON.parse(reply.text)).toEqual({
      error: { message, type: 'invalid_request_error', param: 'model', code: 'model_not_found' },
      detail: message,
    })
  })

  test('what the model refuses keeps its status, streamed or not', async () => {
    await using t = await testServer(transport, {
      onStart: (request) => {
        if (request.params.seed === 1) throw new RequestError('queue_full', 'full')
        if (request.params.seed === 2) throw new RequestError('template_error', 'roles must alternate', 'messages')
        if (request.params.seed === 3) throw new RequestError('model_loading', 'not yet')
        if (request.params.seed === 4) throw new Error('secret detail')
      },
    })
    for (const stream of [true, false]) {
      const ask = async (seed: number) => post(t.port, { messages: hello, stream, seed })
      const full = await ask(1)
      expect([full.status, full.headers['retry-after']]).toEqual([429, '1'])
      const template = await ask(2)
      expect(template.status).toBe(400)
      expect(JSON.parse(template.text)).toMatchObject({
        error: { code: 'template_error', param: 'messages', message: 'roles must alternate' },
      })
      expect((await ask(3)).status).toBe(503)
      const broken = await ask(4)
      expect(broken.status).toBe(500)
      expect(broken.text).not.toContain('secret')
      expect((await ask(5)).status).toBe(200)
    }
  })

  test('a crash ends streams with an error event and no end mark, replies with 503', async () => {
    await using t = await testServer(transport, { stepMs: 5 })
    const stream = post(t.port, { messages: hello, stream: true, ignore_eos: true })
    const whole = post(t.port, { messages: hello, ignore_eos: true })
    await new Promise((resolve) => setTimeout(resolve, 150))
    t.model.crash()
    const all = events((await stream).text)
    expect(all.at(-1)).toEqual({
      error: { message: 'The model process ended.', type: 'service_unavailable_error', param: null, code: 'model_crashed' },
    })
    expect(all).not.toContain('[DONE]')
    expect((await whole).status).toBe(503)
    expect((await post(t.port, { messages: hello })).status).toBe(200)
  })

  test('the way of `transformers chat`: load, then stream with a GenerationConfig as text', async () => {
    await using t = await testServer(transport)
    const loaded = await request(t.port, 'POST', '/load_model', JSON.stringify({ model: 'test-org/fake' }))
    expect(loaded.text).toBe('data: {"status": "ready", "model": "test-org/fake@main", "cached": true}\n\n')
    const generationConfig = JSON.stringify({ do_sample: true, max_new_tokens: 256, eos_token_id: [1, 2], transformers_version: '5.23.0' })
    const reply = await post(t.port, { model: 'test-org/fake', stream: true, messages: hello, generation_config: generationConfig })
    expect(chunks(reply.text).at(-1)?.usage?.completion_tokens).toBe(7)
    expect(t.model.requests.at(-1)?.generationConfig).toEqual(JSON.parse(generationConfig))
    // it counts tokens and reads the reason from the one chunk that has both
    expect(chunks(reply.text).at(-1)?.choices[0]?.finish_reason).toBe('stop')
  })

  test('template variables: server defaults below the request', async () => {
    await using t = await testServer(transport, {}, { reasoning: 'off', chatTemplateKwargs: { style: 'brief' } })
    await post(t.port, { messages: hello })
    expect(t.model.requests.at(-1)?.input).toMatchObject({ templateKwargs: { enable_thinking: false, style: 'brief' } })
    await post(t.port, { messages: hello, chat_template_kwargs: { enable_thinking: true } })
    expect(t.model.requests.at(-1)?.input).toMatchObject({ templateKwargs: { enable_thinking: true, style: 'brief' } })
  })
})
