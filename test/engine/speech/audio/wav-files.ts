// WAV files as the tests need them, right ones and wrong ones.

export interface WavOptions {
  rate?: number
  channels?: number
  bits?: number
  /** 1 PCM, 3 float, 6 a-law, 7 mu-law. */
  tag?: number
  /** WAVE_FORMAT_EXTENSIBLE around the tag. */
  extensible?: boolean
  magic?: 'RIFF' | 'RF64'
  riffSize?: number
  dataSize?: number
  blockAlign?: number
  /** Chunks between format and samples. */
  before?: Buffer
  after?: Buffer
}

export function chunk(name: string, body: Buffer): Buffer {
  const head = Buffer.alloc(8)
  head.write(name, 'latin1')
  head.writeUInt32LE(body.length, 4)
  return Buffer.concat([head, body, Buffer.alloc(body.length & 1)])
}

export function wavFile(samples: Buffer, options: WavOptions = {}): Buffer {
  const { rate = 16_000, channels = 1, bits = 16, tag = 1, extensible = false, magic = 'RIFF' } = options
  const blockAlign = options.blockAlign ?? channels * Math.ceil(bits / 8)
  const format = Buffer.alloc(extensible ? 40 : 16)
  format.writeUInt16LE(extensible ? 0xfffe : tag, 0)
  format.writeUInt16LE(channels, 2)
  format.writeUInt32LE(rate, 4)
  format.writeUInt32LE((rate * blockAlign) % 2 ** 32, 8)
  format.writeUInt16LE(blockAlign, 12)
  format.writeUInt16LE(bits, 14)
  if (extensible) {
    format.writeUInt16LE(22, 16)
    format.writeUInt16LE(tag, 24)
    Buffer.from('000000001000800000aa00389b71', 'hex').copy(format, 26)
  }
  const data = chunk('data', samples)
  if (options.dataSize !== undefined) data.writeUInt32LE(options.dataSize, 4)
  const body = Buffer.concat([
    Buffer.from('WAVE'),
    chunk('fmt ', format),
    options.before ?? Buffer.alloc(0),
    data,
    options.after ?? Buffer.alloc(0),
  ])
  const file = chunk(magic, body)
  if (options.riffSize !== undefined) file.writeUInt32LE(options.riffSize, 4)
  return file
}

/** 16-bit samples. */
export function pcm16(values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 2)
  values.forEach((value, i) => bytes.writeInt16LE(value, i * 2))
  return bytes
}
