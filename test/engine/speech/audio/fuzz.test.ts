// Damaged recordings: the answer is sound or an AudioError, never a crash, a hang or numbers that are none.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { AudioError } from '../../../../src/engine/speech/audio/audio-error.js'
import { decodeAudioFile } from '../../../../src/engine/speech/audio/decode-audio.js'

const folder = mkdtempSync(join(tmpdir(), 'tfserve-audio-fuzz-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** Numbers that look random and are the same each time; from 0 to n - 1. */
function numbers(seed: number): (n: number) => number {
  let state = seed
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * n)
  }
}

/** Headers are hit as often as all the rest. */
function damaged(file: Buffer, next: (n: number) => number): Buffer {
  let bytes = Buffer.from(file)
  for (let i = next(8); i >= 0; i--) {
    const at = next(next(2) === 0 ? Math.min(600, bytes.length) : bytes.length)
    const kind = next(12)
    if (kind < 4) bytes[at] = next(256)
    else if (kind < 6) bytes[at]! ^= 1 << next(8)
    else if (kind < 9 && at + 4 <= bytes.length) bytes.writeUInt32BE([0, 1, 0x7fffffff, 0x80000000, 0xffffffff][next(5)]!, at)
    else if (kind < 11) bytes.copy(bytes, at, next(bytes.length), at + next(64))
    else bytes = Buffer.concat([bytes.subarray(0, at + 1), bytes.subarray(next(bytes.length))])
  }
  return bytes
}

test.each(['wav', 'mp3', 'flac', 'ogg', 'webm', 'm4a'])('%s', { timeout: 300_000 }, async (type) => {
  const next = numbers(type.length * 1000 + type.charCodeAt(0))
  const file = readFileSync(fileURLToPath(new URL(`../../../fixtures/audio/speech-short.${type}`, import.meta.url)))
  const outcomes = await Promise.all(
    Array.from({ length: 24 }, async (_, i) => {
      const path = join(folder, `${type}-${i}`)
      writeFileSync(path, damaged(file, next))
      return decodeAudioFile({ path }, { maxSeconds: 60 }).catch((error: unknown) => error)
    }),
  )
  for (const outcome of outcomes) {
    if (outcome instanceof Float32Array) expect(outcome.every(Number.isFinite)).toBe(true)
    else expect(outcome).toBeInstanceOf(AudioError)
  }
  expect(outcomes.some((outcome) => outcome instanceof Float32Array)).toBe(true)
})
