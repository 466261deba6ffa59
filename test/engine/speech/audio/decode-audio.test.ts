import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { cp, mkdir, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { AudioDecoder, decodeAudioFile } from '../../../../src/engine/speech/audio/decode-audio.js'
import { chunk, pcm16, wavFile } from './wav-files.js'

const root = fileURLToPath(new URL('../../../../', import.meta.url))
const fixture = (name: string): string => join(root, 'test/fixtures/audio', name)
const folder = mkdtempSync(join(tmpdir(), 'tfserve-audio-'))
afterAll(() => rmSync(folder, { recursive: true }))

let files = 0
function saved(bytes: Uint8Array | string): { path: string } {
  const path = join(folder, `upload-${++files}`)
  writeFileSync(path, bytes)
  return { path }
}

const decode = (file: { path: string }, maxSeconds = 60) => decodeAudioFile(file, { maxSeconds })
const refused = (kind: string, message = /./) =>
  expect.objectContaining({ name: 'AudioError', kind, message: expect.stringMatching(message) })

const short = readFileSync(fixture('speech-short.wav'))
/** The recording that all speech-short files hold. */
const original = Float32Array.from({ length: (short.length - 44) / 2 }, (_, i) => short.readInt16LE(44 + i * 2) / 32768)

/** Signal over difference, in decibels. */
function likeness(samples: Float32Array): number {
  let signal = 0
  let noise = 0
  original.forEach((value, i) => {
    signal += value ** 2
    noise += ((samples[i] ?? 0) - value) ** 2
  })
  return 10 * Math.log10(signal / noise)
}

const sine = (rate: number, seconds: number, channels = 1): number[] =>
  Array.from({ length: rate * seconds * channels }, (_, i) =>
    Math.round(8000 * Math.sin((2 * Math.PI * 440 * Math.floor(i / channels)) / rate)),
  )

const aiff = () => saved(Buffer.concat([Buffer.from('FORM\0\0\0\x20AIFF', 'latin1'), Buffer.alloc(64)]))

async function withPath<T>(path: string, work: () => Promise<T>): Promise<T> {
  const before = process.env['PATH']
  process.env['PATH'] = path
  try {
    return await work()
  } finally {
    process.env['PATH'] = before
  }
}

describe('recordings', () => {
  test.each(['speech-short.wav', 'speech-short.flac'])('%s is what was recorded, bit for bit', async (name) => {
    expect(await decode({ path: fixture(name) })).toEqual(original)
  })

  // lengths as ffmpeg tells them; the m4a is padded to whole frames
  test.each([
    ['speech-short.mp3', 57799, 8],
    ['speech-short.ogg', 57799, 8],
    ['speech-short.webm', 57799, 8],
    ['speech-short.m4a', 58368, 30],
  ])('%s lies over it', async (name, length, decibels) => {
    const samples = await decode({ path: fixture(name) })
    expect(samples).toHaveLength(length)
    expect(likeness(samples)).toBeGreaterThan(decibels)
  })

  test('the name does not count', async () => {
    expect(await decode({ ...saved(readFileSync(fixture('speech-short.flac'))), name: 'speech.mp3' } as { path: string })).toEqual(original)
  })

  test.each([
    [8000, 1],
    [44100, 2],
    [48000, 1],
    [96000, 6],
  ])('%i Hz in %i channels becomes 16 kHz in one', async (rate, channels) => {
    const samples = await decode(saved(wavFile(pcm16(sine(rate, 1, channels)), { rate, channels })))
    expect(samples).toHaveLength(16000)
    for (let i = 200; i < 15800; i++)
      expect(Math.abs(samples[i]! - (8000 / 32768) * Math.sin((2 * Math.PI * 440 * i) / 16000))).toBeLessThan(2e-4)
  })

  test('an ID3 tag before the sound is passed over', async () => {
    const tag = Buffer.concat([Buffer.from('ID3\x04\x00\x00', 'latin1'), Buffer.from([0, 0, 0x40, 0]), Buffer.alloc(8192)])
    const mp3 = await decode({ path: fixture('speech-short.mp3') })
    const original = readFileSync(fixture('speech-short.mp3'))
    expect(await decode(saved(Buffer.concat([tag, original])))).toEqual(mp3)
  })

  test('what is not finite is silence', async () => {
    const samples = Buffer.alloc(16)
    ;[0.5, NaN, Infinity, -Infinity].forEach((value, i) => samples.writeFloatLE(value, i * 4))
    expect([...(await decode(saved(wavFile(samples, { bits: 32, tag: 3 }))))]).toEqual([0.5, 0, 0, 0])
  })

  test.each(['wav', 'mp3', 'flac', 'ogg', 'webm'])('a %s that is cut off gives what is there', async (type) => {
    const file = readFileSync(fixture(`speech-short.${type}`))
    const samples = await decode(saved(file.subarray(0, Math.floor(file.length * 0.6))))
    expect(samples.length).toBeGreaterThan(15000)
    expect(samples.length).toBeLessThan(original.length)
  })

  test.each(['mp3', 'flac', 'ogg', 'webm', 'm4a'])('damage in the middle of a %s costs what is there', async (type) => {
    const file = readFileSync(fixture(`speech-short.${type}`))
    for (const where of [0.4, 0.5, 0.6, 0.75]) {
      const bytes = Buffer.from(file)
      for (let i = 0; i < 10; i++) bytes[Math.floor(file.length * where) + i * 7]! ^= 0x5a
      expect((await decode(saved(bytes))).length, `at ${where}`).toBeGreaterThan(0.3 * original.length)
    }
  })
})

describe('what is no recording', () => {
  test.each([
    ['an empty file', '', /empty/],
    ['text', 'This is no sound at all.\n'.repeat(100), /not known/],
    ['a wav header alone that claims 4 GiB', wavFile(Buffer.alloc(0), { dataSize: 0xffffffff, riffSize: 0xffffffff }), /no sound/],
    ['a rate of 0', wavFile(pcm16([1, 2, 3]), { rate: 0 }), /sample rate/],
    ['a rate of 4 GHz', wavFile(pcm16([1, 2, 3]), { rate: 4e9 }), /sample rate/],
    ['more channels than anyone has', wavFile(pcm16(Array.from({ length: 2000 }, () => 1)), { channels: 1000 }), /channels/],
    ['flac without frames', Buffer.concat([Buffer.from('fLaC'), Buffer.alloc(100)]), /./],
    ['ogg without pages', Buffer.concat([Buffer.from('OggS'), Buffer.alloc(1000, 7)]), /./],
    [
      'an mp4 without tracks',
      Buffer.concat([Buffer.from('\0\0\0\x14ftypM4A \0\0\0\0M4A ', 'latin1'), Buffer.from('\0\0\0\x08moov', 'latin1')]),
      /./,
    ],
  ])('%s', async (_, bytes, message) => {
    await expect(decode(saved(bytes))).rejects.toEqual(refused('invalid', message))
  })

  test('a folder, and a file that is gone', async () => {
    await expect(decode({ path: folder })).rejects.toEqual(refused('invalid'))
    await expect(decode({ path: join(folder, 'gone') })).rejects.toEqual(refused('invalid'))
  })

  test('no message tells of files and libraries', async () => {
    const error = await decode(saved('x'.repeat(100))).catch((error: unknown) => error as Error)
    expect((error as Error).message).not.toMatch(/upload|tmp|libav|Error|node_modules/)
  })

  test('the next one is heard', async () => {
    await expect(decode(saved('nothing'))).rejects.toEqual(refused('invalid'))
    expect(await decode({ path: fixture('speech-short.wav') })).toEqual(original)
  })
})

describe('bounds', () => {
  test('seconds', async () => {
    const second = pcm16(sine(16000, 1))
    await expect(decode(saved(wavFile(Buffer.concat([second, second, second]))), 2)).rejects.toEqual(
      refused('too_long', /limit of 2 seconds/),
    )
    expect(await decode(saved(wavFile(Buffer.concat([second, second]))), 2)).toHaveLength(32000)
  })

  test.each(['flac', 'mp3', 'ogg', 'webm', 'm4a'])('seconds of %s', async (type) => {
    await expect(decode({ path: fixture(`speech-short.${type}`) }, 1)).rejects.toEqual(refused('too_long'))
  })

  test('seconds of a rate at which a few bytes are hours', async () => {
    const slow = (count: number) => saved(wavFile(pcm16(sine(count, 1)), { rate: 1 }))
    await expect(decode(slow(16_700))).rejects.toEqual(refused('too_long', /limit of 60 seconds/))
    expect(await decode(slow(60))).toHaveLength(60 * 16_000)
  })

  test('a decoder that hangs is ended', async () => {
    const threadFile = pathToFileURL(join(folder, 'hangs.mjs'))
    writeFileSync(threadFile, 'for (;;);')
    await expect(new AudioDecoder({ patience: 200, threadFile }).decode(saved('x'), { maxSeconds: 1 })).rejects.toEqual(
      refused('invalid', /too long/),
    )
  })

  test('as many at once as there are threads, and the rest after them', async () => {
    const decoder = new AudioDecoder({ threads: 2 })
    const all = await Promise.all(
      Array.from({ length: 6 }, () => decoder.decode({ path: fixture('speech-short.wav') }, { maxSeconds: 60 })),
    )
    for (const samples of all) expect(samples).toEqual(original)
  })
})

describe('leaving', () => {
  const hanging = (): AudioDecoder => {
    const threadFile = pathToFileURL(join(folder, 'waits.mjs'))
    writeFileSync(threadFile, 'for (;;);')
    return new AudioDecoder({ threads: 1, threadFile })
  }

  test('before the start, in line and while it runs', async () => {
    const decoder = hanging()
    const reason = new Error('left')
    await expect(decoder.decode(saved('x'), { maxSeconds: 1, signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    const first = new AbortController()
    const second = new AbortController()
    const running = decoder.decode(saved('x'), { maxSeconds: 1, signal: first.signal })
    const waiting = decoder.decode(saved('x'), { maxSeconds: 1, signal: second.signal })
    second.abort(reason)
    await expect(waiting).rejects.toBe(reason)
    first.abort(reason)
    await expect(running).rejects.toBe(reason)
    // the place is free again
    const third = new AbortController()
    const last = decoder.decode(saved('x'), { maxSeconds: 1, signal: third.signal })
    third.abort(reason)
    await expect(last).rejects.toBe(reason)
  })

  // a process of its own, as what is to be seen here would end this one
  test('in the middle of resampling the process lives on', async () => {
    const path = join(folder, 'long.wav')
    writeFileSync(path, wavFile(Buffer.alloc(0), { rate: 44_100, dataSize: 0xffffffff, riffSize: 0xffffffff }))
    truncateSync(path, 600 * 2 * 44_100)
    const module = pathToFileURL(join(root, 'dist/engine/speech/audio/decode-audio.js')).href
    const script = `
      import { AudioDecoder } from ${JSON.stringify(module)}
      let left = 0
      for (let i = 0; i < 40; i++) {
        const leaving = new AbortController()
        const onProgress = (seconds) => void (seconds > 20 * (i % 5) && setTimeout(() => leaving.abort(), Math.random() * 20))
        await new AudioDecoder().decode({ path: ${JSON.stringify(path)} }, { maxSeconds: 3600, signal: leaving.signal, onProgress }).catch(() => left++)
      }
      process.stdout.write(String(left))`
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
    expect(stdout).toBe('40')
  }, 120_000)

  test.skipIf(process.platform !== 'linux')('nothing is left of a process that decodes', async () => {
    const programs = join(folder, 'sleeps')
    await mkdir(programs)
    const told = join(folder, 'its-pid')
    writeFileSync(join(programs, 'ffmpeg'), `#!/bin/sh\necho $$ > ${told}.new\n/bin/mv ${told}.new ${told}\nexec /bin/sleep 600\n`, {
      mode: 0o755,
    })
    const leaving = new AbortController()
    const decoding = withPath(programs, () => decodeAudioFile(aiff(), { maxSeconds: 60, signal: leaving.signal }))
    await vi.waitFor(() => expect(existsSync(told)).toBe(true), 10_000)
    // the thread has told of it by then
    await sleep(500)
    leaving.abort(new Error('left'))
    await expect(decoding).rejects.toThrow('left')
    expect(existsSync(`/proc/${readFileSync(told, 'utf8').trim()}`)).toBe(false)
  })

  test('progress is told', async () => {
    const told: number[] = []
    await decodeAudioFile(saved(wavFile(pcm16(sine(16000, 21)))), { maxSeconds: 60, onProgress: (seconds) => told.push(seconds) })
    expect(told.length).toBeGreaterThan(1)
    expect(told).toEqual([...told].sort((a, b) => a - b))
  })
})

describe('where a decoder is missing', () => {
  test('the answer says what to do', async () => {
    await withPath('', () => expect(decode(aiff())).rejects.toEqual(refused('unsupported', /AIFF.*wav, mp3, flac.*ffmpeg/)))
    const adpcm = saved(wavFile(Buffer.alloc(64), { tag: 2, bits: 4, blockAlign: 32 }))
    await withPath('', () => expect(decode(adpcm)).rejects.toEqual(refused('unsupported', /wav/)))
  })

  test('of AAC too', async () => {
    // this program, and all packages but the one with that decoder
    const elsewhere = join(folder, 'elsewhere')
    await mkdir(join(elsewhere, 'node_modules'), { recursive: true })
    await cp(join(root, 'dist'), join(elsewhere, 'dist'), { recursive: true })
    await cp(join(root, 'package.json'), join(elsewhere, 'package.json'))
    for (const name of ['mediabunny', '@libav.js', 'node-gyp-build'])
      await symlink(join(root, 'node_modules', name), join(elsewhere, 'node_modules', name))
    const decoder = new AudioDecoder({ threadFile: pathToFileURL(join(elsewhere, 'dist/engine/speech/audio/decode-thread.js')) })
    const answer = withPath('', () => decoder.decode({ path: fixture('speech-short.m4a') }, { maxSeconds: 60 }))
    await expect(answer).rejects.toEqual(refused('unsupported', /AAC.*ffmpeg.*libasound2/))
    expect(await decoder.decode({ path: fixture('speech-short.flac') }, { maxSeconds: 60 })).toEqual(original)
  })

  test.skipIf(process.platform === 'win32')('ffmpeg takes its place', async () => {
    const programs = join(folder, 'programs')
    await mkdir(programs)
    const sound = saved(wavFile(pcm16([100, 200, 300]), { dataSize: 0xffffffff, riffSize: 0xffffffff }))
    const told = join(folder, 'told')
    writeFileSync(join(programs, 'ffmpeg'), `#!/bin/sh\nprintf '%s\\n' "$@" > ${told}\nexec /bin/cat ${sound.path}\n`, { mode: 0o755 })
    const file = aiff()
    expect([...(await withPath(programs, () => decode(file)))]).toEqual([100, 200, 300].map((value) => value / 32768))
    const line = readFileSync(told, 'utf8').split('\n')
    expect(line).toContain('-nostdin')
    expect(line[line.indexOf('-protocol_whitelist') + 1]).toBe('file,pipe')
    expect(line[line.indexOf('-f') + 1]).toBe('aiff')
    expect(line[line.indexOf('-i') + 1]).toBe(`file:${file.path}`)
  })

  test.skipIf(process.platform === 'win32')('an ffmpeg that writes for ever is stopped', async () => {
    const programs = join(folder, 'endless')
    await mkdir(programs)
    const sound = saved(wavFile(pcm16([1]), { dataSize: 0xffffffff, riffSize: 0xffffffff }))
    writeFileSync(join(programs, 'ffmpeg'), `#!/bin/sh\n/bin/cat ${sound.path}\nexec /bin/cat /dev/zero\n`, { mode: 0o755 })
    await withPath(programs, () => expect(decode(aiff(), 5)).rejects.toEqual(refused('too_long')))
  })
})

test('of chunks that lie the file survives', async () => {
  const list = chunk('LIST', Buffer.alloc(16))
  list.writeUInt32LE(0xfffffffe, 4)
  await expect(decode(saved(wavFile(pcm16([1, 2, 3]), { before: list })))).rejects.toEqual(refused('invalid', /first sample/))
})
