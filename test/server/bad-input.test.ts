import { describe, expect, test } from 'vitest'
import { post, request, type Reply } from '../support/http-client.js'
import { hello, testServer, transports } from '../support/test-server.js'

const message = (content: unknown) => ({ messages: [{ role: 'user', content }] })
const field = (name: string, value: unknown): [string, object, number, string?] => [
  `${name}: ${JSON.stringify(value)?.slice(0, 40)}`,
  { messages: hello, [name]: value },
  400,
  name,
]
const deep = (levels: number) => '['.repeat(levels) + ']'.repeat(levels)

/** What is said of it, the body, the status, and the field that the error names. */
const cases: [string, string | object, number, string?][] = [
  ['an empty body', '', 422],
  ['half an object', '{', 422],
  ['an array', '[]', 422],
  ['a string', '"x"', 422],
  ['null', 'null', 422],
  ['not JSON', '{"messages": nope}', 422],
  ['NaN', '{"messages":[{"role":"user","content":"x"}],"temperature":NaN}', 422],
  ['two values', '{} {}', 422],
  ['an infinite number', '{"messages":[{"role":"user","content":"x"}],"temperature":1e999}', 400, 'temperature'],
  ['deep nesting', `{"messages":${deep(100_000)}}`, 400],
  ['deep nesting in an ignored field', `{"messages":[{"role":"user","content":"x"}],"metadata":${deep(65)}}`, 400],
  ['a __proto__ key', '{"messages":[{"role":"user","content":"x","__proto__":{"a":1}}]}', 400],
  ['a million values', `{"messages":[${'0,'.repeat(1_000_001)}0]}`, 400],
  ['no messages', {}, 400, 'messages'],
  ['a model that is a number', { model: 1, messages: [] }, 400, 'model'],
  ['messages as text', { messages: 'hi' }, 400, 'messages'],
  ['messages as an object', { messages: {} }, 400, 'messages'],
  ['messages null', { messages: null }, 400, 'messages'],
  ['no message', { messages: [] }, 400, 'messages'],
  ['a message that is a number', { messages: [1] }, 400, 'messages[0]'],
  ['a message without a role', { messages: [{ content: 'x' }] }, 400, 'messages[0].role'],
  ['content as a number', message(5), 400, 'messages[0].content'],
  ['content as an object', message({ text: 'x' }), 400, 'messages[0].content'],
  ['a part without a type', message([{ text: 'x' }]), 400],
  ['a text part without text', message([{ type: 'text' }]), 400, 'messages[0].content[0].text'],
  ['an image', message([{ type: 'image_url', image_url: { url: 'data:,' } }]), 400, 'messages[0].content[0].type'],
  [
    'audio',
    message([
      { type: 'text', text: 'x' },
      { type: 'input_audio', input_audio: {} },
    ]),
    400,
    'messages[0].content[1].type',
  ],
  ['an unknown part', message([{ type: 'hologram' }]), 400, 'messages[0].content[0].type'],
  ['tool calls as text', { messages: [{ role: 'assistant', tool_calls: 'x' }] }, 400, 'messages[0].tool_calls'],
  ['a tool call without a function', { messages: [{ role: 'assistant', tool_calls: [{}] }] }, 400, 'messages[0].tool_calls[0].function'],
  field('temperature', 'hot'),
  field('temperature', -1),
  field('temperature', '0.5'),
  field('top_p', 2),
  field('top_p', -0.1),
  field('max_tokens', -1),
  field('max_tokens', 0),
  field('max_tokens', 1.5),
  field('max_tokens', 'x'),
  field('max_tokens', '7'),
  field('max_completion_tokens', 0),
  field('max_new_tokens', -1),
  field('n', 0),
  field('n', 10 ** 9),
  field('n', 1.5),
  field('stop', 5),
  field('stop', ''),
  field('stop', Array(10_000).fill('x')),
  ['an empty stop string', { messages: hello, stop: ['x', ''] }, 400],
  field('logit_bias', []),
  ['a logit bias for a word', { messages: hello, logit_bias: { a: 1 } }, 400],
  ['a logit bias out of range', { messages: hello, logit_bias: { 5: 101 } }, 400],
  field('seed', 'x'),
  field('seed', 1.5),
  field('stream', 'yes'),
  field('stream', 1),
  field('stream_options', 5),
  ['include_usage as text', { messages: hello, stream_options: { include_usage: 'yes' } }, 400, 'stream_options.include_usage'],
  field('logprobs', 5),
  field('top_logprobs', 10 ** 6),
  field('top_logprobs', 5),
  field('presence_penalty', 3),
  field('frequency_penalty', 'x'),
  field('top_k', 1.5),
  field('min_p', 2),
  field('typical_p', 0),
  field('repetition_penalty', 0),
  field('no_repeat_ngram_size', -1),
  field('bad_words_ids', 'x'),
  ['a bad word that is a number', { messages: hello, bad_words_ids: [1] }, 400, 'bad_words_ids[0]'],
  field('min_tokens', -1),
  field('ignore_eos', 'true'),
  field('do_sample', 1),
  field('skip_special_tokens', 'no'),
  field('eos_token_id', 'x'),
  field('tools', 'x'),
  ['tools of numbers', { messages: hello, tools: [1] }, 400, 'tools[0]'],
  field('tool_choice', 'required'),
  field('tool_choice', { type: 'function', function: { name: 'f' } }),
  field('functions', 'f'),
  ['functions of another name', { messages: hello, functions: [{ name: 'a b' }] }, 400, 'functions[0].name'],
  ['functions next to tools', { messages: hello, functions: [{ name: 'f' }], tools: [{ function: { name: 'f' } }] }, 400, 'functions'],
  ['function_call of no function', { messages: hello, functions: [{ name: 'f' }], function_call: { name: 'g' } }, 400, 'function_call'],
  field('function_call', 'required'),
  field('function_call', { name: 'f' }),
  ['response_format yaml', { messages: hello, response_format: { type: 'yaml' } }, 400, 'response_format.type'],
  field('response_format', 5),
  field('modalities', ['text', 'audio']),
  field('audio', { voice: 'alloy' }),
  field('num_beams', 4),
  field('guidance_scale', 1.5),
  field('penalty_alpha', 0.6),
  field('generation_config', '{'),
  field('generation_config', '[]'),
  field('generation_config', 5),
  ['beams in generation_config', { messages: hello, generation_config: '{"num_beams":4}' }, 400, 'generation_config.num_beams'],
  [
    'a bad value in generation_config',
    { messages: hello, generation_config: { temperature: 'hot' } },
    400,
    'generation_config.temperature',
  ],
  field('chat_template_kwargs', 'x'),
  field('chat_template_kwargs', []),
  [
    'a template from a client',
    { messages: hello, chat_template_kwargs: { chat_template: 'x' } },
    400,
    'chat_template_kwargs.chat_template',
  ],
  [
    'a reserved variable',
    { messages: hello, chat_template_kwargs: { add_generation_prompt: false } },
    400,
    'chat_template_kwargs.add_generation_prompt',
  ],
  ['an unknown model', { messages: hello, model: 'no/such-model' }, 400, 'model'],
  ['an unknown field', { messages: hello, no_such_field: 1 }, 422, 'no_such_field'],
  ['200,000 words', message('word '.repeat(200_000)), 400, 'messages'],
]

function expectError(reply: Reply, status: number, param?: string): void {
  expect(reply.status, reply.text.slice(0, 200)).toBe(status)
  const body = JSON.parse(reply.text) as { error: { message: string; type: string; param: string | null; code: string }; detail: string }
  expect(Object.keys(body)).toEqual(['error', 'detail'])
  expect(Object.keys(body.error)).toEqual(['message', 'type', 'param', 'code'])
  expect(body.detail).toBe(body.error.message)
  expect(body.error.message.length).toBeGreaterThan(5)
  expect(body.error.message.length).toBeLessThan(400)
  if (param !== undefined) expect(body.error.param).toBe(param)
}

describe.each(transports)('bad input over %s', (transport) => {
  test('each bad body is a clear error, and the next request works', async () => {
    await using t = await testServer(transport)
    for (const [name, body, status, param] of cases) {
      for (const stream of [undefined, true]) {
        const sent = typeof body === 'string' ? body : JSON.stringify(stream && !('stream' in body) ? { ...body, stream } : body)
        const reply = await post(t.port, sent)
        expect(() => expectError(reply, status, param), name).not.toThrow()
      }
    }
    expect((await post(t.port, { messages: hello })).status).toBe(200)
  }, 60_000)

  test('the recorded texts', async () => {
    await using t = await testServer(transport)
    const detail = async (body: object) => (JSON.parse((await post(t.port, body)).text) as { detail: string }).detail
    expect(await detail({ messages: hello, foo: 1 })).toBe("Unexpected fields in the request: {'foo'}")
    expect(await detail({ messages: hello, foo: 1, bar: 2 })).toBe("Unexpected fields in the request: {'foo', 'bar'}")
  })

  test('bytes that are no text, and other content types', async () => {
    await using t = await testServer(transport)
    expectError(await post(t.port, Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d])), 422)
    const good = JSON.stringify({ messages: hello })
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x']) {
      expectError(await post(t.port, good, { 'content-type': type }), 422)
    }
    expectError(await request(t.port, 'POST', '/v1/chat/completions'), 422)
    expect((await post(t.port, good, { 'content-type': 'Application/JSON; charset=utf-8' })).status).toBe(200)
    expect((await post(t.port, `\ufeff${good}`)).status).toBe(200)
  })
})
