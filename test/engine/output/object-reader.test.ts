// Arguments read while they are written, against JSON.parse and against what was written.
import { expect, test } from 'vitest'
import { gemmaCallStart } from '../../../src/engine/output/call-gemma.js'
import type { CallReader } from '../../../src/engine/output/call-reader.js'
import { tagCallStart } from '../../../src/engine/output/call-tags.js'
import { jsonDialect, ObjectReader } from '../../../src/engine/output/object-reader.js'
import { seeded } from '../../support/random.js'

const random = seeded(5)
const pick = <T>(items: readonly T[]): T => items[random(items.length)]!

function value(depth: number): unknown {
  const kind = random(depth > 3 ? 4 : 6)
  const texts = ['', 'Oslo', 'a "b" \\ c', 'é\u{1f600}\n', '</tool_call>', '{"', '\u0007', '<|"']
  switch (kind) {
    case 0:
      return pick(texts)
    case 1:
      return pick([0, -1.5, 12, 1e21, 3e-7])
    case 2:
      return pick([true, false, null])
    case 3:
      return pick(['12', 'true', 'null', ']', '\ud83d'])
    case 4:
      return Array.from({ length: random(4) }, () => value(depth + 1))
    default:
      return object(depth + 1)
  }
}
const object = (depth = 0): Record<string, unknown> =>
  Object.fromEntries(Array.from({ length: random(4) }, () => [pick(['city', 'a b', 'ü', 'n_1', '']), value(depth)]))

/** In pieces of random lengths. */
function feed(reader: CallReader, text: string): string {
  let json = ''
  for (let at = 0; at < text.length && !reader.over;) {
    const size = 1 + random(9)
    json += reader.push(text.slice(at, at + size), false)
    at += size
  }
  return json + (reader.over ? '' : reader.push('', true))
}

const isJson = (text: string): boolean => {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

test('what JSON.parse takes is whole, and nothing else is; all of it is given out as it came', () => {
  let wholes = 0
  for (let round = 0; round < 3000; round++) {
    let text = JSON.stringify(object(), null, pick([undefined, 1]))
    // mistakes: something left out, put in or changed
    for (let faults = random(3); faults > 0; faults--) {
      const at = 1 + random(text.length)
      text = text.slice(0, at) + pick(['', '"', '\\', '}', ',', ':', '0', 'x', '\n', '[', '\\u12']) + text.slice(at + random(3))
    }
    const end = Array.from({ length: text.length + 1 }, (_, at) => at).find((at) => isJson(text.slice(0, at)))
    const reader = new ObjectReader(jsonDialect)
    const json = feed(reader, text)
    expect(reader.whole, text).toBe(end !== undefined)
    expect(json, text).toBe(end === undefined ? text : text.slice(0, end))
    if (end !== undefined) wholes++
  }
  expect(wholes).toBeGreaterThan(1000)
})

const quote = '<|"|>'
const inGemma = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map(inGemma).join(', ')}]`
  if (typeof value === 'object' && value !== null) {
    const keys = Object.entries(value).map(([key, item]) => `${/^\w+$/.test(key) ? key : quote + key + quote}:${inGemma(item)}`)
    return `{${keys.join(',')}}`
  }
  return typeof value === 'string' ? (random(2) > 0 ? quote + value + quote : JSON.stringify(value)) : String(value)
}

test('what is written in the notation of Gemma comes back, and no beginning of it passes for all', () => {
  for (let round = 0; round < 1000; round++) {
    const said = object()
    const text = `call:f${inGemma(said)}`
    const start = (): CallReader => gemmaCallStart(text)!.reader
    const body = text.slice('call:f'.length)
    expect(JSON.parse(feed(start(), body)), text).toEqual(said)
    const cut = start()
    expect(isJson(feed(cut, body.slice(0, 1 + random(body.length - 1)))), text).toBe(false)
    expect(cut.whole).toBe(false)
  }
})

test('what is written as tags comes back, and no beginning of it passes for all', () => {
  const properties = { city: { type: 'string' }, n_1: { type: ['integer', 'null'] }, ü: { type: 'object' } }
  for (let round = 0; round < 1000; round++) {
    const said = {
      city: pick(['Oslo', '\n', '\r\n\n', '"', '<', '</para', '\u{1f600}\n', '}', '']),
      n_1: pick([12, -3, null]),
      ü: object(),
    }
    const values = Object.entries(said).map(([key, item]) => {
      const text = typeof item === 'string' ? item : JSON.stringify(item)
      return `<parameter=${key}>\n${text}${pick(['\n', '\r\n'])}</parameter>\n`
    })
    const head = '<function=f>\n'
    const body = `${values.join('')}</function>`
    const start = (): CallReader => tagCallStart(head, new Map([['f', { properties }]]))!.reader
    expect(JSON.parse(feed(start(), body)), body).toEqual(said)
    const cut = start()
    expect(isJson(feed(cut, body.slice(0, random(body.length)))), body).toBe(false)
    expect(cut.whole).toBe(false)
  }
})

test('words and nesting without end are mistakes', () => {
  for (const text of [`{"a":${'1'.repeat(2000)}}`, `{"a":${'['.repeat(600)}${']'.repeat(600)}}`]) {
    const reader = new ObjectReader(jsonDialect)
    expect(reader.push(text, false)).toBe(text)
    expect(reader).toMatchObject({ broken: true, whole: false })
  }
})

test('objects around the arguments are read and not given out', () => {
  const reader = new ObjectReader(jsonDialect, 2)
  expect(reader.push('{"a":1} , "id": [3]', false)).toBe('{"a":1}')
  expect(reader).toMatchObject({ whole: true, over: false })
  expect(reader.push('}} and', false)).toBe('')
  expect(reader).toMatchObject({ over: true, rest: ' and' })
})
