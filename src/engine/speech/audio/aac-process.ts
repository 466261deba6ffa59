// The process that decodes AAC. Its decoder is a native library: what hostile bytes may do to it must not end the model's process.
import { aacFrameLength } from './aac-frames.js'

/** Some ADTS frames of one recording. */
export interface AacTask {
  frames: Uint8Array
  rate: number
}

/** One channel; null: these frames cannot be decoded. 'missing': there is no decoder here. */
export type AacAnswer = { mono: Float32Array | null } | 'missing' | 'ready'

interface AudioBuffer {
  length: number
  numberOfChannels: number
  getChannelData(channel: number): Float32Array
}

type OfflineAudioContext = new (
  channels: number,
  length: number,
  rate: number,
) => { decodeAudioData(data: ArrayBuffer): Promise<AudioBuffer> }

const send = (answer: AacAnswer): void => {
  process.send?.(answer)
}

// whoever asked is gone: nobody wants the answer, however long the decoder would take
process.on('disconnect', () => process.exit(0))

// by a name that is not resolved when this is compiled: it may not be installed
const moduleName: string = 'node-web-audio-api'
const decoder = await import(moduleName).then(
  (module) => (module as { OfflineAudioContext: OfflineAudioContext }).OfflineAudioContext,
  () => undefined,
)

async function decode({ frames, rate }: AacTask): Promise<Float32Array | null> {
  // a context of the recording's own rate: nothing is resampled
  const context = new decoder!(1, aacFrameLength, rate)
  const audio = await context.decodeAudioData(new Uint8Array(frames).buffer).catch(() => undefined)
  if (!audio) return null
  const mono = new Float32Array(audio.length)
  for (let channel = 0; channel < audio.numberOfChannels; channel++) {
    const samples = audio.getChannelData(channel)
    for (let i = 0; i < mono.length; i++) mono[i]! += samples[i]! / audio.numberOfChannels
  }
  return mono
}

process.on('message', (task: AacTask) => {
  void decode(task).then(
    (mono) => send({ mono }),
    () => send({ mono: null }),
  )
})
send(decoder ? 'ready' : 'missing')
