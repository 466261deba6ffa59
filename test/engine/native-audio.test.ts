// The addon's functions on sound, through JavaScript: what they give, what they refuse, and that they leave this thread alone.
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { nativeAddon } from '../../src/engine/native.js'

const fixture = (name: string) => readFileSync(new URL(`../fixtures/${name}`, import.meta.url))

function recording(name: string): Float32Array {
  const bytes = fixture(`audio/${name}`).subarray(44)
  return Float32Array.from({ length: bytes.length / 2 }, (_, i) => bytes.readInt16LE(2 * i) / 32768)
}

function tone(hertz: number, rate: number, seconds: number): Float32Array {
  return Float32Array.from({ length: rate * seconds }, (_, i) => 0.5 * Math.sin((2 * Math.PI * hertz * i) / rate))
}

const goldens = z
  .object({
    audio: z.array(
      z.object({ file: z.string(), mel: z.object({ points: z.array(z.tuple([z.number(), z.number(), z.number()])), sum: z.number() }) }),
    ),
  })
  .parse(JSON.parse(fixture('goldens/whisper-random.json').toString()))

const addon = nativeAddon()
const stretches = { threshold: 0.5, prefixPadding: 0, silenceDuration: 0.2, maxStretch: 0 }

describe('logMel', () => {
  it.each(goldens.audio.filter(({ file }) => file.endsWith('.wav')))('is that of transformers for $file', async ({ file, mel }) => {
    const values = await addon.logMel(recording(file), 80, 3000)
    expect(values).toHaveLength(80 * 3000)
    const off = mel.points.filter(([row, column, value]) => Math.abs((values[row * 3000 + column] ?? NaN) - value) > 1e-4)
    expect(off).toEqual([])
    const sum = values.reduce((total, value) => total + value, 0)
    expect(Math.abs(sum - mel.sum) / values.length).toBeLessThan(1e-5)
  })

  it('takes the samples as they are when it is called', async () => {
    const samples = tone(440, 16000, 1)
    const expected = await addon.logMel(samples, 80, 100)
    const promise = addon.logMel(samples, 80, 100)
    samples.fill(0)
    expect(await promise).toEqual(expected)
  })

  it('refuses what is no spectrogram', () => {
    const samples = new Float32Array(160)
    expect(() => void addon.logMel(samples, 0, 1)).toThrow(RangeError)
    expect(() => void addon.logMel(samples, 257, 1)).toThrow(RangeError)
    expect(() => void addon.logMel(samples, 80.5, 1)).toThrow(RangeError)
    expect(() => void addon.logMel(samples, NaN, 1)).toThrow(RangeError)
    expect(() => void addon.logMel(samples, 80, -1)).toThrow(RangeError)
    expect(() => void addon.logMel(samples, 80, 2 ** 28)).toThrow(RangeError)
    expect(() => void addon.logMel(new Float64Array(160) as unknown as Float32Array, 80, 1)).toThrow(TypeError)
    expect(() => void addon.logMel(undefined as unknown as Float32Array, 80, 1)).toThrow(TypeError)
  })
})

describe('resampling', () => {
  it.each([8000, 22050, 44100, 48000])('brings a tone from %i Hz to 16 kHz', async (rate) => {
    const out = await addon.resample(tone(1000, rate, 1), rate)
    expect(out).toHaveLength(16000)
    const expected = tone(1000, 16000, 1)
    for (let i = 200; i < 15800; i += 7) expect(out[i]).toBeCloseTo(expected[i] ?? NaN, 4)
  })

  it('is the same in chunks', async () => {
    const samples = tone(300, 44100, 1)
    const resampler = new addon.Resampler(44100)
    const parts: number[] = []
    for (let at = 0; at < samples.length; at += 1000) parts.push(...resampler.push(samples.subarray(at, at + 1000)))
    parts.push(...resampler.finish())
    expect(Float32Array.from(parts)).toEqual(await addon.resample(samples, 44100))
    expect(resampler.finish()).toHaveLength(0)
    expect(() => resampler.push(samples)).toThrow('finished')
  })

  it('refuses rates and lengths out of range', () => {
    for (const rate of [0, -1, 768001, 0.5, NaN, Infinity]) {
      expect(() => new addon.Resampler(rate)).toThrow(RangeError)
      expect(() => void addon.resample(new Float32Array(1), rate)).toThrow(RangeError)
    }
    expect(() => void addon.resample(new Float32Array(20000), 1)).toThrow(RangeError)
    expect(() => new addon.Resampler(1).push(new Float32Array(20000))).toThrow(RangeError)
    expect(() => new addon.Resampler(8000).push([1, 2] as unknown as Float32Array)).toThrow(TypeError)
    expect(() => new addon.Resampler('8000' as unknown as number)).toThrow(TypeError)
  })
})

describe('speechStretches', () => {
  it('finds the sentence, and nothing in silence or a tone', async () => {
    const [start, end, ...more] = await addon.speechStretches(recording('speech-short.wav'), stretches)
    expect(Math.abs((start ?? NaN) - 0.2)).toBeLessThan(0.1)
    expect(Math.abs((end ?? NaN) - 3.14)).toBeLessThan(0.1)
    expect(more).toEqual([])
    expect(await addon.speechStretches(recording('silence.wav'), stretches)).toHaveLength(0)
    expect(await addon.speechStretches(recording('tone.wav'), stretches)).toHaveLength(0)
  })

  it('cuts stretches that are longer than allowed', async () => {
    const found = await addon.speechStretches(recording('speech-short.wav'), { ...stretches, maxStretch: 1 })
    expect(found.length).toBeGreaterThanOrEqual(6)
    for (let i = 0; i < found.length; i += 2) expect((found[i + 1] ?? NaN) - (found[i] ?? NaN)).toBeLessThanOrEqual(1)
  })

  it('refuses options out of range', () => {
    const samples = new Float32Array(1600)
    for (const wrong of [{ threshold: 2 }, { prefixPadding: -1 }, { silenceDuration: NaN }, { maxStretch: 0.1 }]) {
      expect(() => void addon.speechStretches(samples, { ...stretches, ...wrong })).toThrow(RangeError)
    }
    expect(() => void addon.speechStretches(samples, {} as unknown as typeof stretches)).toThrow(TypeError)
  })
})
