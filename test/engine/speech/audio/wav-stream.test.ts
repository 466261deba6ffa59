import { describe, expect, test } from 'vitest'
import { WavStream, UnknownWavCoding } from '../../../../src/engine/speech/audio/wav-stream.js'
import { chunk, pcm16, wavFile, type WavOptions } from './wav-files.js'

/** What the reader makes of a file that arrives in pieces of this size. */
function read(file: Buffer, pieces = file.length): { formats: [number, number][]; samples: number[] } {
  const formats: [number, number][] = []
  const samples: number[] = []
  const wav = new WavStream({ format: (rate, channels) => void formats.push([rate, channels]), push: (mono) => void samples.push(...mono) })
  for (let at = 0; at < file.length; at += pieces) wav.push(Uint8Array.from(file.subarray(at, at + pieces)))
  wav.finish()
  return { formats, samples }
}

const values = [0, 1, -1, 32767, -32768, 12345, -321, 7]
const expected = values.map((value) => value / 32768)

describe('samples of all widths', () => {
  const bytes = (width: number, write: (buffer: Buffer, value: number, at: number) => void, of = values): Buffer => {
    const buffer = Buffer.alloc(of.length * width)
    of.forEach((value, i) => write(buffer, value, i * width))
    return buffer
  }
  const cases: [string, Buffer, WavOptions, number[]][] = [
    ['8 bits', Buffer.from([0, 128, 255, 64]), { bits: 8 }, [-1, 0, 127 / 128, -0.5]],
    ['16 bits', pcm16(values), {}, expected],
    ['24 bits', bytes(3, (b, v, at) => b.writeIntLE(v * 256, at, 3)), { bits: 24 }, expected],
    ['32 bits', bytes(4, (b, v, at) => b.writeInt32LE(v * 65536, at)), { bits: 32 }, expected],
    ['24 bits in 32', bytes(4, (b, v, at) => b.writeInt32LE(v * 65536, at)), { bits: 24, blockAlign: 4, extensible: true }, expected],
    ['float', bytes(4, (b, v, at) => b.writeFloatLE(v / 32768, at)), { bits: 32, tag: 3 }, expected],
    ['double', bytes(8, (b, v, at) => b.writeDoubleLE(v / 32768, at)), { bits: 64, tag: 3, extensible: true }, expected],
  ]
  test.each(cases)('%s', (_, samples, options, wanted) => {
    expect(read(wavFile(samples, options)).samples).toEqual(wanted)
  })

  // G.711, tables 1a and 2a: first and last code of both signs, and the smallest steps
  test('a-law and mu-law', () => {
    const alaw = read(wavFile(Buffer.from([0xd5, 0x55, 0xaa, 0x2a]), { bits: 8, tag: 6 })).samples
    expect(alaw.map((value) => value * 32768)).toEqual([8, -8, 32256, -32256])
    const mulaw = read(wavFile(Buffer.from([0xff, 0x7f, 0x80, 0x00, 0xfe]), { bits: 8, tag: 7 })).samples
    expect(mulaw.map((value) => value * 32768)).toEqual([0, 0, 32124, -32124, 8])
  })
})

test('channels become their mean', () => {
  expect(read(wavFile(pcm16([100, 300, -32768, 32767, 1, 2]), { channels: 2 })).samples).toEqual([200 / 32768, -0.5 / 32768, 1.5 / 32768])
  expect(read(wavFile(pcm16([3, 6, 9, 12, 15, 18]), { channels: 6 })).samples).toEqual([Math.fround(10.5 / 32768)])
})

test('pieces of any size give the same', () => {
  const file = wavFile(pcm16([...values, ...values]), {
    channels: 2,
    before: chunk('LIST', Buffer.from('INFOodd')),
    after: chunk('id3 ', Buffer.alloc(9)),
  })
  const whole = read(file)
  expect(whole.samples).toHaveLength(8)
  for (let size = 1; size <= 64; size++) expect(read(file, size)).toEqual(whole)
})

describe('sizes in the header', () => {
  const samples = pcm16(values)
  test.each([
    ['of a stream: all ones', { dataSize: 0xffffffff, riffSize: 0xffffffff }],
    ['of a stream: zero', { dataSize: 0, riffSize: 0 }],
    ['of a stream that was never ended', { dataSize: 0, riffSize: 36 }],
    ['4 GiB', { dataSize: 0xfffffff0, riffSize: 0xffffffff }],
    ['of RF64', { magic: 'RF64' as const, dataSize: 0xffffffff, riffSize: 0xffffffff, before: chunk('ds64', Buffer.alloc(28)) }],
  ])('%s', (_, options) => {
    expect(read(wavFile(samples, options)).samples).toEqual(expected)
  })

  test('a file without samples has none, whatever follows', () => {
    expect(read(wavFile(Buffer.alloc(0), { after: chunk('LIST', Buffer.alloc(100, 65)) })).samples).toEqual([])
  })

  test('what follows the samples is no sound', () => {
    expect(read(wavFile(samples, { after: chunk('LIST', Buffer.alloc(100, 65)) })).samples).toEqual(expected)
  })

  test('half a sample at the end is left out', () => {
    expect(read(wavFile(samples).subarray(0, -1)).samples).toEqual(expected.slice(0, -1))
  })
})

describe('what is no recording', () => {
  test.each([
    ['no channels', wavFile(pcm16(values), { channels: 0 })],
    ['no samples of its channels', wavFile(pcm16(values), { blockAlign: 0 })],
    ['samples before their format', chunk('RIFF', Buffer.concat([Buffer.from('WAVE'), chunk('data', pcm16(values))]))],
    ['a format of 2 GiB', Buffer.concat([wavFile(pcm16(values)).subarray(0, 16), Buffer.from([0, 0, 0, 0x80]), Buffer.alloc(100)])],
    ['an end before its first sample', wavFile(pcm16(values)).subarray(0, 40)],
  ])('%s', (_, file) => {
    expect(() => read(file)).toThrow(expect.objectContaining({ name: 'AudioError', kind: 'invalid' }))
  })

  test('another coding', () => {
    expect(() => read(wavFile(Buffer.alloc(64), { tag: 2, bits: 4, blockAlign: 32 }))).toThrow(UnknownWavCoding)
  })
})
