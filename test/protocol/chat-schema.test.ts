import { describe, expect, test } from 'vitest'
import { parseChatBody, readChatRequest } from '../../src/protocol/chat-schema.js'

const messages = [{ role: 'user', content: 'Hello' }]
const read = (fields: object = {}) => readChatRequest({ messages, ...fields })
const params = (fields: object) => read(fields).generate.params
const input = (fields: object) => read(fields).generate.input

// what the openai 3.52 client may send and transformers serve takes
const acceptedFields = [
  'audio', 'chat_template_kwargs', 'frequency_penalty', 'function_call', 'functions', 'generation_config', 'logit_bias', 'logprobs',
  'max_completion_tokens', 'max_tokens', 'metadata', 'modalities', 'model', 'moderation', 'n', 'parallel_tool_calls', 'prediction', 'presence_penalty',
  'prompt_cache_key', 'prompt_cache_options', 'prompt_cache_retention', 'reasoning_effort', 'response_format', 'safety_identifier', 'seed',
  'service_tier', 'stop', 'store', 'stream', 'stream_options', 'temperature', 'tool_choice', 'tools', 'top_logprobs', 'top_p', 'user', 'verbosity',
  'web_search_options',
] // prettier-ignore

describe('what a body means', () => {
  test('nothing but messages: all is left to the model', () => {
    expect(read()).toEqual({
      stream: false,
      usage: 'finish',
      functionCalls: false,
      generate: { input: { kind: 'chat', messages }, params: {} },
    })
  })

  test('null is as good as absent, for every field', () => {
    const nulls = Object.fromEntries(acceptedFields.map((name) => [name, null]))
    expect(read(nulls)).toEqual(read())
    const extensions = [
      'top_k',
      'min_p',
      'typical_p',
      'repetition_penalty',
      'no_repeat_ngram_size',
      'bad_words_ids',
      'min_new_tokens',
      'min_tokens',
    ]
    const more = ['ignore_eos', 'do_sample', 'skip_special_tokens', 'eos_token_id', 'priority', 'cache_salt', 'num_beams', 'guidance_scale']
    expect(read(Object.fromEntries([...extensions, ...more].map((name) => [name, null])))).toEqual(read())
  })

  test('temperature decides on sampling', () => {
    expect(params({ temperature: 0.7 })).toEqual({ do_sample: true, temperature: 0.7 })
    expect(params({ temperature: 0 })).toEqual({ do_sample: false })
    expect(params({ temperature: 0, do_sample: true })).toEqual({ do_sample: false })
    expect(params({ temperature: 0.7, do_sample: false })).toEqual({ do_sample: false, temperature: 0.7 })
    expect(params({ do_sample: true })).toEqual({ do_sample: true })
    expect(params({ top_p: 0.5 })).toEqual({ top_p: 0.5 })
  })

  test('limits: max_completion_tokens before max_tokens before max_new_tokens', () => {
    expect(params({ max_completion_tokens: 1, max_tokens: 2, max_new_tokens: 3 }).max_new_tokens).toBe(1)
    expect(params({ max_tokens: 2, max_new_tokens: 3 }).max_new_tokens).toBe(2)
    expect(params({ max_new_tokens: 3 }).max_new_tokens).toBe(3)
    expect(params({ min_tokens: 4 }).min_new_tokens).toBe(4)
  })

  test('stop, seed, bias and the rest arrive as they are', () => {
    expect(params({ stop: 'a' }).stop).toEqual(['a'])
    expect(params({ stop: [] }).stop).toBeUndefined()
    expect(params({ stop_strings: ['b', 'c'] }).stop).toEqual(['b', 'c'])
    expect(params({ stop: 'a', stop_strings: 'b' }).stop).toEqual(['a'])
    expect(params({ seed: -(2 ** 53) + 1 }).seed).toBe(-(2 ** 53) + 1)
    const given = {
      top_k: 40, min_p: 0.1, typical_p: 0.9, repetition_penalty: 1.1, presence_penalty: -1, frequency_penalty: 2, no_repeat_ngram_size: 3,
      logit_bias: { 5: -100, 7: 1 }, bad_words_ids: [[1, 2]], ignore_eos: true, skip_special_tokens: false, logprobs: true, top_logprobs: 20,
      eos_token_id: [1, 2], max_length: 9, min_length: 1,
    } // prettier-ignore
    expect(params(given)).toEqual(given)
    expect(read({ n: 2, priority: -1, cache_salt: 's' }).generate).toMatchObject({ n: 2, priority: -1, cacheSalt: 's' })
  })

  test('usage', () => {
    expect(read({ stream: true }).usage).toBe('finish')
    expect(read({ stream_options: {} }).usage).toBe('finish')
    expect(read({ stream_options: { include_usage: true } }).usage).toBe('chunk')
    expect(read({ stream_options: { include_usage: false } }).usage).toBe('none')
  })

  test('generation_config: JSON text as `transformers chat` sends it, or an object', () => {
    const config = {
      do_sample: true,
      max_new_tokens: 256,
      num_beams: 1,
      guidance_scale: null,
      top_k: null,
      transformers_version: '5.23.0',
      cache_implementation: 'x',
    }
    const wanted = { do_sample: true, max_new_tokens: 256, transformers_version: '5.23.0', cache_implementation: 'x' }
    expect(read({ generation_config: JSON.stringify(config) }).generate.generationConfig).toEqual(wanted)
    expect(read({ generation_config: config }).generate.generationConfig).toEqual(wanted)
  })

  test('fields that change nothing are taken, neutral values of what we do not do too', () => {
    const harmless = {
      user: 'u',
      store: true,
      metadata: { a: 'b' },
      service_tier: 'auto',
      prediction: {},
      verbosity: 'low',
    }
    expect(
      read({ ...harmless, tool_choice: 'auto', function_call: 'none', response_format: { type: 'text' }, modalities: ['text'] }),
    ).toEqual(read())
    expect(read({ num_beams: 1, guidance_scale: 1, num_return_sequences: 1, penalty_alpha: 0 })).toEqual(read())
  })

  const tool = (name: string, more: object = {}) => ({ type: 'function', function: { name, ...more } })

  test('tools go to the template unless they must not be called', () => {
    const tools = [tool('f')]
    expect(input({ tools })).toMatchObject({ tools })
    expect(input({ tools, tool_choice: 'none' })).not.toHaveProperty('tools')
    expect(input({ tools: [] })).not.toHaveProperty('tools')
    expect(read({ tools, tool_choice: 'none' }).generate.toolChoice).toBe('none')
    expect(read({ tools, parallel_tool_calls: false }).generate).toMatchObject({ toolChoice: 'auto', parallelToolCalls: false })
    expect(read({}).generate).not.toHaveProperty('toolChoice')
  })

  test('nulls of a tool are left out', () => {
    const full = { ...tool('f', { description: null, parameters: null, strict: null }), extra: null }
    expect(input({ tools: [full, { function: { name: 'g' } }] })).toMatchObject({ tools: [tool('f'), tool('g')] })
    expect(JSON.stringify(input({ tools: [full] }))).not.toContain('null')
  })

  test('a function that must be called, and a choice of tools', () => {
    const tools = [tool('f'), tool('g')]
    expect(read({ tools, tool_choice: 'required' }).generate.toolChoice).toBe('required')
    expect(read({ tools, tool_choice: tool('g') }).generate).toMatchObject({ toolChoice: { name: 'g' }, input: { tools } })
    const allowed = { type: 'allowed_tools', allowed_tools: { mode: 'required', tools: [tool('g')] } }
    expect(read({ tools, tool_choice: allowed }).generate).toMatchObject({ toolChoice: 'required', input: { tools: [tool('g')] } })
  })

  test.each([
    [{ tools: [tool('a b')] }, 'tools[0].function.name'],
    [{ tools: [tool('')] }, 'tools[0].function.name'],
    [{ tools: [tool('f'), tool('f')] }, 'tools[1].function.name'],
    [{ tools: [{ type: 'function' }] }, 'tools[0].function'],
    [{ tools: [{ type: 'web_search' }] }, 'tools[0].type'],
    [{ tools: [tool('f', { parameters: 'x' })] }, 'tools[0].function.parameters'],
    [{ tools: [tool('f', { strict: 1 })] }, 'tools[0].function.strict'],
    [{ tools: Array.from({ length: 300 }, (_, i) => tool(`f${i}`)) }, 'tools'],
    [{ tools: [tool('f', { description: 'x'.repeat(3_000_000) })] }, 'tools'],
    [{ tool_choice: 'required' }, 'tool_choice'],
    [{ tools: [tool('f')], tool_choice: tool('g') }, 'tool_choice'],
    [{ tools: [tool('f')], tool_choice: 'any' }, 'tool_choice'],
  ])('tools that cannot be: %#', (body, param) => {
    expect(() => read(body)).toThrow(expect.objectContaining({ param }))
  })

  test('template variables', () => {
    expect(input({ chat_template_kwargs: { enable_thinking: false } })).toMatchObject({ templateKwargs: { enable_thinking: false } })
    expect(input({ reasoning_effort: 'low' })).toMatchObject({ templateKwargs: { reasoning_effort: 'low' } })
  })
})

describe('messages as a template sees them', () => {
  const converted = (...given: object[]) => readChatRequest({ messages: given }).generate.input.messages

  test('content: text, parts joined with a space, nothing as an empty text', () => {
    const parts = [
      { type: 'text', text: 'a' },
      { type: 'input_text', text: 'b' },
      { type: 'output_text', text: 'c' },
    ]
    expect(
      converted({ role: 'user', content: parts }, { role: 'user', content: null }, { role: 'user' }, { role: 'user', content: [] }),
    ).toEqual([
      { role: 'user', content: 'a b c' },
      { role: 'user', content: '' },
      { role: 'user', content: '' },
      { role: 'user', content: '' },
    ])
  })

  test('other fields travel along, nulls do not', () => {
    expect(converted({ role: 'assistant', content: 'x', name: 'n', reasoning_content: 'r', refusal: null, tool_calls: null })).toEqual([
      { role: 'assistant', content: 'x', name: 'n', reasoning_content: 'r' },
    ])
    expect(converted({ role: 'tool', content: '5', tool_call_id: 'c', tool_calls: [] })).toEqual([
      { role: 'tool', content: '5', tool_call_id: 'c' },
    ])
  })

  test('a tool message gets the name of the function that it answers', () => {
    const call = { id: 'c', index: null, function: { name: 'f', arguments: null, description: null } }
    const asked = [
      { role: 'assistant', tool_calls: [call] },
      { role: 'tool', content: '5', tool_call_id: 'c', name: null },
    ]
    expect(read({ messages: asked }).generate.input.messages).toEqual([
      { role: 'assistant', content: '', tool_calls: [{ id: 'c', function: { name: 'f', arguments: {} } }] },
      { role: 'tool', content: '5', tool_call_id: 'c', name: 'f' },
    ])
  })

  test('tool arguments become objects; what is no JSON object stays text', () => {
    const call = (args: unknown) => ({ id: 'c', type: 'function', function: { name: 'f', arguments: args } })
    const [message] = converted({
      role: 'assistant',
      content: 'x',
      tool_calls: [call('{"a":1}'), call('{"a":'), call('[1]'), call({ b: 2 })],
    })
    expect(message).toEqual({ role: 'assistant', content: 'x', tool_calls: [call({ a: 1 }), call('{"a":'), call('[1]'), call({ b: 2 })] })
  })

  test('lone surrogates and control characters pass', () => {
    const text = JSON.stringify({ messages: [{ role: 'user', content: 'a\ud800\u0000\r\nb' }] })
    expect(parseChatBody(Buffer.from(text)).generate.input.messages[0]?.content).toBe('a\ud800\u0000\r\nb')
  })
})
