import { describe, expect, test } from 'vitest'
import { ApiError } from '../../src/protocol/errors.js'
import { readCompletionRequest } from '../../src/protocol/completions-schema.js'

function refusal(body: Record<string, unknown>): ApiError {
  try {
    readCompletionRequest(body)
  } catch (error) {
    if (error instanceof ApiError) return error
    throw error
  }
  throw new Error('was accepted')
}

test('the fields of OpenAI and of transformers, mapped', () => {
  const body = {
    model: 'm', prompt: 'a', max_tokens: 7, temperature: 0.5, top_p: 0.9, top_k: 3, n: 2, best_of: 2, seed: 5, stop: 'x', presence_penalty: 1,
    frequency_penalty: -1, logit_bias: { 5: 1 }, logprobs: 3, echo: true, user: 'u', stream: true, stream_options: { include_usage: true },
    generation_config: '{"top_k": 1}', cache_salt: 's', priority: 1, ignore_eos: true,
  } // prettier-ignore
  expect(readCompletionRequest(body)).toEqual({
    model: 'm',
    stream: true,
    usage: 'chunk',
    echo: true,
    logprobs: 3,
    n: 2,
    generates: [
      {
        input: { kind: 'text', text: 'a' },
        n: 2,
        echo: true,
        generationConfig: { top_k: 1 },
        priority: 1,
        cacheSalt: 's',
        params: {
          do_sample: true, temperature: 0.5, top_p: 0.9, top_k: 3, presence_penalty: 1, frequency_penalty: -1, logit_bias: { 5: 1 }, seed: 5,
          max_new_tokens: 7, ignore_eos: true, stop: ['x'], logprobs: true, top_logprobs: 3, prompt_logprobs: 3,
        }, // prettier-ignore
      },
    ],
  })
})

test.each([
  ['a', [{ kind: 'text', text: 'a' }]],
  ['', [{ kind: 'text', text: '' }]],
  [['a', 'b'], [{ kind: 'text', text: 'a' }, { kind: 'text', text: 'b' }]],
  [[1, 2], [{ kind: 'tokens', tokens: [1, 2] }]],
  [[[1], [2, 3]], [{ kind: 'tokens', tokens: [1] }, { kind: 'tokens', tokens: [2, 3] }]],
])('prompt %j', (prompt, inputs) => {
  expect(readCompletionRequest({ prompt }).generates.map(({ input }) => input)).toEqual(inputs)
}) // prettier-ignore

test('what is asked of the engine without a word from the client', () => {
  expect(readCompletionRequest({ prompt: 'a' })).toEqual({
    stream: false,
    usage: 'finish',
    echo: false,
    n: 1,
    generates: [{ input: { kind: 'text', text: 'a' }, n: 1, params: {} }],
  })
})

test('no new token, a suffix, and candidates that are ranked', () => {
  expect(readCompletionRequest({ prompt: 'a', max_tokens: 0 }).generates[0]?.params).toEqual({ max_new_tokens: 0 })
  expect(readCompletionRequest({ prompt: 'a', suffix: 'b' }).generates[0]?.input).toEqual({ kind: 'fill', prefix: 'a', suffix: 'b' })
  expect(readCompletionRequest({ prompt: 'a', suffix: '' }).generates[0]?.input).toEqual({ kind: 'text', text: 'a' })
  const ranked = readCompletionRequest({ prompt: 'a', n: 2, best_of: 5 })
  expect([ranked.n, ranked.logprobs, ranked.generates[0]]).toEqual([
    2,
    undefined,
    expect.objectContaining({ n: 5, params: { logprobs: true } }),
  ])
})

describe('refused', () => {
  test.each([
    [{}, 'prompt', 400],
    [{ prompt: null }, 'prompt', 400],
    [{ prompt: 5 }, 'prompt', 400],
    [{ prompt: [] }, 'prompt', 400],
    [{ prompt: [[]] }, 'prompt', 400],
    [{ prompt: ['a', 1] }, 'prompt', 400],
    [{ prompt: [-1] }, 'prompt', 400],
    [{ prompt: [0.5] }, 'prompt', 400],
    [{ prompt: Array.from({ length: 129 }, () => 'a') }, 'prompt', 400],
    [{ prompt: ['a', 'b', 'c', 'd', 'e'], n: 32 }, 'prompt', 400],
    [{ prompt: [1], suffix: 'b' }, 'suffix', 400],
    [{ prompt: 'a', n: 3, best_of: 2 }, 'best_of', 400],
    [{ prompt: 'a', best_of: 2, stream: true }, 'best_of', 400],
    [{ prompt: 'a', logprobs: 6 }, 'logprobs', 400],
    [{ prompt: 'a', logprobs: true }, 'logprobs', 400],
    [{ prompt: 'a', max_tokens: -1 }, 'max_tokens', 400],
    [{ prompt: 'a', echo: true, logprobs: 1, n: 5 }, 'n', 400],
    [{ prompt: 'a', num_beams: 4 }, 'num_beams', 400],
    [{ prompt: 'a', max_completion_tokens: 4 }, 'max_completion_tokens', 422],
    [{ prompt: 'a', messages: [] }, 'messages', 422],
  ])('%j', (body, param, status) => {
    const error = refusal(body)
    expect([error.status, error.param?.split('[')[0]]).toEqual([status, param])
    expect(error.message).toMatch(/.{10}/)
  })
})
