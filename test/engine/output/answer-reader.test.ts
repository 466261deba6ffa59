import { expect, test } from 'vitest'
import { AnswerReader, newCallId } from '../../../src/engine/output/answer-reader.js'
import { taggedFormat } from '../../../src/engine/output/tagged-format.js'
import type { FinishReason, GenerationDelta } from '../../../src/engine/types.js'

const call = '<tool_call>{"name":"f","arguments":{"a":1}}</tool_call>'
const delta = (text: string, outputTokens: number, finishReason?: FinishReason): GenerationDelta => ({
  choice: 0,
  text,
  tokens: [outputTokens],
  promptTokens: 1,
  cachedTokens: 0,
  outputTokens,
  ...(finishReason && { finishReason }),
})

function read(texts: string[], finishReason: FinishReason, maxCalls = Infinity) {
  let ids = 0
  const parser = taggedFormat.parser('', { tools: new Map(), readCalls: true, maxCalls })
  const reader = new AnswerReader(parser, () => `id${ids++}`)
  const deltas = texts.map((text, i) => reader.read(delta(text, i + 1, i === texts.length - 1 ? finishReason : undefined)))
  return { reader, deltas, last: deltas.at(-1)! }
}

test('calls get ids and indices, and the answer ends for their sake', () => {
  const { deltas, last } = read(['Hi ', call, call, ''], 'stop')
  expect(deltas.flatMap(({ toolCalls }) => toolCalls ?? [])).toEqual([
    { index: 0, id: 'id0', name: 'f', arguments: '{"a":1}' },
    { index: 1, id: 'id1', name: 'f', arguments: '{"a":1}' },
  ])
  const parts = read(['<tool_call>{"name":"f","arguments":{', '"a"', ':1}}', `</tool_call>${call.slice(0, -15)}`, '1}'], 'stop').deltas
  expect(parts.map(({ toolCalls }) => toolCalls)).toEqual([
    [{ index: 0, id: 'id0', name: 'f', arguments: '{' }],
    [{ index: 0, arguments: '"a"' }],
    [{ index: 0, arguments: ':1}' }],
    [{ index: 1, id: 'id1', name: 'f', arguments: '{"a":' }],
    [{ index: 1, arguments: '1}' }],
  ])
  expect(last.finishReason).toBe('tool_calls')
  expect(deltas.map(({ text }) => text).join('')).toBe('Hi')
})

test('ids cannot be guessed', () => {
  expect(newCallId()).toMatch(/^call_[0-9a-f]{24}$/)
  expect(newCallId()).not.toBe(newCallId())
})

test('reasoning is counted in tokens, its markers among them', () => {
  const { deltas, last } = read(['<think>', 'a', ' b', '</think>', 'x', 'y'], 'stop')
  expect(deltas.map(({ reasoningTokens }) => reasoningTokens)).toEqual([1, 2, 3, 4, undefined, undefined])
  expect(deltas.map(({ reasoning }) => reasoning)).toEqual([undefined, 'a', ' b', undefined, undefined, undefined])
  expect(last).toMatchObject({ text: 'y', finishReason: 'stop', tokens: [6] })
})

test.each<[string, string[], FinishReason, FinishReason]>([
  ['cut off behind a whole call', [call], 'length', 'tool_calls'],
  ['cut off within the second call', [call, call.slice(0, 30)], 'length', 'length'],
  ['cut off in the text behind a call', [call, 'and'], 'length', 'length'],
  ['a call without its end', [call.slice(0, -12)], 'stop', 'tool_calls'],
  ['cut off in the arguments of the only call', [call.slice(0, 39)], 'length', 'length'],
  ['cut off behind the arguments', [call.slice(0, -13)], 'length', 'tool_calls'],
  ['broken arguments', [call.replace('"a"', 'a')], 'stop', 'tool_calls'],
  ['broken arguments, cut off', [call.replace('"a"', 'a')], 'length', 'length'],
  ['a broken call', [call.replace('{', '')], 'stop', 'stop'],
  ['no call', ['x'], 'stop', 'stop'],
  ['aborted', [call, ''], 'abort', 'abort'],
])('%s', (_name, texts, finishReason, expected) => {
  expect(read(texts, finishReason).last.finishReason).toBe(expected)
})

test('one call is enough: the answer ends with it, whatever the model goes on to say', () => {
  const { reader, deltas } = read(['A', `${call}${call}`], 'stop', 1)
  expect(deltas[1]).toMatchObject({ finishReason: 'tool_calls', toolCalls: [{ index: 0 }] })
  expect(deltas[1]!.toolCalls).toHaveLength(1)
  const unended = new AnswerReader(taggedFormat.parser('', { tools: new Map(), readCalls: true, maxCalls: 1 }))
  expect(unended.read(delta(call.slice(0, 39), 1))).not.toHaveProperty('finishReason')
  expect(unended.done).toBe(false)
  const early = new AnswerReader(taggedFormat.parser('', { tools: new Map(), readCalls: true, maxCalls: 1 }))
  expect(early.read(delta(call, 1))).toMatchObject({ finishReason: 'tool_calls', toolCalls: [{ index: 0 }] })
  expect(early.done).toBe(true)
  expect(reader.done).toBe(false)
})
