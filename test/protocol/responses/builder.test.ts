import { describe, expect, it } from 'vitest'
import type { GenerationDelta } from '../../../src/engine/types.js'
import { ApiError } from '../../../src/protocol/errors.js'
import { ResponseBuilder, type ResponseEvent } from '../../../src/protocol/responses/builder.js'
import { chatMessages } from '../../../src/protocol/responses/items.js'
import type { ResponseUsage } from '../../../src/protocol/responses/resource.js'
import { readResponsesRequest } from '../../../src/protocol/responses/schema.js'

const usage: ResponseUsage = {
  input_tokens: 3,
  input_tokens_details: { cached_tokens: 0, cache_write_tokens: 0 },
  output_tokens: 5,
  output_tokens_details: { reasoning_tokens: 1 },
  total_tokens: 8,
}

const delta = (fields: Partial<GenerationDelta>): GenerationDelta => ({
  choice: 0,
  text: '',
  tokens: [1],
  promptTokens: 3,
  cachedTokens: 0,
  outputTokens: 1,
  ...fields,
})

function told(deltas: Partial<GenerationDelta>[], end: (builder: ResponseBuilder) => void, request: Record<string, unknown> = {}) {
  const events: ResponseEvent[] = []
  const { echo, logprobs } = readResponsesRequest({ input: 'x', ...request })
  const builder = new ResponseBuilder({ id: 'resp_1', createdAt: 1, model: 'm', echo }, logprobs, (event) => events.push(event))
  builder.create()
  builder.begin('m@main')
  for (const one of deltas) builder.add(delta(one))
  end(builder)
  return { events, resource: builder.resource }
}

const short = (events: readonly ResponseEvent[]): string[] => events.map((event) => event.type.replace('response.', ''))
const finish = (builder: ResponseBuilder): void => builder.finish(false, usage, 2)

describe('the events of a response', () => {
  it('come in order: reasoning, text, calls', () => {
    const { events, resource } = told(
      [
        { reasoning: 'hm' },
        { reasoning: ' yes', text: 'A' },
        { text: 'B' },
        { toolCalls: [{ index: 0, id: 'call_1', name: 'f', arguments: '' }] },
        { toolCalls: [{ index: 0, arguments: '{"a":' }] },
        {
          toolCalls: [
            { index: 0, arguments: '1}' },
            { index: 1, id: 'call_2', name: 'g', arguments: '{}' },
          ],
        },
      ],
      finish,
    )
    expect(short(events)).toEqual([
      'created',
      'in_progress',
      'output_item.added',
      'content_part.added',
      'reasoning_text.delta',
      'reasoning_text.delta',
      'reasoning_text.done',
      'content_part.done',
      'output_item.done',
      'output_item.added',
      'content_part.added',
      'output_text.delta',
      'output_text.delta',
      'output_text.done',
      'content_part.done',
      'output_item.done',
      'output_item.added',
      'function_call_arguments.delta',
      'function_call_arguments.delta',
      'function_call_arguments.done',
      'output_item.done',
      'output_item.added',
      'function_call_arguments.delta',
      'function_call_arguments.done',
      'output_item.done',
      'completed',
    ])
    expect(events.map((event) => event.sequence_number)).toEqual(events.map((_, index) => index))
    expect(events.filter((event) => event.type.endsWith('item.added')).map((event) => event.output_index)).toEqual([0, 1, 2, 3])
    expect(resource.output).toMatchObject([
      { type: 'reasoning', content: [{ type: 'reasoning_text', text: 'hm yes' }] },
      { type: 'message', role: 'assistant', status: 'completed', content: [{ type: 'output_text', text: 'AB' }] },
      { type: 'function_call', call_id: 'call_1', name: 'f', arguments: '{"a":1}' },
      { type: 'function_call', call_id: 'call_2', name: 'g', arguments: '{}' },
    ])
    expect(resource).toMatchObject({ status: 'completed', completed_at: 2, usage, model: 'm@main' })
  })

  it('tell reasoning as a summary where one was asked for, and it is understood when it comes back', () => {
    const { events, resource } = told([{ reasoning: 'hm' }, { reasoning: ' yes' }, { text: 'A' }], finish, {
      reasoning: { summary: 'auto' },
    })
    expect(short(events).slice(2, 9)).toEqual([
      'output_item.added',
      'reasoning_summary_part.added',
      'reasoning_summary_text.delta',
      'reasoning_summary_text.delta',
      'reasoning_summary_text.done',
      'reasoning_summary_part.done',
      'output_item.done',
    ])
    const parts = events.slice(3, 8)
    expect(parts.every((event) => event.summary_index === 0 && event.output_index === 0 && !('content_index' in event))).toBe(true)
    expect(resource.output[0]).toMatchObject({ type: 'reasoning', summary: [{ type: 'summary_text', text: 'hm yes' }], content: [] })
    expect(chatMessages([resource.output[0]!])).toEqual([{ role: 'assistant', reasoning_content: 'hm yes' }])
    const plain = told([{ reasoning: 'hm' }], finish, { reasoning: { summary: 'none', effort: 'low' } })
    expect(plain.resource.output[0]).toMatchObject({ summary: [], content: [{ text: 'hm' }] })
  })

  it('say the same as the whole answer', () => {
    const { events, resource } = told(
      [{ text: 'a' }, { text: 'b' }, { toolCalls: [{ index: 0, id: 'c', name: 'f', arguments: '{}' }] }],
      finish,
    )
    const text = events.filter((event) => event.type === 'response.output_text.delta').map((event) => event.delta)
    expect(text.join('')).toBe('ab')
    expect(events.at(-1)?.response).toEqual(resource)
    const done = events.filter((event) => event.type === 'response.output_item.done').map((event) => event.item)
    expect(done).toEqual(resource.output)
  })

  it('make an empty message of an empty answer, and none beside a call', () => {
    expect(told([], finish).resource.output).toMatchObject([{ type: 'message', content: [{ text: '' }] }])
    const { resource } = told([{ toolCalls: [{ index: 0, id: 'c', name: 'f', arguments: '{}' }] }], finish)
    expect(resource.output.map((item) => item.type)).toEqual(['function_call'])
  })

  it('end incomplete at the limit', () => {
    const { events, resource } = told([{ reasoning: 'hm' }], (builder) => builder.finish(true, usage, 2))
    expect(resource).toMatchObject({ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' }, completed_at: null })
    expect(resource.output).toMatchObject([{ type: 'reasoning', status: 'incomplete' }])
    expect(events.at(-1)?.type).toBe('response.incomplete')
  })

  it('end with the error and what there was', () => {
    const { events, resource } = told([{ text: 'a' }], (builder) => builder.fail(new ApiError('engine_error')))
    expect(short(events).slice(-3)).toEqual(['output_item.done', 'error', 'failed'])
    expect(resource).toMatchObject({ status: 'failed', error: { code: 'server_error' }, output: [{ status: 'incomplete' }] })
  })

  it('end cancelled, and nothing follows', () => {
    const { events, resource } = told([{ text: 'a' }], (builder) => {
      builder.cancel()
      builder.fail(new ApiError('engine_error'))
    })
    expect(events.at(-1)?.type).toBe('response.cancelled')
    expect(resource.status).toBe('cancelled')
  })

  it('carry log probabilities where they were asked for', () => {
    const logprobs = [{ token: 'a', logprob: -1, bytes: [97], top_logprobs: [] }]
    const asked = { include: ['message.output_text.logprobs'] }
    const { events, resource } = told([{ text: 'a', logprobs }], finish, asked)
    expect(events.find((event) => event.type === 'response.output_text.delta')?.logprobs).toEqual(logprobs)
    expect(resource.output).toMatchObject([{ content: [{ logprobs }] }])
    expect(told([{ text: 'a', logprobs }], finish).resource.output).toMatchObject([{ content: [{ logprobs: [] }] }])
  })

  it('begin queued in the background', () => {
    expect(short(told([], finish, { background: true }).events).slice(0, 3)).toEqual(['created', 'queued', 'in_progress'])
  })
})
