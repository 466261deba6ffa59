import { describe, expect, it } from 'vitest'
import { ApiError } from '../../../src/protocol/errors.js'
import { chatMessages, type Item, readInput } from '../../../src/protocol/responses/items.js'

const messages = (input: Parameters<typeof readInput>[0], instructions?: string): unknown =>
  chatMessages(readInput(input) as Item[], instructions)

const call = { type: 'function_call', call_id: 'c1', name: 'f', arguments: '{"a":1}' }
const calls = [{ id: 'c1', type: 'function', function: { name: 'f', arguments: '{"a":1}' } }]

describe('what input items mean as chat messages', () => {
  it.each<[string, Parameters<typeof readInput>[0], unknown]>([
    ['a string', 'Hi', [{ role: 'user', content: 'Hi' }]],
    ['a message', [{ role: 'user', content: 'Hi' }], [{ role: 'user', content: 'Hi' }]],
    [
      'a typed message',
      [{ type: 'message', role: 'system', content: [{ type: 'input_text', text: 'S' }] }],
      [{ role: 'system', content: 'S' }],
    ],
    [
      'bare parts: one message of the user',
      [
        { type: 'input_text', text: 'a' },
        { type: 'input_text', text: 'b' },
      ],
      [
        {
          role: 'user',
          content: [
            { type: 'input_text', text: 'a' },
            { type: 'input_text', text: 'b' },
          ],
        },
      ],
    ],
    [
      'a picture in the words of chat completions',
      [{ role: 'user', content: [{ type: 'input_image', image_url: 'data:x', detail: 'low' }] }],
      [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:x', detail: 'low' } }] }],
    ],
    [
      'a call that comes first and its result',
      [call, { type: 'function_call_output', call_id: 'c1', output: 'sunny' }],
      [
        { role: 'assistant', tool_calls: calls },
        { role: 'tool', tool_call_id: 'c1', content: 'sunny' },
      ],
    ],
    [
      'reasoning, text and calls of one turn: one message',
      [
        { role: 'user', content: 'q' },
        { type: 'reasoning', summary: [], content: [{ type: 'reasoning_text', text: 'hm' }] },
        { role: 'assistant', content: [{ type: 'output_text', text: 'wait', annotations: [] }] },
        call,
      ],
      [
        { role: 'user', content: 'q' },
        { role: 'assistant', reasoning_content: 'hm', content: 'wait', tool_calls: calls },
      ],
    ],
    [
      'text after calls: the next message',
      [call, { role: 'assistant', content: 'done' }],
      [
        { role: 'assistant', tool_calls: calls },
        { role: 'assistant', content: 'done' },
      ],
    ],
    [
      'a summary where there is no reasoning text',
      [
        { type: 'reasoning', summary: [{ type: 'summary_text', text: 's' }] },
        { role: 'assistant', content: 'a' },
      ],
      [{ role: 'assistant', reasoning_content: 's', content: 'a' }],
    ],
  ])('%s', (_name, input, expected) => {
    expect(messages(input)).toEqual(expected)
  })

  it('puts instructions first, in the place of a first system message', () => {
    const input = [
      { role: 'system', content: 'old' },
      { role: 'user', content: 'q' },
    ]
    expect(messages(input, 'new')).toEqual([
      { role: 'system', content: 'new' },
      { role: 'user', content: 'q' },
    ])
    expect(messages('q', 'new')).toHaveLength(2)
  })
})

describe('input that is refused', () => {
  it.each<[string, Record<string, unknown>, string, string]>([
    ['an unknown type', { type: 'computer_call' }, 'unexpected_item', 'input[0].type'],
    ['an unknown role', { role: 'critic', content: '' }, 'invalid_request', 'input[0].role'],
    ['a call without a name', { ...call, name: undefined }, 'invalid_request', 'input[0].name'],
    ['a result without an output', { type: 'function_call_output', call_id: 'c' }, 'invalid_request', 'input[0].output'],
    ['content that is a number', { role: 'user', content: 5 }, 'invalid_request', 'input[0].content'],
  ])('%s', (_name, item, code, param) => {
    let thrown: unknown
    try {
      readInput([item])
    } catch (error) {
      thrown = error
    }
    expect(thrown).toBeInstanceOf(ApiError)
    expect(thrown).toMatchObject({ code, param })
  })

  it('never takes an id from the client', () => {
    const [item] = readInput([{ role: 'user', content: 'x', id: 'msg_of_someone_else' }])
    expect(item?.id).toMatch(/^msg_[0-9a-f]{48}$/)
  })
})
