// Functions of /v1/responses are strict unless they say otherwise; those of chat completions only where they say so.
import { describe, expect, it } from 'vitest'
import { readChatRequest } from '../../../src/protocol/chat-schema.js'
import type { Item } from '../../../src/protocol/responses/items.js'
import { chatRequestOf, readResponsesRequest } from '../../../src/protocol/responses/schema.js'

const parameters = { type: 'object', properties: {} }
const said = (strict?: boolean | null) => ({ type: 'function', name: 'f', parameters, ...(strict === undefined ? {} : { strict }) })

describe('a function of a response', () => {
  it.each([
    [undefined, true],
    [null, true],
    [true, true],
    [false, false],
  ])('that says strict: %s is told as strict: %s', (strict, told) => {
    const request = readResponsesRequest({ model: 'm', input: 'hi', tools: [said(strict)] })
    expect(request.echo.tools).toMatchObject([{ name: 'f', strict: told }])
    const { generate } = chatRequestOf(request, request.input as Item[])
    expect(generate.strictTools).toBe(true)
    // only what was said is passed on: a schema that no grammar knows is refused where it was asked for
    expect(generate.input.kind === 'chat' && generate.input.tools).toEqual([
      { type: 'function', function: { name: 'f', parameters, ...(typeof strict === 'boolean' && { strict }) } },
    ])
  })
})

it('a function of a chat completion is not strict by itself', () => {
  const { type, ...rest } = said()
  const { generate } = readChatRequest({ model: 'm', messages: [{ role: 'user', content: 'hi' }], tools: [{ type, function: rest }] })
  expect(generate.strictTools).toBeUndefined()
})
