import { describe, expect, test } from 'vitest'
import type { GenerationDelta, TokenLogprob } from '../../src/engine/types.js'
import { ChatChunks, ChatReply, completionId, UsageCount } from '../../src/protocol/chat-mapping.js'
import { ApiError, errorTable, renderError, toApiError, type AnyErrorCode } from '../../src/protocol/errors.js'
import { namesModel, requireModel } from '../../src/protocol/model-names.js'
import { RequestError } from '../../src/engine/types.js'

const head = { id: 'chatcmpl-1', model: 'a"b\\c@main', created: 5 }
const parsed = (event: string): unknown => {
  expect(event).toMatch(/^data: [^\n]*\n\n$/)
  return JSON.parse(event.slice(6))
}
const delta = (fields: Partial<GenerationDelta>): GenerationDelta => ({
  choice: 0,
  text: '',
  tokens: [],
  promptTokens: 3,
  cachedTokens: 1,
  outputTokens: 0,
  ...fields,
})
const shared = { id: 'chatcmpl-1', created: 5, model: 'a"b\\c@main', object: 'chat.completion.chunk', system_fingerprint: '' }

describe('chunks', () => {
  const usage = new UsageCount()
  usage.add(delta({ outputTokens: 2 }))
  usage.add(delta({ choice: 1, outputTokens: 3, cachedTokens: 2 }))
  const counted = {
    completion_tokens: 5,
    prompt_tokens: 3,
    total_tokens: 8,
    prompt_tokens_details: { cached_tokens: 2 },
    completion_tokens_details: { reasoning_tokens: 0 },
  }

  test.each(['plain', 'with "quotes" and \\', 'line\nfeed\r\u2028', '🎉', '\u0000', 'data: [DONE]\n\n'])('content %j survives', (text) => {
    expect(parsed(new ChatChunks(head, 'none').content(1, text))).toEqual({ ...shared, choices: [{ delta: { content: text }, index: 1 }] })
  })

  test('a lone surrogate is escaped, so that the event stays valid UTF-8', () => {
    expect(new ChatChunks(head, 'none').content(0, 'a\ud800')).toContain('"a\\ud800"')
  })

  test('role, finish, usage and end in the three usage modes', () => {
    const finish = new ChatChunks(head, 'finish')
    expect(parsed(finish.role(0))).toEqual({ ...shared, choices: [{ delta: { role: 'assistant' }, index: 0 }] })
    expect(parsed(finish.finish(0, 'length'))).toEqual({ ...shared, choices: [{ delta: {}, finish_reason: 'length', index: 0 }] })
    expect(parsed(finish.finish(1, 'stop', usage))).toEqual({
      ...shared,
      choices: [{ delta: {}, finish_reason: 'stop', index: 1 }],
      usage: counted,
    })
    expect(finish.done(usage)).toBe('data: [DONE]\n\n')
    const own = new ChatChunks(head, 'chunk')
    expect(parsed(own.finish(1, 'stop', usage))).not.toHaveProperty('usage')
    const [last, end] = own.done(usage).split(/(?<=\n\n)/)
    expect(parsed(last ?? '')).toEqual({ ...shared, choices: [], usage: counted })
    expect(end).toBe('data: [DONE]\n\n')
    const none = new ChatChunks(head, 'none')
    expect(parsed(none.finish(1, 'stop', usage))).not.toHaveProperty('usage')
    expect(none.done(usage)).toBe('data: [DONE]\n\n')
  })

  test('logprobs', () => {
    const logprobs: TokenLogprob[] = [
      { token: 'é', logprob: -1, bytes: [195, 169], top_logprobs: [{ token: 'x', logprob: -2, bytes: [120] }] },
    ]
    expect(parsed(new ChatChunks(head, 'none').content(0, 'é', logprobs))).toMatchObject({ choices: [{ logprobs: { content: logprobs } }] })
  })
})

test('a whole reply gathers text, logprobs and reasons by choice', () => {
  const reply = new ChatReply(head, 2, false)
  const usage = new UsageCount()
  for (const d of [delta({ text: 'a', outputTokens: 1 }), delta({ choice: 1, text: 'x', outputTokens: 1, finishReason: 'length' })]) {
    reply.add(d)
    usage.add(d)
  }
  reply.add(delta({ text: 'b', finishReason: 'stop' }))
  expect(JSON.parse(reply.render(usage))).toMatchObject({
    choices: [
      { finish_reason: 'stop', index: 0, message: { content: 'ab', role: 'assistant' } },
      { finish_reason: 'length', index: 1, message: { content: 'x', role: 'assistant' } },
    ],
    usage: { total_tokens: 5 },
  })
})

test('ids are ours and differ', () => {
  const ids = new Set(Array.from({ length: 1000 }, completionId))
  expect(ids.size).toBe(1000)
})

describe('errors', () => {
  test.each(Object.keys(errorTable) as AnyErrorCode[])('%s renders as OpenAI does, with detail', (code) => {
    const error = new ApiError(code)
    expect(error.status).toBeGreaterThanOrEqual(400)
    expect(JSON.parse(renderError(error))).toEqual({
      error: { message: error.message, type: errorTable[code].type, param: null, code: errorTable[code].code },
      detail: error.message,
    })
  })

  test('what was not foreseen says nothing of its inside', () => {
    expect(toApiError(new TypeError('secret'))).toMatchObject({ code: 'internal_error', message: 'Internal Server Error' })
    expect(toApiError(new RequestError('context_length_exceeded', 'too long', 'messages'))).toMatchObject({
      status: 400,
      param: 'messages',
    })
    expect(toApiError(new RequestError('toString' as never, 'x')).status).toBe(500)
  })
})

test('names of the served model', () => {
  const model = { id: 'org/m', revision: 'main', aliases: ['m', '/models/m'] }
  for (const name of ['org/m', 'org/m@main', 'm', 'm@main', '/models/m', 'dummy', 'tgi']) expect(namesModel(name, model)).toBe(true)
  for (const name of ['org/M', 'org/m@dev', 'org', '', 'toString']) expect(namesModel(name, model)).toBe(false)
  expect(() => requireModel('', model)).not.toThrow()
  expect(() => requireModel('x', model)).toThrow("Server is pinned to 'org/m'; requested 'x'.")
})
