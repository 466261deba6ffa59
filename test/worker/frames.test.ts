import { describe, expect, it } from 'vitest'
import { FrameError, FrameReader, FrameWriter } from '../../src/worker/frames.js'
import { parseFrontMessage, parseOptions, parseRequest, parseWorkerMessage, toJson } from '../../src/worker/messages.js'
import { fromStepMessage, type StepRow, toStepMessage } from '../../src/worker/step-frame.js'

const messages: unknown[] = [
  { type: 'stats', seq: 7 },
  { type: 'log', level: 'info', message: 'ä'.repeat(70) + '\u{1f600}' },
  { deep: [[1, -2, 3.5, true, null, 2 ** 40]], empty: '', list: [] },
  { text: 'x'.repeat(70_000) },
  'last',
]

function stream(): Buffer {
  const writer = new FrameWriter()
  return Buffer.concat(messages.map((message) => writer.encode(message)))
}

describe('frames', () => {
  it('come back whatever the pieces are', () => {
    const bytes = stream()
    const small = bytes.subarray(0, 400)
    for (let cut = 0; cut <= small.length; cut++) {
      const reader = new FrameReader()
      expect([...reader.push(bytes.subarray(0, cut)), ...reader.push(bytes.subarray(cut))]).toEqual(messages)
      expect(reader.idle).toBe(true)
    }
    let state = 12345
    const random = (n: number): number => (state = (state * 1103515245 + 12345) & 0x7fffffff) % n
    for (let round = 0; round < 50; round++) {
      const reader = new FrameReader()
      const got: unknown[] = []
      for (let at = 0; at < bytes.length;) {
        const size = 1 + random(round < 5 ? 3 : 9000)
        got.push(...reader.push(bytes.subarray(at, at + size)))
        at += size
      }
      expect(got).toEqual(messages)
    }
  })

  it('byte by byte takes linear time', () => {
    const frame = new FrameWriter().encode(new Uint8Array(2_000_000))
    const reader = new FrameReader()
    const started = performance.now()
    let got = 0
    for (let at = 0; at < frame.length; at += 16)
      for (const message of reader.push(frame.subarray(at, at + 16))) got += (message as Uint8Array).length
    expect(got).toBe(2_000_000)
    expect(performance.now() - started).toBeLessThan(5000)
  })

  it('that are longer than allowed are refused on both sides', () => {
    expect(() => new FrameWriter(100).encode('x'.repeat(101))).toThrow(FrameError)
    const header = Buffer.alloc(4)
    header.writeUInt32LE(101)
    expect(() => [...new FrameReader(100).push(header)]).toThrow(FrameError)
    expect(() => [...new FrameReader().push(Buffer.from([0xff, 0xff, 0xff, 0xff]))]).toThrow(FrameError)
    expect(() => [...new FrameReader().push(Buffer.alloc(4))]).toThrow(FrameError)
  })

  it('a writer goes on after a message that it could not encode', () => {
    const writer = new FrameWriter(1000)
    let deep: unknown = 1
    for (let i = 0; i < 200; i++) deep = [deep]
    expect(() => writer.encode(deep)).toThrow(FrameError)
    expect(() => writer.encode('x'.repeat(2000))).toThrow(FrameError)
    expect([...new FrameReader().push(writer.encode({ a: 1 }))]).toEqual([{ a: 1 }])
  })

  it('that hold garbage are a FrameError and nothing else', () => {
    let state = 99
    const random = (n: number): number => (state = (state * 1103515245 + 12345) & 0x7fffffff) % n
    for (let round = 0; round < 2000; round++) {
      const bytes = Buffer.from(Array.from({ length: 1 + random(60) }, () => random(256)))
      const header = Buffer.alloc(4)
      header.writeUInt32LE(bytes.length)
      for (const parse of [parseFrontMessage, parseWorkerMessage]) {
        try {
          for (const message of new FrameReader().push(Buffer.concat([header, bytes]))) parse(message)
        } catch (error) {
          expect(error).toBeInstanceOf(FrameError)
        }
      }
    }
  })

  it('keep difficult strings', () => {
    const writer = new FrameWriter()
    for (const text of ['\ud800', 'a\udc00b', '\ud83d'.repeat(60), '\u{1f600}'.repeat(300), '\0\r\n\u2028', 'é'.repeat(40) + '\ud800']) {
      const [back] = [...new FrameReader().push(writer.encode(text))]
      expect((back as string).toWellFormed()).toBe(text.toWellFormed())
    }
  })
})

describe('messages', () => {
  it('are checked in both directions', () => {
    expect(parseFrontMessage({ type: 'abort', id: 3 })).toEqual({ type: 'abort', id: 3 })
    for (const bad of [
      null,
      1,
      [],
      {},
      { type: 'abort' },
      { type: 'abort', id: '3' },
      { type: 'abort', id: 0 },
      { type: 'step' },
      { type: 'submit', id: 1 },
    ]) {
      expect(() => parseFrontMessage(bad)).toThrow(FrameError)
    }
    for (const bad of [
      null,
      'x',
      {},
      { type: 'accepted', id: 1 },
      { type: 'rejected', id: 1, code: 'other', message: '', param: null },
      { type: 'step' },
    ]) {
      expect(() => parseWorkerMessage(bad)).toThrow(FrameError)
    }
  })

  it('a request keeps what users wrote, __proto__ and lone surrogates included', () => {
    const request = parseRequest(
      Buffer.from(
        '{"input":{"kind":"chat","messages":[{"role":"user","content":"\\ud800","__proto__":{"x":1}}],"tools":[{"__proto__":1}]},"params":{}}',
      ),
    )
    expect(JSON.stringify(request)).toContain('"__proto__":{"x":1}')
    expect(Object.getPrototypeOf(request.input)).toBe(Object.prototype)
    for (const bad of [
      '',
      '{',
      '[]',
      '{"input":{"kind":"chat"},"params":{}}',
      '{"input":{"kind":"text","text":"x"}}',
      '{"input":{"kind":"text","text":"x"},"params":{},"n":0}',
    ]) {
      expect(() => parseRequest(Buffer.from(bad))).toThrow(FrameError)
    }
    expect(() => parseOptions(Buffer.from('{}'))).toThrow(FrameError)
    expect(parseOptions(toJson({ path: 'x', threads: 2 }))).toEqual({ path: 'x', threads: 2 })
  })
})

describe('step frames', () => {
  const rows: StepRow[] = [
    { id: 1, delta: { choice: 0, text: 'a', tokens: [5], promptTokens: 3, cachedTokens: 0, outputTokens: 1 } },
    {
      id: 2,
      delta: {
        choice: 1,
        text: '',
        tokens: [6, 7],
        logprobs: [{ token: 'x', logprob: -0.5, bytes: [120], top_logprobs: [{ token: 'y', logprob: -1, bytes: [121] }] }],
        promptLogprobs: [null, { token: 'z', logprob: -2, bytes: [122], top_logprobs: [] }],
        finishReason: 'length',
        promptTokens: 9,
        cachedTokens: 8,
        outputTokens: 2,
      },
    },
    {
      id: 2,
      delta: {
        choice: 0,
        text: '',
        tokens: [],
        finishReason: 'error',
        error: { code: 'engine_error', message: 'm' },
        promptTokens: 9,
        cachedTokens: 8,
        outputTokens: 0,
      },
    },
  ]

  it('carry rows there and back', () => {
    const [message] = [...new FrameReader().push(new FrameWriter().encode(toStepMessage(rows)))]
    expect(fromStepMessage(message as Record<string, unknown>)).toEqual(rows)
  })

  it('keep texts apart, whatever they end in, and numbers up to their bounds', () => {
    const difficult = ['\ud83d', '\ude00', '\ufeff', '', '\u{1f600}'.repeat(100), 'é\ud800', '\0', 'x'.repeat(70_000)]
    const many = difficult.map((text, i): StepRow => {
      const numbers = { promptTokens: 2 ** 32 - 1, cachedTokens: i, outputTokens: 2 ** 31 }
      return { id: 2 ** 40 + i, delta: { choice: i, text, tokens: [2 ** 32 - 1, i].slice(i % 3), ...numbers } }
    })
    const [message] = [...new FrameReader().push(new FrameWriter().encode(toStepMessage(many)))]
    const back = fromStepMessage(message as Record<string, unknown>)
    expect(back).toEqual(many.map(({ id, delta }) => ({ id, delta: { ...delta, text: delta.text.toWellFormed() } })))
    expect(fromStepMessage({ ...toStepMessage([]) })).toEqual([])
  })

  it('with a part that does not fit are refused', () => {
    const step = toStepMessage(rows)
    for (const change of [
      { records: 3 },
      { records: undefined },
      { records: new Uint8Array(35) },
      { records: new Uint8Array(36) },
      { records: Buffer.from(step.records).fill(255, 0, 8) },
      { records: Buffer.from(step.records).fill(6, 12, 13) },
      { records: Buffer.from(step.records).fill(255, 28, 32) },
      { records: Buffer.from(step.records).fill(255, 32, 36) },
      { tokens: new Uint8Array(8) },
      { tokens: new Uint8Array(13) },
      { tokens: new Uint8Array(16) },
      { tokens: [1, 2, 3] },
      { text: 'a' },
      { text: new Uint8Array(0) },
      { text: new Uint8Array(2) },
      { logprobs: [[3, []]] },
      { logprobs: [[0, 'x']] },
      { errors: [[0, 1, 2]] },
      { errors: [7] },
    ]) {
      expect(() => fromStepMessage({ ...step, ...change }), JSON.stringify(change)).toThrow(FrameError)
    }
  })
})
