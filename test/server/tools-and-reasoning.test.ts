import OpenAI from 'openai'
import { describe, expect, test } from 'vitest'
import { taggedFormat } from '../../src/engine/output/tagged-format.js'
import { chunks, post } from '../support/http-client.js'
import { hello, testServer, transports } from '../support/test-server.js'

const tool = (name: string) => ({ type: 'function' as const, function: { name, parameters: { type: 'object', properties: {} } } })
const tools = [tool('get_weather'), tool('get_time')]
const calls = (text: string) => text.split(/(?<=[ \n>{}"])/)
const weather = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich"}}\n</tool_call>'
const time = '<tool_call>\n{"name": "get_time"}\n</tool_call>'
const thought = '<think>\nI need both.\n</think>\n\n'

interface Message {
  role: string
  content: string | null
  reasoning_content?: string
  reasoning?: string
  tool_calls?: { id: string; type: string; function: { name: string; arguments: string } }[]
}
interface Whole {
  choices: { index: number; finish_reason: string; message: Message; logprobs?: { content: unknown[] } }[]
  usage: { completion_tokens: number; completion_tokens_details: { reasoning_tokens: number } }
}

/** The message that a stream's chunks add up to, as clients do it. */
function gather(text: string, index = 0): { message: Message; reason: string | undefined } {
  const message: Message = { role: '', content: null }
  let reason: string | undefined
  for (const part of chunks(text)) {
    for (const choice of part.choices) {
      if (choice.index !== index) continue
      const delta = choice.delta as Partial<Message> & {
        tool_calls?: { index: number; id?: string; type?: string; function: { name?: string; arguments: string } }[]
      }
      message.role += delta.role ?? ''
      if (delta.content) message.content = (message.content ?? '') + delta.content
      if (delta.reasoning_content) message.reasoning_content = (message.reasoning_content ?? '') + delta.reasoning_content
      if (delta.reasoning) message.reasoning = (message.reasoning ?? '') + delta.reasoning
      for (const call of delta.tool_calls ?? []) {
        message.tool_calls ??= []
        if (call.id !== undefined) {
          expect(call).toMatchObject({ type: 'function', function: { arguments: '' } })
          message.tool_calls[call.index] = { id: call.id, type: call.type!, function: { name: call.function.name!, arguments: '' } }
        } else message.tool_calls[call.index]!.function.arguments += call.function.arguments
      }
      reason = choice.finish_reason ?? reason
    }
  }
  return { message, reason }
}

const withoutIds = (message: Message): unknown => ({ ...message, tool_calls: message.tool_calls?.map((call) => ({ ...call, id: '' })) })

describe.each(transports)('answers with tools and reasoning over %s', (transport) => {
  const serve = (text: string) => testServer(transport, { pieces: calls(text), format: taggedFormat })
  const ask = async (port: number, more: object = {}): Promise<Whole> => {
    const reply = await post(port, { messages: hello, tools, ...more })
    expect(reply.status, reply.text).toBe(200)
    return JSON.parse(reply.text) as Whole
  }

  test('reasoning and two calls, whole', async () => {
    await using t = await serve(thought + weather + '\n' + time)
    const { choices, usage } = await ask(t.port)
    expect(choices[0]).toEqual({
      finish_reason: 'tool_calls',
      index: 0,
      message: {
        content: null,
        role: 'assistant',
        tool_calls: [
          {
            id: expect.stringMatching(/^call_[0-9a-f]{24}$/) as string,
            type: 'function',
            function: { name: 'get_weather', arguments: '{"city": "Zürich"}' },
          },
          { id: expect.stringMatching(/^call_[0-9a-f]{24}$/) as string, type: 'function', function: { name: 'get_time', arguments: '{}' } },
        ],
        reasoning_content: 'I need both.',
        reasoning: 'I need both.',
      },
    })
    const ids = choices[0]!.message.tool_calls!.map(({ id }) => id)
    expect(new Set(ids).size).toBe(2)
    expect(usage.completion_tokens_details.reasoning_tokens).toBeGreaterThan(3)
    expect(usage.completion_tokens_details.reasoning_tokens).toBeLessThan(usage.completion_tokens)
  })

  test.each([
    thought + weather + '\n' + time,
    `Let me see.\n${weather}`,
    `${thought}Nothing to call.\n`,
    'Plain text. \n',
    `${weather.slice(0, -20)}`,
    '<tool_call>{oops</tool_call> and more',
    weather.replace('"Z', 'Z'),
    `${weather.replace('}}', '}')} and more`,
    '<tool_call><function=get_weather><parameter=city>\nZürich\n</parameter></function></tool_call>',
    `<tool_call>[${weather.slice(11, -13)}, {"name": "f"}]</tool_call>`,
    `${weather}\nThere.`,
    `${thought}`,
  ])('what streams adds up to what is sent whole: %j', async (text) => {
    await using t = await serve(text)
    for (const more of [
      {},
      { n: 2 },
      { max_tokens: 9 },
      { max_tokens: 17 },
      { tool_choice: 'none' },
      { parallel_tool_calls: false },
      { logprobs: true },
    ]) {
      const whole = await ask(t.port, more)
      const streamed = await post(t.port, { messages: hello, tools, stream: true, ...more })
      for (const choice of whole.choices) {
        const { message, reason } = gather(streamed.text, choice.index)
        const content = message.content ?? (choice.message.tool_calls ? null : '')
        expect(withoutIds({ ...message, content }), JSON.stringify(more)).toEqual(withoutIds(choice.message))
        expect(reason).toBe(choice.finish_reason)
      }
      if ('logprobs' in more) {
        const logprobs = chunks(streamed.text).flatMap((part) => part.choices[0]?.logprobs?.content ?? [])
        expect(logprobs).toEqual(whole.choices[0]!.logprobs!.content)
        expect(logprobs).toHaveLength(calls(text).length)
      }
    }
  })

  test('a call that is cut off or broken before its arguments is content, and says why it ended', async () => {
    await using t = await serve(weather)
    const cut = await ask(t.port, { max_tokens: 6 })
    expect(cut.choices[0]).toMatchObject({
      finish_reason: 'length',
      message: { content: expect.stringContaining('<tool_call>') as string },
    })
    expect(cut.choices[0]!.message).not.toHaveProperty('tool_calls')
    await using broken = await serve('<tool_call>\n{"name": "get_weather", arguments: {}\n</tool_call>')
    expect((await ask(broken.port)).choices[0]).toMatchObject({
      finish_reason: 'stop',
      message: { content: '<tool_call>\n{"name": "get_weather", arguments: {}\n</tool_call>' },
    })
  })

  test('arguments that are cut off or broken are no JSON, and show what was written', async () => {
    const only = (args: string) => [{ function: { name: 'get_weather', arguments: args } }]
    await using t = await serve(weather)
    expect((await ask(t.port, { max_tokens: 15 })).choices[0]).toMatchObject({
      finish_reason: 'length',
      message: { content: null, tool_calls: only('{"city"') },
    })
    await using broken = await serve('<tool_call>\n{"name": "get_weather", "arguments": {oops}\n</tool_call>')
    expect((await ask(broken.port)).choices[0]).toMatchObject({
      finish_reason: 'tool_calls',
      message: { content: null, tool_calls: only('{oops}\n') },
    })
  })

  test('arguments stream in parts behind a head that has none', async () => {
    await using t = await serve(weather)
    const streamed = await post(t.port, { messages: hello, tools, stream: true })
    const deltas = chunks(streamed.text).flatMap((part) => (part.choices[0]?.delta as { tool_calls?: object[] }).tool_calls ?? [])
    expect(deltas[0]).toEqual({
      index: 0,
      id: expect.stringMatching(/^call_/) as string,
      type: 'function',
      function: { name: 'get_weather', arguments: '' },
    })
    const rest = ['{', '"', 'city"', ': ', '"', 'Zürich"', '}']
    expect(deltas.slice(1)).toEqual(rest.map((args) => ({ index: 0, function: { arguments: args } })))
  })

  test("tool_choice 'none' keeps the tools from the model, and what it says is content", async () => {
    await using t = await serve(weather)
    expect((await ask(t.port, { tool_choice: 'none' })).choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: weather } })
    expect(t.model.requests[0]!.input).not.toHaveProperty('tools')
  })

  test('parallel_tool_calls false: one call, and the generation is over', async () => {
    await using t = await serve(`${weather}\n${time} and so on`)
    const { choices } = await ask(t.port, { parallel_tool_calls: false })
    expect(choices[0]).toMatchObject({
      finish_reason: 'tool_calls',
      message: { content: null, tool_calls: [{ function: { name: 'get_weather' } }] },
    })
    expect(choices[0]!.message.tool_calls).toHaveLength(1)
    expect(t.model.live).toBe(0)
  })

  test('the openai client: calls, its stream helper and a conversation of two turns', async () => {
    await using t = await serve(`${thought}Let me see.\n${weather}`)
    const openai = new OpenAI({ baseURL: `http://127.0.0.1:${t.port}/v1`, apiKey: '-', maxRetries: 0 })
    const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: 'user', content: 'Weather?' }]
    const model = 'test-org/fake'
    const final = await openai.chat.completions.stream({ model, messages, tools }).finalChatCompletion()
    const answer = final.choices[0]!.message
    expect(final.choices[0]!.finish_reason).toBe('tool_calls')
    expect(answer.content).toBe('Let me see.')
    const whole = (await openai.chat.completions.create({ model, messages, tools })).choices[0]!.message
    expect(whole).toMatchObject({ content: answer.content, reasoning_content: 'I need both.' })
    const call = whole.tool_calls![0]!
    expect(call).toMatchObject({ type: 'function', function: { name: 'get_weather', arguments: '{"city": "Zürich"}' } })
    messages.push(whole, { role: 'tool', tool_call_id: call.id, content: 'sunny' })
    await openai.chat.completions.create({ model, messages, tools })
    const { input } = t.model.requests.at(-1)!
    expect(input).toMatchObject({
      messages: [
        { role: 'user' },
        {
          role: 'assistant',
          content: 'Let me see.',
          reasoning_content: 'I need both.',
          tool_calls: [{ id: call.id, function: { arguments: { city: 'Zürich' } } }],
        },
        { role: 'tool', name: 'get_weather', content: 'sunny' },
      ],
    })

    const ran: string[] = []
    const runner = openai.chat.completions.runTools(
      {
        model,
        messages: [{ role: 'user', content: 'x' }],
        tools: [
          {
            type: 'function',
            function: {
              name: 'get_weather',
              parse: JSON.parse,
              function: (args: object) => void ran.push(JSON.stringify(args)),
              parameters: { type: 'object', properties: {} },
              description: '',
            },
          },
        ],
      },
      { maxChatCompletions: 2 },
    )
    await runner.done()
    expect(ran[0]).toBe('{"city":"Zürich"}') // parsed and written again by the test
  })
})
