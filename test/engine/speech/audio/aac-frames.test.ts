import { expect, test } from 'vitest'
import { adtsFrame, readAacConfig } from '../../../../src/engine/speech/audio/aac-frames.js'

/** Fields as [value, bits] one after the other. */
function packed(fields: readonly [number, number][]): Uint8Array {
  const bits = fields.map(([value, width]) => value.toString(2).padStart(width, '0')).join('')
  return Uint8Array.from(bits.match(/.{1,8}/g) ?? [], (byte) => parseInt(byte.padEnd(8, '0'), 2))
}

test('AAC-LC', () => {
  expect(readAacConfig(Uint8Array.of(0x12, 0x10))).toEqual({ objectType: 2, rateIndex: 4, rate: 44100, channels: 2 })
  // a rate that is written out, and the backward compatible extension of HE-AAC behind it
  const fields: [number, number][] = [[2, 5], [15, 4], [16000, 24], [1, 4], [0, 3], [0x2b7, 11], [5, 5], [0, 1]] // prettier-ignore
  expect(readAacConfig(packed(fields))).toEqual({ objectType: 2, rateIndex: 8, rate: 16000, channels: 1 })
})

test('of HE-AAC the core', () => {
  const he = (type: number): Uint8Array => packed([[type, 5], [7, 4], [1, 4], [4, 4], [2, 5], [0, 3]]) // prettier-ignore
  for (const type of [5, 29]) expect(readAacConfig(he(type))).toEqual({ objectType: 2, rateIndex: 7, rate: 22050, channels: 1 })
})

test.each([
  ['nothing', Uint8Array.of()],
  ['half of it', Uint8Array.of(0x12)],
  ['a rate that ADTS has no number for', packed([[2, 5], [15, 4], [12345, 24], [1, 4], [0, 3]])], // prettier-ignore
  ['a reserved rate', packed([[2, 5], [13, 4], [1, 4], [0, 3]])], // prettier-ignore
  ['channels that only the stream tells', packed([[2, 5], [4, 4], [0, 4], [0, 3]])], // prettier-ignore
  ['frames of 960', packed([[2, 5], [4, 4], [1, 4], [1, 1], [0, 2]])], // prettier-ignore
  ['xHE-AAC', packed([[31, 5], [10, 6], [4, 4], [1, 4], [0, 3]])], // prettier-ignore
])('no AAC for ADTS: %s', (_, bytes) => {
  expect(readAacConfig(bytes)).toBeUndefined()
})

test('a frame says its own length', () => {
  const config = { objectType: 2, rateIndex: 8, rate: 16000, channels: 6 }
  const frame = adtsFrame(
    config,
    Uint8Array.from({ length: 3000 }, (_, i) => i),
  )!
  const field = (at: number, width: number): number =>
    Number((BigInt(`0x${Buffer.from(frame.subarray(0, 7)).toString('hex')}`) >> BigInt(56 - at - width)) & ((1n << BigInt(width)) - 1n))
  expect([field(0, 12), field(15, 1), field(16, 2), field(18, 4), field(23, 3), field(30, 13)]).toEqual([0xfff, 1, 1, 8, 6, 3007])
  expect([...frame.subarray(7, 10)]).toEqual([0, 1, 2])
  expect(adtsFrame(config, new Uint8Array(8185))).toBeUndefined()
})
