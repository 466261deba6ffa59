// FFmpeg's demuxers and decoders for mp3, flac, ogg and matroska, compiled to WebAssembly: C code on hostile bytes can then damage no
// more than its own memory, which ends with the thread.
import { fstatSync, readSync } from 'node:fs'
import { brokenAudio, NeedsFfmpeg } from './audio-error.js'
import { mixInterleaved, mixPlanar, type AudioSink } from './recording.js'

interface Stream {
  index: number
  codecpar: number
  codec_type: number
  codec_id: number
  time_base_num: number
  time_base_den: number
}

interface Packet {
  side_data: { type: number; data: Uint8Array }[] | null
}

interface Frame {
  /** Planar formats: a channel each. */
  data: ArrayLike<number> | ArrayLike<number>[]
  format: number
  channels: number
  sample_rate: number
  nb_samples: number
}

/** What we use of libav.js (its docs/API.md). */
interface LibAV {
  readonly AVMEDIA_TYPE_AUDIO: number
  readonly AV_LOG_QUIET: number
  readonly EAGAIN: number
  readonly HEAPU8: Uint8Array
  onblockread: (name: string, position: number, length: number) => void
  ff_block_reader_dev_send(name: string, position: number, data: Uint8Array | null): Promise<void>
  mkblockreaderdev(name: string, size: number): Promise<void>
  av_log_set_level(level: number): Promise<void>
  ff_init_demuxer_file(name: string, options: { format: string }): Promise<[number, Stream[]]>
  ff_init_decoder(codec: number, options: { codecpar: number; time_base: [number, number] }): Promise<[number, number, number, number]>
  ff_read_frame_multi(format: number, packet: number, options: { limit: number }): Promise<[number, Record<number, Packet[] | undefined>]>
  ff_decode_multi(
    context: number,
    packet: number,
    frame: number,
    packets: Packet[],
    options: { fin: boolean; ignoreErrors: boolean },
  ): Promise<Frame[]>
  AVCodecParameters_extradata(parameters: number): Promise<number>
  AVCodecParameters_extradata_size(parameters: number): Promise<number>
}

/** AV_CODEC_ID_OPUS of libavcodec/codec_id.h. */
const opusCodec = 86076
/** AV_PKT_DATA_SKIP_SAMPLES of libavcodec/packet.h: begins with the number of samples to leave out, 32 bits. */
const skipSamples = 11

/** Full scale of AVSampleFormat (libavutil/samplefmt.h) 0 to 4, u8, s16, s32, flt and dbl; their planar twins follow in the same order. */
const scales = [2 ** -7, 2 ** -15, 2 ** -31, 1, 1]

/** Bytes of packets that are read at once, and of a read from the file at most. */
const readSize = 64 << 10
/** Bytes that the decoder's memory may grow to. */
const memoryLimit = 512 << 20

// its own types declare a global of a browser
const moduleName: string = '@libav.js/variant-obsolete'

/**
 * Samples at the start that the demuxer has left although they precede the recording. Matroska's counts the delay at the sample rate of
 * the track's header where the decoder's samples are always at 48 kHz; what it has asked the decoder to skip is beside the first packet.
 */
async function opusDelayLeft(libav: LibAV, stream: Stream, first: Packet | undefined): Promise<number> {
  const at = await libav.AVCodecParameters_extradata(stream.codecpar)
  if ((await libav.AVCodecParameters_extradata_size(stream.codecpar)) < 12) return 0
  const delay = libav.HEAPU8[at + 10]! | (libav.HEAPU8[at + 11]! << 8)
  const skip = first?.side_data?.find(({ type, data }) => type === skipSamples && data.length >= 4)?.data
  return Math.max(0, delay - (skip ? Buffer.from(skip).readUInt32LE(0) : 0))
}

function mix(frame: Frame, drop: number): Float32Array {
  const scale = scales[frame.format % scales.length]!
  if (Array.isArray(frame.data)) return mixPlanar(frame.data, scale, drop)
  const offset = frame.format === 0 ? Float32Array.from(frame.data as ArrayLike<number>, (value) => value - 128) : frame.data
  return mixInterleaved(offset as ArrayLike<number>, frame.channels, scale).subarray(drop)
}

/** Decodes the first sound track of the open file. Throws AudioError, or NeedsFfmpeg; other errors mean a broken file. */
export async function decodeWithLibav(file: number, demuxer: string, sink: AudioSink): Promise<void> {
  const { default: factory } = (await import(moduleName)) as { default: { LibAV(options: { noworker: boolean }): Promise<LibAV> } }
  const libav = await factory.LibAV({ noworker: true })
  await libav.av_log_set_level(libav.AV_LOG_QUIET)
  const bytes = new Uint8Array(readSize)
  libav.onblockread = (name, position, length) => {
    const count = readSync(file, bytes, 0, Math.min(length, readSize), position)
    void libav.ff_block_reader_dev_send(name, position, bytes.slice(0, count))
  }
  await libav.mkblockreaderdev('recording', fstatSync(file).size)
  const [format, streams] = await libav.ff_init_demuxer_file('recording', { format: demuxer })
  const stream = streams.find(({ codec_type }) => codec_type === libav.AVMEDIA_TYPE_AUDIO)
  if (!stream) throw brokenAudio('there is no sound track in it')
  const decoder = await libav
    .ff_init_decoder(stream.codec_id, { codecpar: stream.codecpar, time_base: [stream.time_base_num, stream.time_base_den] })
    .catch(() => undefined)
  if (!decoder) throw new NeedsFfmpeg('the coding of its sound track')
  const [, context, packet, frame] = decoder
  let drop: number | undefined
  /** One at a time: with a packet that it cannot decode, the library would forget all that came with it. */
  const decode = async (packets: Packet[], fin: boolean): Promise<void> => {
    for (const decoded of await libav.ff_decode_multi(context, packet, frame, packets, { fin, ignoreErrors: true }).catch(() => [])) {
      sink.format(decoded.sample_rate, decoded.channels)
      sink.push(mix(decoded, drop ?? 0))
      drop = Math.max(0, (drop ?? 0) - decoded.nb_samples)
    }
    if (libav.HEAPU8.length > memoryLimit) throw brokenAudio('it asks for too much memory')
  }
  for (let more = true; more;) {
    const [result, packets] = await libav.ff_read_frame_multi(format, packet, { limit: readSize })
    const ours = packets[stream.index] ?? []
    drop ??= stream.codec_id === opusCodec ? await opusDelayLeft(libav, stream, ours[0]) : 0
    for (const one of ours) await decode([one], false)
    // anything but 'there is more' is the end, of a damaged file too: what was there counts
    more = result === 0 || result === -libav.EAGAIN
  }
  await decode([], true)
}
