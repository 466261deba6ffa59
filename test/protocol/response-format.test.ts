import { describe, expect, it } from 'vitest'
import { ApiError } from '../../src/protocol/errors.js'
import { readResponseFormat } from '../../src/protocol/response-format.js'

const schema = { type: 'object', properties: { a: { type: 'integer' } } }

describe('response_format', () => {
  it.each([
    [undefined, undefined],
    [null, undefined],
    [{ type: 'text' }, undefined],
    [{ type: 'json_object' }, { type: 'json_object' }],
    // OpenAI
    [
      { type: 'json_schema', json_schema: { name: 'n', strict: true, description: null, schema } },
      { type: 'json_schema', schema },
    ],
    [{ type: 'json_schema', json_schema: { name: 'n' } }, { type: 'json_object' }],
    // huggingface_hub and TGI
    [
      { type: 'json_object', value: schema },
      { type: 'json_schema', schema },
    ],
    [
      { type: 'json_object', schema },
      { type: 'json_schema', schema },
    ],
    [
      { type: 'json', value: schema },
      { type: 'json_schema', schema },
    ],
    [
      { type: 'json', value: JSON.stringify(schema) },
      { type: 'json_schema', schema },
    ],
    [
      { type: 'regex', value: '[a-z]+' },
      { type: 'regex', pattern: '[a-z]+' },
    ],
  ])('%j', (given, expected) => {
    expect(readResponseFormat(given)).toEqual(expected)
  })

  it.each([
    [5, 'response_format'],
    [{}, 'response_format'],
    [{ type: 'yaml' }, 'response_format'],
    [{ type: 'json_schema' }, 'response_format.json_schema'],
    [{ type: 'json_schema', json_schema: { name: 'n', schema: 'x' } }, 'response_format.json_schema.schema'],
    [{ type: 'json', value: '{' }, 'response_format.value'],
    [{ type: 'json', value: `${'{"not":'.repeat(70)}{}${'}'.repeat(70)}` }, 'response_format.value'],
    [{ type: 'json', value: '{"__proto__": {"type": "string"}}' }, 'response_format.value'],
    [{ type: 'json', value: '5' }, 'response_format'],
    [{ type: 'regex', value: 5 }, 'response_format.value'],
    [{ type: 'json_object', format: 1 }, 'response_format.format'],
  ])('refuses %j', (given, param) => {
    const read = () => readResponseFormat(given)
    expect(read).toThrow(ApiError)
    try {
      read()
    } catch (error) {
      expect((error as ApiError).param).toMatch(param)
    }
  })
})
