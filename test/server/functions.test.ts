// `functions` and `function_call`: what tools were called before.
import OpenAI from 'openai'
import { describe, expect, test } from 'vitest'
import { taggedFormat } from '../../src/engine/output/tagged-format.js'
import { RequestError } from '../../src/engine/types.js'
import { chunks, post } from '../support/http-client.js'
import { hello, testServer, transports } from '../support/test-server.js'

const weather = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
const functions = [{ name: 'get_weather', description: 'w', parameters: { type: 'object', properties: {} } }]
const pieces = (text: string) => text.split(/(?<=[ \n>{}"])/)

describe.each(transports)('functions over %s', (transport) => {
  const serve = (text: string) => testServer(transport, { pieces: pieces(text), format: taggedFormat })

  test('are tools to the model, and its call is told in the old form', async () => {
    await using t = await serve(`Let me see.\n${weather}\n${weather}`)
    const reply = await post(t.port, { messages: hello, functions })
    expect(JSON.parse(reply.text)).toMatchObject({
      choices: [
        {
          finish_reason: 'function_call',
          message: { role: 'assistant', content: 'Let me see.', function_call: { name: 'get_weather', arguments: '{"city": "Oslo"}' } },
        },
      ],
    })
    expect(reply.text).not.toContain('tool_calls')
    expect(t.model.requests[0]).toMatchObject({
      input: { tools: [{ type: 'function', function: functions[0] }] },
      toolChoice: 'auto',
      parallelToolCalls: false,
    })
    await post(t.port, { messages: hello, functions, function_call: { name: 'get_weather' } })
    expect(t.model.requests[1]).toMatchObject({ toolChoice: { name: 'get_weather' } })
    await post(t.port, { messages: hello, functions, function_call: 'none' })
    expect(t.model.requests[2]).toMatchObject({ toolChoice: 'none' })
    expect(t.model.requests[2]!.input).not.toHaveProperty('tools')
  })

  test('stream the same', async () => {
    await using t = await serve(weather)
    const { text } = await post(t.port, { messages: hello, functions, stream: true })
    const choices = chunks(text).map((part) => part.choices[0]!)
    const calls = choices.flatMap(({ delta }) => (delta as { function_call?: { name?: string; arguments: string } }).function_call ?? [])
    expect(calls[0]).toEqual({ name: 'get_weather', arguments: '' })
    expect(calls.slice(1).every((call) => Object.keys(call).join() === 'arguments')).toBe(true)
    expect(calls.map((call) => call.arguments).join('')).toBe('{"city": "Oslo"}')
    expect(calls.length).toBeGreaterThan(4)
    expect(choices.at(-1)!.finish_reason).toBe('function_call')
  })

  test('an answer without a call ends as ever', async () => {
    await using t = await serve('No.')
    expect(JSON.parse((await post(t.port, { messages: hello, functions })).text)).toMatchObject({
      choices: [{ finish_reason: 'stop', message: { content: 'No.' } }],
    })
  })

  test('the openai client goes on from what was called and answered', async () => {
    await using t = await serve(weather)
    const openai = new OpenAI({ baseURL: `http://127.0.0.1:${t.port}/v1`, apiKey: '-', maxRetries: 0 })
    const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: 'user', content: 'Weather?' }]
    const final = await openai.chat.completions.stream({ model: 'test-org/fake', messages, functions }).finalChatCompletion()
    const { message, finish_reason: reason } = final.choices[0]!
    expect(reason).toBe('function_call')
    expect(message).toMatchObject({ content: null, function_call: { name: 'get_weather', arguments: '{"city": "Oslo"}' } })
    messages.push(message, { role: 'function', name: 'get_weather', content: 'sunny' })
    await openai.chat.completions.create({ model: 'test-org/fake', messages, functions })
    expect(t.model.requests.at(-1)!.input).toMatchObject({
      messages: [
        { role: 'user' },
        {
          role: 'assistant',
          content: '',
          tool_calls: [{ id: 'call00001', type: 'function', function: { name: 'get_weather', arguments: { city: 'Oslo' } } }],
        },
        { role: 'tool', name: 'get_weather', tool_call_id: 'call00001', content: 'sunny' },
      ],
    })
    expect(JSON.stringify(t.model.requests.at(-1)!.input)).not.toContain('function_call')
  })
})

test('a call must be of one of the functions, and the old words do not go with the new', async () => {
  await using t = await testServer('node')
  const refused = async (fields: object, param: string, words: string): Promise<void> => {
    const reply = await post(t.port, { messages: hello, ...fields })
    expect(reply.status, reply.text).toBe(400)
    expect(JSON.parse(reply.text)).toMatchObject({ error: { param, message: expect.stringContaining(words) as string } })
  }
  await refused({ functions, function_call: { name: 'f' } }, 'function_call', 'which is not among the `functions`')
  await refused({ function_call: { name: 'f' } }, 'function_call', '`functions`')
  await refused({ functions, tools: [{ type: 'function', function: functions[0] }] }, 'functions', '`tools`')
  await refused({ functions, tool_choice: 'auto' }, 'functions', '`tool_choice`')
  await refused({ functions: [{ name: 'a b' }] }, 'functions[0].name', '`functions[0].name`')
  await refused({ functions: [functions[0], functions[0]] }, 'functions[1].name', 'get_weather')
  for (const call of ['auto', 'none', null]) expect((await post(t.port, { messages: hello, function_call: call })).status).toBe(200)
})

test('what the model finds wrong with them is told in the words of the client', async () => {
  const onStart = (): never => {
    throw new RequestError('invalid_request', '`tools` cannot be kept to.', 'tools')
  }
  await using t = await testServer('node', { onStart })
  for (const stream of [false, true]) {
    const reply = await post(t.port, { messages: hello, functions, stream })
    expect(JSON.parse(reply.text)).toMatchObject({ error: { message: '`functions` cannot be kept to.', param: 'functions' } })
  }
})
