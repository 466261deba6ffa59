// A tokenizer's response_template reads answers as transformers does: test/fixtures/goldens/response-templates.json.
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { answerFormat } from '../../../src/engine/output/registry.js'
import { templateFormat } from '../../../src/engine/output/response-template/format.js'
import { compilePattern } from '../../../src/engine/output/response-template/pattern.js'
import { toolSchemas } from '../../../src/engine/output/tools.js'
import { gatherCalls } from '../../support/calls.js'

interface Goldens {
  templates: Record<string, Record<string, unknown>>
  cases: { template: string; prefix: string; text: string; content: string; reasoning: string; calls: [string, unknown][] }[]
}
const { templates, cases } = JSON.parse(
  readFileSync(new URL('../../fixtures/goldens/response-templates.json', import.meta.url), 'utf8'),
) as Goldens

const properties = { city: { type: 'string' }, days: { type: 'integer' }, exact: { type: 'boolean' } }
const options = {
  tools: toolSchemas([{ type: 'function', function: { name: 'get_weather', parameters: { type: 'object', properties } } }]),
  readCalls: true,
  maxCalls: Infinity,
}

function read(template: unknown, pieces: readonly string[], prompt: string, more: object = {}) {
  const parser = templateFormat(template, undefined).parser(prompt, { ...options, ...more })
  const parts = [...pieces.map((piece) => parser.push(piece)), parser.finish(false)]
  return {
    content: parts.map(({ content }) => content).join(''),
    reasoning: parts.map(({ reasoning }) => reasoning).join(''),
    calls: gatherCalls(parts.flatMap((part) => part.calls)).map(({ name, value }): [string, unknown] => [name, value]),
  }
}

describe.each(cases)('$template: $text', ({ template, prefix, text, content, reasoning, calls }) => {
  const expected = { content, reasoning, calls }

  test('is read as transformers reads it, however it is cut', () => {
    // white space at the end of an answer is the model's
    const trimmed = (got: ReturnType<typeof read>) => ({ ...got, content: got.content.trimEnd() })
    expect(trimmed(read(templates[template], [text], prefix))).toEqual(expected)
    expect(trimmed(read(templates[template], [...text], prefix))).toEqual(expected)
    for (let at = 0; at <= text.length; at++) {
      expect(trimmed(read(templates[template], [text.slice(0, at), text.slice(at)], prefix))).toEqual(expected)
    }
  })
})

describe('what cannot be read', () => {
  const own = templates['qwen2']

  test('is content, with its marks', () => {
    for (const broken of [
      '<tool_call>{"name": "f", "arguments": {oops}</tool_call>',
      '<tool_call>{"name": "f"',
      '<tool_call>[]</tool_call>',
    ]) {
      expect(read(own, [...broken], '<|im_start|>assistant\n')).toEqual({ content: broken, reasoning: '', calls: [] })
    }
  })

  test('half a call is content where half of one reads like a whole one', () => {
    const half = (name: string, text: string) => {
      const parser = templateFormat(templates[name], undefined).parser('', options)
      const parts = [parser.push(text), parser.finish(true)]
      return { content: parts.map(({ content }) => content).join(''), calls: parts.flatMap(({ calls }) => calls).length }
    }
    expect(half('own', '@f(city=Ro')).toEqual({ content: '@f(city=Ro', calls: 0 })
    expect(half('qwen2', '<tool_call>{"name":"f"}')).toEqual({ content: '', calls: 1 })
  })

  test('and calls that are not wanted are content, too', () => {
    const text = '<tool_call>{"name":"f"}</tool_call>'
    expect(read(own, [text], '', { readCalls: false })).toEqual({ content: text, reasoning: '', calls: [] })
    expect(read(own, [text + text], '', { maxCalls: 1 }).calls).toHaveLength(1)
  })
})

test('text streams; only what may be a mark is held back', () => {
  const parser = templateFormat(templates['qwen2'], undefined).parser('<|im_start|>assistant\n', options)
  expect(['<th', 'ink>', 'It', ' is', '</', 'b', '</think>', 'Yes', ' <', 'to'].map((piece) => {
    const { content, reasoning } = parser.push(piece)
    return content || reasoning
  })).toEqual(['', '', 'It', ' is', '', '</b', '', 'Yes', '', '']) // prettier-ignore
})

describe('patterns of Python', () => {
  const full = (pattern: string, text: string) => compilePattern(pattern).full.exec(text)?.[0]
  const pendingAt = (pattern: string, text: string) => compilePattern(pattern).partial.exec(text)?.index

  test.each([
    [String.raw`\s*<tool_call>`, 'x \n<tool_call>', ' \n<tool_call>'],
    [String.raw`call:(?P<name>\w+)\{`, 'call:Größe_1{', 'call:Größe_1{'],
    [String.raw`a{2,3}?b|[^\W\d]c`, 'aab', 'aab'],
    [String.raw`a.b`, 'a\nb', 'a\nb'],
    [String.raw`[\]\-x]+\Z`, 'a]-x', ']-x'],
    [String.raw`(?:a|b(?=c))\|`, 'a|', 'a|'],
    [String.raw`<\/x\x41é>`, '</xAé>', '</xAé>'],
    ['🎉{2}', '🎉🎉', '🎉🎉'],
  ])('%s finds in %j', (pattern, text, found) => {
    expect(full(pattern, text)).toBe(found)
    // every beginning of a match could become one
    const at = text.indexOf(found)
    for (let end = at + 1; end < text.length; end++) {
      if (text.charCodeAt(end) >= 0xdc00 && text.charCodeAt(end) < 0xe000) continue
      expect(pendingAt(pattern, text.slice(0, end)), text.slice(0, end)).toBeLessThanOrEqual(at)
    }
  })

  test.each([
    [String.raw`\s*<tool_call>`, 'abc', 3],
    [String.raw`\s*<tool_call>`, 'abc <tool', 3],
    [String.raw`\s*<tool_call>`, 'abc <b', 6],
    [String.raw`(?:ab)+c`, 'xabab', 1],
    [String.raw`(?:ab)+c`, 'xabad', 5],
    [String.raw`[0-9]{3}!`, '1 12', 2],
  ])('%s after %j waits from %i on', (pattern, text, at) => expect(pendingAt(pattern, text)).toBe(at))

  test.each(['(', ')', '[a', '*', 'a**', '(?>a)', '(?i)a', '(a)\\1', 'a++', '\\q', '(?P=x)', '\\', '('.repeat(100), 'a'.repeat(5000)])(
    '%s is refused',
    (pattern) => {
      expect(() => compilePattern(pattern)).toThrow()
    },
  )
})

test.each([
  ['no object', 5],
  ['another version', { version: 2, start_anchor: 'x', fields: { content: {} } }],
  ['no anchor', { fields: { content: {} } }],
  ['two fields without a beginning', { start_anchor: 'x', fields: { content: {}, reasoning: {} } }],
  ['a parser that is none', { start_anchor: 'x', fields: { content: { content: 'yaml' } } }],
  ['a broken pattern', { start_anchor_pattern: '(', fields: { content: {} } }],
  ['unknown keys', { start_anchor: 'x', fields: { content: { colour: 1 } } }],
])('a template with %s is not used, and a user is told', (_name, responseTemplate) => {
  const found = answerFormat({ chatTemplates: { default: '<think></think>' }, modelType: '', responseTemplate })
  expect(found).toMatchObject({ format: { name: 'think' }, warning: expect.stringContaining('response_template') as string })
})

test('the template of a tokenizer goes before what its chat template shows', () => {
  const found = answerFormat({ chatTemplates: { default: '<think></think>' }, modelType: '', responseTemplate: templates['own'] })
  expect(found).toMatchObject({ format: { name: 'response_template' } })
  expect(found).not.toHaveProperty('warning')
})

describe('patterns that take for ever', () => {
  const anchor = { start_anchor: '<begin>' }
  const long = 'a'.repeat(5000)

  test.each<[string, object, string]>([
    ['loops beside loops', { content: { close_pattern: 'a*a*a*a*a*b' } }, long],
    ['an opening pattern', { thinking: { open_pattern: 'a+a*a+a*<', close: '>' }, content: {} }, long],
  ])('leave the text as content: %s', (_, fields, text) => {
    const pieces = [text.slice(0, 3000), text.slice(3000), ' and more']
    expect(read({ ...anchor, fields }, pieces, '<begin>')).toEqual({ content: `${text} and more`, reasoning: '', calls: [] })
  })

  test('in what a call holds make it content', () => {
    const calls = {
      open: '<call>',
      close: '</call>',
      content: 'xml-inline',
      content_args: { tag_pattern: 'a+a+a+a+(?P<key>b)(?P<value>c)' },
    }
    const { content, calls: found } = read({ ...anchor, fields: { tool_calls: calls, content: {} } }, [`x<call>${long}</call>y`], '<begin>')
    expect({ content, found }).toEqual({ content: `x<call>${long}</call>y`, found: [] })
  })

  test('in a prompt find no beginning', () => {
    const template = { start_anchor_pattern: 'a+a+a+a+b', fields: { content: {} } }
    expect(read(template, ['hi'], long)).toMatchObject({ content: 'hi' })
  })

  test.each(['(?:a+)+b', '(?:a|a)*b', '(?:a?b?)*c', '(?:a{1,9}){1,9}', `${'a?'.repeat(60)}b`])(
    'are refused where no bound is known: %s',
    (pattern) => {
      expect(() => compilePattern(pattern)).toThrow(/too many ways/)
    },
  )
})
