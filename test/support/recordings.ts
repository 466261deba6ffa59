// Recordings of the fixtures, and others made of them.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const recording = (name: string): string => fileURLToPath(new URL(`../fixtures/audio/${name}`, import.meta.url))

const headerBytes = 44
const rate = 16_000

/** 16-bit samples of a recording of the fixtures, which are of one channel at 16 kHz. */
export function samplesOf(name: string): Buffer {
  const file = readFileSync(recording(name))
  return file.subarray(file.indexOf('data') + 8)
}

/** A wav file of 16-bit samples, one channel at 16 kHz. */
export function wavOf(samples: Buffer): Buffer {
  const header = Buffer.alloc(headerBytes)
  header.write('RIFF', 0)
  header.writeUInt32LE(headerBytes - 8 + samples.length, 4)
  header.write('WAVEfmt ', 8)
  header.writeUInt32LE(16, 16)
  header.writeUInt16LE(1, 20)
  header.writeUInt16LE(1, 22)
  header.writeUInt32LE(rate, 24)
  header.writeUInt32LE(rate * 2, 28)
  header.writeUInt16LE(2, 32)
  header.writeUInt16LE(16, 34)
  header.write('data', 36)
  header.writeUInt32LE(samples.length, 40)
  return Buffer.concat([header, samples])
}

/** A recording of so many samples, with others in it at their seconds and silence between. */
export function composed(parts: readonly { file: string; at: number }[], samples: number): Buffer {
  const all = Buffer.alloc(samples * 2)
  for (const { file, at } of parts) samplesOf(file).copy(all, at * rate * 2)
  return wavOf(all)
}
