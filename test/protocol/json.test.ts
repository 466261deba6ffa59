import { describe, expect, test } from 'vitest'
import { maxJsonDepth, maxJsonNodes, parseInnerJson, parseJson, parseJsonObject } from '../../src/protocol/json.js'

const parse = (text: string) => parseJson(Buffer.from(text))

describe('JSON from outside', () => {
  test.each(['{}', '[1,"a",null]', '{"a":"\\\\","b":"[[[{{{"}', '{"a":"\\"[\\\\\\""}', '"x"', '12'])(
    '%s is read as JSON.parse reads it',
    (text) => {
      expect(parse(text)).toEqual(JSON.parse(text))
    },
  )

  test('depth is bounded, brackets in texts do not count', () => {
    const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth)
    expect(parse(nested(maxJsonDepth))).toBeInstanceOf(Array)
    expect(() => parse(nested(maxJsonDepth + 1))).toThrow(/nested/)
    expect(() => parse('['.repeat(5_000_000))).toThrow(/nested/)
    expect(parse(JSON.stringify({ a: '['.repeat(100_000), b: '\\"['.repeat(1000) }))).toHaveProperty('b')
  })

  test('the number of values is bounded', () => {
    expect(() => parse(`[${'1,'.repeat(maxJsonNodes)}1]`)).toThrow(/values/)
  })

  test.each(['', '{', '{"a":}', 'nope', '"open', '{"a":1}}', '\u0000', '[1,]', "{'a':1}"])(
    '%j is not JSON, and the error says so briefly',
    (text) => {
      expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'invalid_json' }))
    },
  )

  test('the error does not repeat the body', () => {
    expect(() => parse('{"key": my-secret-value}')).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining('secret') as string }),
    )
  })

  test('a __proto__ key is refused, however it is written and wherever it is', () => {
    expect(() => parse('{"a":[{"__proto__":{}}]}')).toThrow(/__proto__/)
    expect(() => parse('{"\\u005f_proto__":1}')).toThrow(/__proto__/)
  })

  test('only objects where one is needed', () => {
    expect(() => parseJsonObject(Buffer.from('[]'))).toThrow(/must be a JSON object/)
    expect(parseInnerJson('{"a":1}')).toEqual({ a: 1 })
    expect(parseInnerJson('{"a":')).toBeUndefined()
  })
})
