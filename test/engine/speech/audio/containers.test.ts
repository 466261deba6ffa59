// Containers put together from the packets of the fixtures: several tracks, none, and codings that do not belong there.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  AdtsOutputFormat,
  ALL_FORMATS,
  BufferTarget,
  EncodedAudioPacketSource,
  EncodedPacket,
  EncodedPacketSink,
  EncodedVideoPacketSource,
  FilePathSource,
  Input,
  MkvOutputFormat,
  Mp4OutputFormat,
  Output,
  type OutputFormat,
} from 'mediabunny'
import { afterAll, expect, test } from 'vitest'
import { decodeAudioFile } from '../../../../src/engine/speech/audio/decode-audio.js'

const folder = mkdtempSync(join(tmpdir(), 'tfserve-containers-'))
afterAll(() => rmSync(folder, { recursive: true }))
const fixture = (name: string): string => fileURLToPath(new URL(`../../../fixtures/audio/${name}`, import.meta.url))
const decode = (path: string) => decodeAudioFile({ path }, { maxSeconds: 60 })

/** A file with the sound tracks of these ones, each cut to so many packets; with `video`, a picture before them. */
async function put(format: OutputFormat, tracks: [name: string, packets: number][], video = false): Promise<string> {
  const output = new Output({ format, target: new BufferTarget() })
  const picture = video ? new EncodedVideoPacketSource('vp8') : undefined
  if (picture) output.addVideoTrack(picture)
  const sources = await Promise.all(
    tracks.map(async ([name, packets]) => {
      const track = (await new Input({ formats: ALL_FORMATS, source: new FilePathSource(fixture(name)) }).getPrimaryAudioTrack())!
      const source = new EncodedAudioPacketSource((await track.getCodec())!)
      return { track, source, packets }
    }),
  )
  for (const { source } of sources) output.addAudioTrack(source)
  await output.start()
  if (picture) {
    const decoderConfig = { codec: 'vp8', codedWidth: 16, codedHeight: 16 }
    await picture.add(new EncodedPacket(new Uint8Array([0x10, 2, 0, 0x9d, 1, 0x2a, 16, 0, 16, 0]), 'key', 0, 1), { decoderConfig })
    picture.close()
  }
  for (const { track, source, packets } of sources) {
    const decoderConfig = (await track.getDecoderConfig())!
    let left = packets
    for await (const packet of new EncodedPacketSink(track).packets()) {
      if (packet.timestamp < 0) continue
      if (left-- === 0) break
      await source.add(packet, { decoderConfig })
    }
    source.close()
  }
  await output.finalize()
  const path = join(folder, `${Math.random()}`)
  writeFileSync(path, new Uint8Array((output.target as BufferTarget).buffer!))
  return path
}

const frame = 1024

test('of several sound tracks the first, behind a picture too', async () => {
  const tracks: [string, number][] = [['speech-short.m4a', 10], ['speech-short.m4a', 20]] // prettier-ignore
  expect(await decode(await put(new Mp4OutputFormat(), tracks))).toHaveLength(10 * frame)
  expect(await decode(await put(new MkvOutputFormat(), [['speech-short.flac', 2], ['speech-short.ogg', 5]], true))).toHaveLength(2 * 1152) // prettier-ignore
})

test('AAC in ADTS, in Matroska and in fragments', async () => {
  const tracks: [string, number][] = [['speech-short.m4a', 30]]
  const whole = await decode(await put(new Mp4OutputFormat(), tracks))
  expect(whole).toHaveLength(30 * frame)
  for (const format of [new AdtsOutputFormat(), new MkvOutputFormat(), new Mp4OutputFormat({ fastStart: 'fragmented' })]) {
    expect(await decode(await put(format, tracks))).toEqual(whole)
  }
})

test('frames decoded apart are frames decoded together', async () => {
  // more than are decoded at once: what lies beyond must be as it is alone, but for noise that the coder makes up
  const long = await put(new AdtsOutputFormat(), [['speech-short.m4a', 57]])
  const once = readFileSync(long)
  const path = join(folder, 'repeated')
  writeFileSync(path, Buffer.concat(Array.from({ length: 16 }, () => once)))
  const samples = await decode(path)
  expect(samples).toHaveLength(16 * 57 * frame)
  const period = 57 * frame
  for (let at = 10 * frame; at < period; at++) {
    expect(Math.abs(samples[8 * period + at]! - samples[at]!), `sample ${at}`).toBeLessThan(0.02)
  }
})

test('a picture without sound', async () => {
  for (const format of [new MkvOutputFormat()]) {
    await expect(decode(await put(format, [], true))).rejects.toMatchObject({
      kind: 'invalid',
      message: expect.stringMatching(/no sound track/) as string,
    })
  }
})

test('an mp4 with another coding is for ffmpeg', async () => {
  const before = process.env['PATH']
  process.env['PATH'] = ''
  try {
    await expect(decode(await put(new Mp4OutputFormat(), [['speech-short.mp3', 10]]))).rejects.toMatchObject({ kind: 'unsupported' })
  } finally {
    process.env['PATH'] = before
  }
})
