// Output that may be anything, but whose calls must fit: what the tree takes, held against what the parser reads in it.
import { describe, expect, it } from 'vitest'
import type { AllowedCalls } from '../../../src/engine/output/constraints.js'
import type { AnswerFormat } from '../../../src/engine/output/format.js'
import { gemma4Format } from '../../../src/engine/output/gemma4-format.js'
import { harmonyFormat } from '../../../src/engine/output/harmony-format.js'
import { nestedTagsFormat, taggedFormat, thinkFormat } from '../../../src/engine/output/tagged-format.js'
import { toolSchemas } from '../../../src/engine/output/tools.js'
import { gatherCalls } from '../../support/calls.js'
import { matches } from '../../support/constraint-matcher.js'

const parameters = { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'], additionalProperties: false }
const wire = ['get', 'get_all'].map((name) => ({ type: 'function', function: { name, parameters } }))
const tools = ['get', 'get_all'].map((name) => ({ name, parameters, strict: true }))

const isNumbers = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && Object.keys(value).join() === 'n' && Number.isInteger((value as { n: unknown }).n)
// tags hold single values
const judge = (schema: unknown, value: unknown): boolean =>
  (schema as { type: string }).type === 'integer' ? Number.isInteger(value) : isNumbers(value)

interface Notation {
  format: AnswerFormat
  prompt: string
  call: (name: string, n: string) => string
  /** What else stands in outputs, markers of the notation among it. */
  pieces: string[]
  reasoning: (text: string) => string
  /** Behind a call nothing follows. */
  endsWithCall?: boolean
}

const notations: Record<string, Notation> = {
  'ChatML with JSON': {
    format: taggedFormat,
    prompt: '<|im_start|>assistant\n',
    call: (name, n) => `<tool_call>\n{"name": "${name}", "arguments": {"n": ${n}}}\n</tool_call>`,
    pieces: ['<tool_call>', '</tool_call>', '<think>', '</think>', 'text', '\n', '{"name": "get"'],
    reasoning: (text) => `<think>${text}</think>`,
  },
  'ChatML with JSON, in reasoning that the template began': {
    format: taggedFormat,
    prompt: '<|im_start|>assistant\n<think>\n',
    call: (name, n) => `<tool_call>{"name": "${name}", "arguments": {"n": ${n}}}</tool_call>`,
    pieces: ['<tool_call>', '</tool_call>', '<think>', '</think>', 'text'],
    reasoning: (text) => `${text}</think>`,
  },
  'ChatML with tags': {
    format: nestedTagsFormat,
    prompt: '<|im_start|>assistant\n',
    call: (name, n) => `<tool_call>\n<function=${name}>\n<parameter=n>\n${n}\n</parameter>\n</function>\n</tool_call>`,
    pieces: ['<tool_call>', '</tool_call>', '<think>', '</think>', 'text', '<function=get>', '{"name": "get", "arguments": {"n": "x"}}'],
    reasoning: (text) => `<think>${text}</think>`,
  },
  'Gemma 4': {
    format: gemma4Format,
    prompt: '<start_of_turn>model\n',
    call: (name, n) => `<|tool_call>call:${name}{"n":${n}}<tool_call|>`,
    pieces: ['<|tool_call>', '<tool_call|>', '<|channel>thought\n', '<channel|>', 'text', '<|tool_response>', '<|tool_call>call:get{n:1}'],
    reasoning: (text) => `<|channel>thought\n${text}<channel|>`,
  },
  harmony: {
    format: harmonyFormat,
    prompt: '<|start|>assistant',
    call: (name, n) => `<|channel|>commentary to=functions.${name} <|constrain|>json<|message|>{"n": ${n}}`,
    pieces: ['<|start|>', '<|end|>', '<|message|>', '<|channel|>final', '<|call|>', 'text', ' to=', 'functions.get', '<|message|>{}'],
    reasoning: (text) => `<|channel|>analysis<|message|>${text}<|end|><|start|>assistant`,
    endsWithCall: true,
  },
}

describe.each(Object.entries(notations))('%s', (_name, { format, prompt, call, pieces, reasoning, endsWithCall = false }) => {
  const guard = (more: Partial<AllowedCalls> = {}) => format.guardCalls({ tools, many: true, ...more }, prompt)!
  const takes = (text: string, more: Partial<AllowedCalls> = {}): boolean => matches(guard(more), text, judge)
  const callsIn = (text: string): [string, unknown][] => {
    const parser = format.parser(prompt, { tools: toolSchemas(wire), readCalls: true, maxCalls: Infinity })
    const parts = [parser.push(text), parser.finish(false)].flatMap((part) => part.calls)
    return gatherCalls(parts).map(({ name, value }): [string, unknown] => [name, value])
  }

  // what ends reasoning that the template began
  const begin = prompt.endsWith('<think>\n') ? reasoning('') : ''

  it('takes text, reasoning and calls that fit, wherever they end', () => {
    const good = call('get_all', '12')
    for (const text of ['', 'text', good, `text${endsWithCall ? '' : '\n'}`, reasoning('so?'), reasoning('so?') + good, 'so'])
      expect(takes(text), text).toBe(true)
    expect(callsIn(reasoning('so?') + good)).toEqual([['get_all', { n: 12 }]])
    if (endsWithCall) return
    expect(takes(`text${good}\n${call('get', '1')} and text`)).toBe(true)
    expect(takes(begin + good, { many: false })).toBe(true)
    expect(takes(begin + good + good, { many: false })).toBe(false)
  })

  it('takes no call of another tool or with other arguments', () => {
    for (const bad of [call('get', '"x"'), call('other', '1'), call('get_', '1'), call('get', '')]) {
      expect(takes(begin + bad), bad).toBe(false)
      expect(takes(reasoning('so?') + bad), bad).toBe(false)
      expect(takes(`${reasoning('so?')}text${bad}text`), bad).toBe(false)
    }
  })

  it('lets reasoning speak of calls', () => {
    // of gpt-oss only a header can begin a call
    const words = pieces.find((piece) => /tool_call|to=/.test(piece))!
    expect(takes(reasoning(`I write ${words} now`))).toBe(true)
    expect(callsIn(reasoning(`I write ${words} now`))).toEqual([])
  })

  it('takes no output in which the parser finds a call that does not fit', () => {
    let state = 7
    const draw = (below: number): number => ((state = (state * 1103515245 + 12345) & 0x7fffffff) % 65536) % below
    const parts = [...pieces, call('get', '1'), call('get_all', '"x"'), call('other', '1'), reasoning('so?')]
    let calls = 0
    let refused = 0
    for (let round = 0; round < 1500; round++) {
      const text = Array.from({ length: 1 + draw(5) }, () => parts[draw(parts.length)]!).join('')
      const found = callsIn(text)
      const fits = found.every(([name, args]) => (name === 'get' || name === 'get_all') && isNumbers(args))
      const taken = takes(text)
      if (!fits) expect(taken, text).toBe(false)
      if (taken) calls += found.length
      if (!taken) refused++
    }
    expect(calls).toBeGreaterThan(20)
    expect(refused).toBeGreaterThan(20)
  })
})

it('is nothing for a notation without calls', () => {
  expect(thinkFormat.guardCalls({ tools, many: true }, '')).toBeUndefined()
})

it('follows the references of a parameter that is written between tags', () => {
  const $defs = { Place: { type: 'object', properties: { next: { $ref: '#/$defs/Place' } } }, Unit: { enum: ['c', 'f'] } }
  const properties = { place: { $ref: '#/$defs/Place' }, unit: { $ref: '#/$defs/Unit' } }
  const tool = { name: 'get', parameters: { type: 'object', properties, $defs }, strict: true }
  const tree = JSON.stringify(nestedTagsFormat.guardCalls({ tools: [tool], many: false }, ''))
  expect(tree).toContain(JSON.stringify({ type: 'json_schema', schema: { $ref: '#/$defs/Place', $defs } }))
  expect(tree).toContain(JSON.stringify([{ type: 'literal', text: 'c' }, { type: 'literal', text: 'f' }])) // prettier-ignore
})
