// AAC, in MP4 and Matroska files and alone: taken apart here, decoded in a process of its own, by ffmpeg where there is no decoder.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { brokenAudio, NeedsFfmpeg } from './audio-error.js'
import { aacFrameLength, adtsFrame, readAacConfig, readAdtsHeader, type AacConfig } from './aac-frames.js'
import { bareEnvironment } from './bare-environment.js'
import type { AacAnswer, AacTask } from './aac-process.js'
import type { AudioSink } from './recording.js'

/** Frames that are decoded at once: some 20 s of speech. */
const framesAtOnce = 512

/** How often frames that cannot be decoded together are tried in halves: enough to leave a few damaged ones out. */
const mostSplits = 256

/** The process, and a question at a time to it. */
class AacDecoder {
  private constructor(private readonly child: ChildProcess) {}

  /** undefined: the library is not installed, or does not run here. `onChild` learns of the process. */
  static async start(onChild: (child: ChildProcess) => void): Promise<AacDecoder | undefined> {
    const file = fileURLToPath(new URL('./aac-process.js', import.meta.url))
    const child = fork(file, {
      execArgv: ['--max-old-space-size=256'],
      env: bareEnvironment(),
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      serialization: 'advanced',
    })
    onChild(child)
    const decoder = new AacDecoder(child)
    if ((await decoder.#answer()) === 'ready') return decoder
    decoder.stop()
    return undefined
  }

  /** null: these frames cannot be decoded. */
  async decode(task: AacTask): Promise<Float32Array | null> {
    this.child.send(task)
    const answer = await this.#answer()
    if (typeof answer === 'string') throw brokenAudio('its sound cannot be decoded')
    return answer.mono
  }

  stop(): void {
    this.child.kill('SIGKILL')
  }

  /** 'missing' when the process has ended. */
  async #answer(): Promise<AacAnswer> {
    const ended = new AbortController()
    try {
      return await Promise.race([
        once(this.child, 'message', { signal: ended.signal }).then(([answer]) => answer as AacAnswer),
        once(this.child, 'exit', { signal: ended.signal }).then(() => 'missing' as const),
      ])
    } finally {
      ended.abort()
    }
  }
}

/** Decodes frames in batches; the last frame of one begins the next, because a frame is only whole together with the one before it. */
class FrameBatches {
  #frames: Uint8Array[] = []
  #overlap = 0
  #decoded = false
  #splits = mostSplits

  constructor(
    private readonly decoder: AacDecoder,
    private readonly config: AacConfig,
    private readonly sink: AudioSink,
    /** Samples that precede the recording. */
    private drop: number,
  ) {
    sink.format(config.rate, config.channels)
  }

  /** A frame with its ADTS header. */
  async push(frame: Uint8Array): Promise<void> {
    this.#frames.push(frame)
    if (this.#frames.length >= framesAtOnce) await this.#decode()
  }

  async finish(): Promise<void> {
    if (this.#frames.length > this.#overlap) await this.#decode()
    if (!this.#decoded) throw brokenAudio('its sound cannot be decoded')
  }

  async #decode(): Promise<void> {
    const frames = this.#frames
    const known = this.#overlap * aacFrameLength
    this.#frames = frames.slice(-1)
    this.#overlap = 1
    const heard = (await this.#sound(frames)).subarray(known)
    this.sink.push(heard.slice(this.drop))
    this.drop = Math.max(0, this.drop - heard.length)
  }

  /** What cannot be decoded is silence, so that what follows keeps its time. */
  async #sound(frames: Uint8Array[]): Promise<Float32Array> {
    const mono = await this.decoder.decode({ frames: Buffer.concat(frames), rate: this.config.rate })
    if (mono) {
      this.#decoded = true
      return mono
    }
    if (frames.length === 1 || this.#splits === 0) return new Float32Array(frames.length * aacFrameLength)
    this.#splits--
    const middle = frames.length >> 1
    const lead = middle > 1 ? 1 : 0
    const first = await this.#sound(frames.slice(0, middle))
    const second = (await this.#sound(frames.slice(middle - lead))).subarray(lead * aacFrameLength)
    const both = new Float32Array(first.length + second.length)
    both.set(first)
    both.set(second, first.length)
    return both
  }
}

/** Decodes the first sound track. Throws AudioError, or NeedsFfmpeg; other errors mean a broken file. */
export async function decodeAac(path: string, sink: AudioSink, onChild: (child: ChildProcess) => void): Promise<void> {
  const { ADTS, EncodedPacketSink, FilePathSource, Input, MATROSKA, MP4, QTFF } = await import('mediabunny')
  using input = new Input({ formats: [MP4, QTFF, ADTS, MATROSKA], source: new FilePathSource(path) })
  const [track] = await input.getAudioTracks()
  if (!track) throw brokenAudio('there is no sound track in it')
  if ((await track.getCodec()) !== 'aac') throw new NeedsFfmpeg('the coding of its sound track')
  const description = (await track.getDecoderConfig())?.description
  const bytes = ArrayBuffer.isView(description)
    ? new Uint8Array(description.buffer, description.byteOffset, description.byteLength)
    : undefined
  const described = bytes && readAacConfig(bytes)
  if (bytes && !described) throw new NeedsFfmpeg('this kind of AAC')
  const decoder = await AacDecoder.start(onChild)
  if (!decoder) throw new NeedsFfmpeg('AAC (m4a, mp4)', 'install ffmpeg, or on Linux the library libasound2, on the server')
  try {
    let batches: FrameBatches | undefined
    for await (const packet of new EncodedPacketSink(track).packets()) {
      // without a description the frames bring headers of their own
      const config = described ?? readAdtsHeader(packet.data)
      const frame = described ? adtsFrame(described, packet.data) : packet.data
      if (!config || !frame) continue
      // a decoder's first frames lie before the time 0
      batches ??= new FrameBatches(decoder, config, sink, Math.max(0, Math.round(-packet.timestamp * config.rate)))
      await batches.push(frame)
    }
    if (!batches) throw brokenAudio('there is no sound in it')
    await batches.finish()
  } finally {
    decoder.stop()
  }
}
