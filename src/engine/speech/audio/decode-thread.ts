// The thread that decodes one recording. It ends with it, so that whatever a file does to a decoder is gone afterwards.
import type { ChildProcess } from 'node:child_process'
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { AudioError, brokenAudio, NeedsFfmpeg, noDecoder, type AudioErrorKind } from './audio-error.js'
import { decodeAac } from './aac.js'
import { containerOf, id3Length, sniffedBytes, type Container } from './container.js'
import { decodeWithFfmpeg, findFfmpeg } from './ffmpeg.js'
import { decodeWithLibav } from './libav.js'
import { Recording } from './recording.js'
import { UnknownWavCoding, WavStream } from './wav-stream.js'

export interface DecodeTask {
  path: string
  maxSeconds: number
}

/** `seconds`: so much is decoded; `child`: a process that is to end with the thread, unless `childEnded` says that it has. */
export type DecodeNews =
  | { seconds: number }
  | { child: number }
  | { childEnded: number }
  | { samples: Float32Array<ArrayBuffer> }
  | { kind: AudioErrorKind; message: string }

/** Seconds of recording between two reports. */
const reportEvery = 5
const readSize = 256 << 10

const tell = (news: DecodeNews, transfer: ArrayBuffer[] = []): void => parentPort?.postMessage(news, transfer)

function onChild(child: ChildProcess): void {
  const { pid } = child
  if (pid === undefined) return
  tell({ child: pid })
  // from then on the number may be that of another process
  child.once('exit', () => tell({ childEnded: pid }))
}

function sniff(file: number): Container | undefined {
  const bytes = Buffer.alloc(sniffedBytes)
  const length = readSync(file, bytes, 0, sniffedBytes, 0)
  if (length === 0) throw brokenAudio('it is empty')
  const tag = id3Length(bytes.subarray(0, length))
  if (tag === 0) return containerOf(bytes.subarray(0, length))
  const after = readSync(file, bytes, 0, sniffedBytes, tag)
  // what follows a tag need not begin with a whole frame
  return containerOf(bytes.subarray(0, after)) ?? { by: 'libav', demuxer: 'mp3' }
}

function decodeWav(file: number, recording: Recording): void {
  const wav = new WavStream(recording)
  const bytes = new Uint8Array(readSize)
  for (let position = 0; !wav.done;) {
    const length = readSync(file, bytes, 0, readSize, position)
    if (length === 0) break
    wav.push(bytes.subarray(0, length))
    position += length
  }
  wav.finish()
}

async function decodeBy(container: Container, file: number, path: string, recording: Recording): Promise<void> {
  switch (container.by) {
    case 'wav':
      try {
        return decodeWav(file, recording)
      } catch (error) {
        throw error instanceof UnknownWavCoding ? new NeedsFfmpeg('the coding of this wav file') : error
      }
    case 'libav':
      try {
        return await decodeWithLibav(file, container.demuxer, recording)
      } catch (error) {
        if (error instanceof NeedsFfmpeg && container.demuxer === 'matroska') return decodeAac(path, recording, onChild)
        throw error
      }
    case 'aac':
      return decodeAac(path, recording, onChild)
    case 'ffmpeg':
      throw new NeedsFfmpeg(container.name)
  }
}

async function decode({ path, maxSeconds }: DecodeTask): Promise<Float32Array<ArrayBuffer>> {
  let reported = 0
  const recording = new Recording(maxSeconds, (seconds) => {
    if (seconds < reported + reportEvery) return
    reported = seconds
    tell({ seconds })
  })
  // a pipe in the file's place would let the thread wait for ever
  const file = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
  try {
    if (!fstatSync(file).isFile()) throw brokenAudio('it is no file')
    const container = sniff(file)
    if (!container) throw brokenAudio('its format is not known')
    try {
      await decodeBy(container, file, path, recording)
    } catch (error) {
      if (!(error instanceof NeedsFfmpeg)) throw error
      const ffmpeg = findFfmpeg()
      if (!ffmpeg) throw noDecoder(error)
      await decodeWithFfmpeg(ffmpeg, path, container.by === 'wav' ? 'wav' : container.demuxer, recording, onChild)
    }
    return recording.finish()
  } finally {
    closeSync(file)
  }
}

try {
  const samples = await decode(workerData as DecodeTask)
  tell({ samples }, [samples.buffer])
} catch (error) {
  const { kind, message } = error instanceof AudioError ? error : brokenAudio('it is damaged')
  tell({ kind, message })
}
