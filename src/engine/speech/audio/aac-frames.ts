// AAC in MP4 files as frames of an ADTS stream (ISO 14496-3, 1.A.2 and 1.6.2.1), which decoders take without a container.

/** What an AudioSpecificConfig says of the core layer. */
export interface AacConfig {
  /** 1 Main, 2 LC, 3 SSR, 4 LTP. */
  objectType: number
  /** Index into the table of sample rates. */
  rateIndex: number
  rate: number
  /** Channel configuration, 1 to 7. */
  channels: number
}

export const aacRates = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350]

/** Samples of a frame. */
export const aacFrameLength = 1024

const spectralBandReplication = 5
const parametricStereo = 29

/**
 * Reads an AudioSpecificConfig. Of HE-AAC it tells the core, which holds the lower half of the spectrum at half the rate: all of
 * speech. undefined: not an AAC that fits into ADTS.
 */
export function readAacConfig(bytes: Uint8Array): AacConfig | undefined {
  let position = 0
  const bits = (count: number): number => {
    let value = 0
    for (let i = 0; i < count; i++, position++) value = (value << 1) | (((bytes[position >> 3] ?? 0) >> (7 - (position & 7))) & 1)
    return value
  }
  const objectTypeOf = (): number => {
    const type = bits(5)
    return type === 31 ? 32 + bits(6) : type
  }
  const rateIndexOf = (): number => {
    const index = bits(4)
    return index === 15 ? aacRates.indexOf(bits(24)) : index
  }
  let objectType = objectTypeOf()
  const rateIndex = rateIndexOf()
  const channels = bits(4)
  if (objectType === spectralBandReplication || objectType === parametricStereo) {
    rateIndexOf()
    objectType = objectTypeOf()
  }
  const shortFrames = bits(1) === 1
  const rate = aacRates[rateIndex]
  if (position > bytes.length * 8 || rate === undefined || objectType < 1 || objectType > 4 || channels < 1 || channels > 7 || shortFrames)
    return undefined
  return { objectType, rateIndex, rate, channels }
}

/** The frame with the header that says what it is; undefined: too long for one. */
export function adtsFrame({ objectType, rateIndex, channels }: AacConfig, frame: Uint8Array): Uint8Array | undefined {
  const length = frame.length + 7
  if (length >= 1 << 13) return undefined
  const bytes = new Uint8Array(length)
  bytes.set([
    0xff,
    0xf1,
    ((objectType - 1) << 6) | (rateIndex << 2) | (channels >> 2),
    ((channels & 3) << 6) | (length >> 11),
    (length >> 3) & 0xff,
    ((length & 7) << 5) | 0x1f,
    0xfc,
  ])
  bytes.set(frame, 7)
  return bytes
}

/** What an ADTS frame says of itself; undefined: none, or one that holds more than a frame of sound. */
export function readAdtsHeader(frame: Uint8Array): AacConfig | undefined {
  const [sync, layer, kind, length, , , blocks] = frame
  if (frame.length < 7 || sync !== 0xff || (layer! & 0xf6) !== 0xf0 || (blocks! & 3) !== 0) return undefined
  const rateIndex = (kind! >> 2) & 15
  const rate = aacRates[rateIndex]
  const channels = ((kind! & 1) << 2) | (length! >> 6)
  return rate === undefined || channels === 0 ? undefined : { objectType: (kind! >> 6) + 1, rateIndex, rate, channels }
}
