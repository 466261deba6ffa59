// A tokenizer's response_schema reads answers as transformers did: test/fixtures/goldens/response-schemas.json.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readCheckpoint } from '../../../src/engine/checkpoint.js'
import { answerFormat } from '../../../src/engine/output/registry.js'
import { schemaFormat } from '../../../src/engine/output/response-schema/format.js'
import { toolSchemas } from '../../../src/engine/output/tools.js'
import { gatherCalls } from '../../support/calls.js'

type Value = Record<string, unknown>
interface Goldens {
  schemas: Record<string, Value>
  /** `value`: null where transformers found nothing or an error. */
  cases: { schema: string; text: string; value: Value | null }[]
}
const { schemas, cases } = JSON.parse(
  readFileSync(new URL('../../fixtures/goldens/response-schemas.json', import.meta.url), 'utf8'),
) as Goldens

const options = { tools: toolSchemas([]), readCalls: true, maxCalls: Infinity }

function read(schema: unknown, pieces: readonly string[], more: { cut?: boolean; readCalls?: boolean; maxCalls?: number } = {}) {
  const parser = schemaFormat(schema, undefined).parser('', { ...options, ...more })
  const parts = [...pieces.map((piece) => parser.push(piece)), parser.finish(more.cut ?? false)]
  return {
    content: parts.map(({ content }) => content).join(''),
    reasoning: parts.map(({ reasoning }) => reasoning).join(''),
    calls: gatherCalls(parts.flatMap((part) => part.calls)).map(({ name, value }): [string, unknown] => [name, value]),
  }
}

const trimmed = (got: ReturnType<typeof read>) => ({ ...got, content: got.content.trim() })

/** What transformers makes of the text, in our terms: where it finds nothing the text is content. */
function expected(value: Value | null, text: string) {
  const { content, tool_calls: uses, ...rest } = value ?? {}
  const calls = ((uses ?? []) as { name?: string; arguments?: unknown; function?: { name: string; arguments?: unknown } }[]).map((call) => {
    const { name, arguments: values } = call.function ?? call
    return [name, values ?? {}]
  })
  const reasoning = (Object.values(rest).find((part) => typeof part === 'string' && part !== '') ?? '') as string
  const none = !content && reasoning === '' && uses === undefined
  return { content: none ? text.trim() : ((content as string | undefined) ?? '').trim(), reasoning: reasoning.trim(), calls }
}

describe.each(cases)('$schema: $text', ({ schema, text, value }) => {
  test('is read as transformers reads it, however it is cut', () => {
    const want = expected(value, text)
    expect(trimmed(read(schemas[schema], [text]))).toEqual(want)
    expect(trimmed(read(schemas[schema], [...text]))).toEqual(want)
    for (let at = 0; at <= text.length; at++) {
      expect(trimmed(read(schemas[schema], [text.slice(0, at), text.slice(at)]))).toEqual(want)
    }
  })
})

test.each(Object.keys(schemas))('half an answer by %s is read alike, however it is cut', (schema) => {
  for (const { text } of cases.filter((one) => one.schema === schema)) {
    for (let end = 0; end < text.length; end++) {
      const half = text.slice(0, end)
      expect(read(schemas[schema], [...half], { cut: true }), half).toEqual(read(schemas[schema], [half], { cut: true }))
    }
  }
})

test.each([
  ['actions', '<|START_THINKING|>a<|START_ACTION|>[{"tool_name": "f"}]<|END_ACTION|>b, c'],
  ['pythonic', '<think><|calls|>[f()]<|end|><|calls|>Hello.<think>'],
  ['values', 'f(1,2,3,4) say: all f(1,2,0,x) < f(1,2,3,4) \n'],
])('fields that cover each other are read alike, however the text is cut: %s', (schema, text) => {
  expect(read(schemas[schema], [...text])).toEqual(read(schemas[schema], [text]))
})

describe('what is decided streams', () => {
  const streamed = (schema: string, pieces: readonly string[]) => {
    const parser = schemaFormat(schemas[schema], undefined).parser('', options)
    return pieces.map((piece) => {
      const { content, reasoning, calls } = parser.push(piece)
      return [content, reasoning, calls.map(({ name, arguments: values }) => `${name}${values}`).join()].join('|')
    })
  }

  test.each<[string, string[], string[]]>([
    ['actions', ['<|START_RESPONSE|>', 'Hel', 'lo ', 'you', '<|END'], ['||', 'Hel||', 'lo||', ' you||', '||']],
    ['actions', ['<|START_ACTION|>[{"tool_name": "f", "parameters": {}}]', '<|END_ACTION|>', ' '], ['||', '||', '||f{}']],
    ['one pattern', ['Hel', 'lo', ' you'], ['Hel||', 'lo||', ' you||']],
    ['one pattern', ['<think>', 'It', ' is', '</b', '</think>', 'Yes', '.'], ['||', '|It|', '| is|', '|</b|', '||', 'Yes||', '.||']],
    [
      'many calls',
      ['<think>\n', 'It', ' is', '</think>', '\n\nYes', ' it', ' is'],
      ['||', '|It|', '| is|', '||', 'Yes||', ' it||', ' is||'],
    ],
    ['many calls', ['Hel', 'lo', ' <tool', '_call>{"na'], ['Hel||', 'lo||', '||', '||']],
    ['response tags', ['Hm.</think>\n', '<response>\n', 'Hel', 'lo\n'], ['|Hm.|', '||', 'Hel||', 'lo||']],
    [
      'response tags',
      ['<tool_call>{"name": "f"}</tool_call>', '<tool_call>{"name"', ':"g"}</tool_call>', '\n'],
      ['||', '||f{}', '||', '||g{}'],
    ],
    ['bare keys', ['<|channel>thought\n', 'It', ' is', '<channel|>', 'Yes', '.'], ['||', '|It|', '| is|', '||', 'Ye||', 's||']],
  ])('%s: %j', (schema, pieces, expectedParts) => {
    expect(streamed(schema, pieces)).toEqual(expectedParts)
  })
})

describe('what is not read', () => {
  test('is content: calls that are not wanted or cannot be read', () => {
    const text = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    expect(read(schemas['response tags'], [text], { readCalls: false })).toEqual({ content: text, reasoning: '', calls: [] })
    const broken = '<tool_call>{"name": oops}</tool_call>'
    for (const schema of ['response tags', 'one pattern', 'many calls']) {
      expect(read(schemas[schema], [...broken]), schema).toEqual({ content: broken, reasoning: '', calls: [] })
    }
    const some = `${broken}<tool_call>{"name": "f"}</tool_call>`
    expect(read(schemas['response tags'], [...some])).toEqual({ content: broken, reasoning: '', calls: [['f', {}]] })
  })

  test('half a call is content where half of one reads like a whole one', () => {
    const { 'x-regex-iterator': _, ...calls } = (schemas['xml']!['properties'] as Record<string, Value>)['tool_calls']!
    const open = { type: 'object', properties: { tool_calls: { ...calls, 'x-regex-iterator': '<call>(.*?)(?:</call>|$)' } } }
    const half = '<call><function=f><parameter=a>\n1\n</parameter>'
    expect(read(open, [half], { cut: true })).toEqual({ content: half, reasoning: '', calls: [] })
    expect(read(open, [half])).toEqual({ content: '', reasoning: '', calls: [['f', { a: 1 }]] })
    expect(read(open, [`${half}</call>`], { cut: true }).calls).toEqual([['f', { a: 1 }]])
  })

  test('the answer ends with the last call that is wanted', () => {
    const text = '<tool_call>{"name":"f"}</tool_call>'
    expect(read(schemas['response tags'], [text + text], { maxCalls: 1 }).calls).toHaveLength(1)
  })

  test('an answer that ends within reasoning that has begun behind its mark is reasoning', () => {
    expect(read(schemas['many calls'], ['<think>\nIt is'], { cut: true })).toEqual({ content: '', reasoning: 'It is', calls: [] })
  })
})

describe('what is declared', () => {
  const found = (responseSchema: unknown, template = 'x') =>
    answerFormat({ chatTemplates: { default: template }, modelType: '', responseSchema })
  const field = (node: object) => ({ type: 'object', properties: { content: node } })

  test.each<[string, unknown, RegExp]>([
    ['no object', [], /no object/],
    ['no properties', { type: 'object' }, /properties/],
    ['an unknown type', field({ type: 'text' }), /type "text"/],
    ['an unknown parser', field({ 'x-parser': 'yaml' }), /x-parser "yaml"/],
    ['a broken pattern', field({ 'x-regex': '(' }), /content: x-regex: unbalanced/],
    ['a reference', field({ 'x-regex': '(a)\\1' }), /references to groups/],
    ['a pattern of two groups', field({ 'x-regex': '(a)(b)' }), /one group/],
    ['a pattern of no group', field({ 'x-regex': 'a' }), /one group/],
    ['an iterator of no array', field({ 'x-regex-iterator': '(a)' }), /type array/],
    ['pairs of no object', field({ 'x-regex-key-value': '(a)' }), /type object/],
    ['pairs without names', field({ type: 'object', 'x-regex-key-value': '(a)' }), /key and value/],
    ['an array of nothing', field({ type: 'array' }), /items/],
    ['a function of JMESPath', field({ 'x-parser': 'json', 'x-parser-args': { transform: 'length(@)' } }), /JMESPath/],
    ['a filter of JMESPath', field({ 'x-parser': 'json', 'x-parser-args': { transform: '[?a]' } }), /JMESPath/],
    ['a group that is none', field({ 'x-regex-substitutions': [['a', '\\2']] }), /does not exist/],
    ['a bad escape', field({ 'x-regex-substitutions': [['a', '\\q']] }), /bad escape/],
    ['a huge pattern', field({ 'x-regex': '((?:a{99}){99})' }), /too large/],
  ])('with %s is not used, and a user is told', (_name, schema, message) => {
    expect(found(schema, '</think>')).toMatchObject({
      format: { name: 'think' },
      warning: expect.stringMatching(message) as string,
    })
  })

  test('goes before what the chat template shows', () => {
    expect(found(schemas['response tags'], '<tool_call>')).toEqual({
      format: expect.objectContaining({ name: 'response_schema' }) as object,
    })
    expect(found(schemas['actions'])).toMatchObject({ format: { name: 'response_schema' } })
  })

  test.each([
    ['many calls', '<tool_call>', 'tagged'],
    ['bare keys', '<|tool_call><|channel>', 'gemma4'],
  ])('unless that reads the same: %s', (schema, template, name) => {
    expect(found(schemas[schema], template).format?.name).toContain(name)
  })

  test('stands in tokenizer_config.json', () => {
    const dir = mkdtempSync(join(tmpdir(), 'response-schema-'))
    try {
      writeFileSync(join(dir, 'config.json'), '{"model_type": "llama"}')
      writeFileSync(join(dir, 'tokenizer_config.json'), JSON.stringify({ response_schema: schemas['actions'] }))
      expect(answerFormat(readCheckpoint(dir)).format?.name).toBe('response_schema')
    } finally {
      rmSync(dir, { recursive: true })
    }
  })

  test('goes behind a response_template', () => {
    const responseTemplate = { start_anchor: 'x', fields: { content: {} } }
    const both = answerFormat({ chatTemplates: {}, modelType: '', responseTemplate, responseSchema: schemas['actions'] })
    expect(both.format?.name).toBe('response_template')
  })
})

test('a text on which the patterns take too long is content', () => {
  const slow = { type: 'object', properties: { content: { type: 'string', 'x-regex': '(?:(?=a*b)a|c)*(d)' } } }
  const text = 'a'.repeat(20000)
  expect(read(slow, [text, ' and more'])).toEqual({ content: `${text} and more`, reasoning: '', calls: [] })
})

test('patterns that backtracking would read in exponentially many ways take linear time', () => {
  const nested = { type: 'object', properties: { content: { type: 'string', 'x-regex': '(?:(?:a+)+b|(a*)$)' } } }
  const text = 'a'.repeat(20000)
  expect(read(nested, [text]).content).toBe(text)
})
