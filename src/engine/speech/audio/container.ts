// What a file is by its first bytes: names and content types that clients send are not believed.

/** How a recording is decoded: by our own reader, by FFmpeg in WebAssembly, as AAC, or by ffmpeg on this machine alone. */
export type Container =
  | { by: 'wav' }
  | { by: 'libav'; demuxer: 'mp3' | 'flac' | 'ogg' | 'matroska' }
  | { by: 'aac'; demuxer: 'mov' | 'aac' }
  | { by: 'ffmpeg'; demuxer: string; name: string }

/** Bytes that containerOf looks at. */
export const sniffedBytes = 4096

const text = (bytes: Uint8Array, at: number, length: number): string => String.fromCharCode(...bytes.subarray(at, at + length))

/** Bytes of the ID3v2 tag that starts here; 0: there is none. */
export function id3Length(bytes: Uint8Array): number {
  if (bytes.length < 10 || text(bytes, 0, 3) !== 'ID3') return 0
  const [a, b, c, d] = bytes.subarray(6, 10) as unknown as [number, number, number, number]
  if ((a | b | c | d) & 0x80) return 0
  const footer = bytes[5]! & 0x10 ? 10 : 0
  return 10 + ((a << 21) | (b << 14) | (c << 7) | d) + footer
}

/** A header of MPEG audio, layers I to III (ISO 11172-3, 2.4.2.3), none of whose fields has a forbidden value. */
function mpegHeader(bytes: Uint8Array): boolean {
  const [a, b, c] = bytes as unknown as [number, number, number]
  return (
    bytes.length >= 4 &&
    a === 0xff &&
    (b & 0xe0) === 0xe0 &&
    (b & 0x18) !== 0x08 &&
    (b & 0x06) !== 0 &&
    c >> 4 !== 0xf &&
    (c & 0x0c) !== 0x0c
  )
}

/** What the bytes at the start of a file (or after its ID3 tag) say; undefined: nothing that we know as sound. */
export function containerOf(bytes: Uint8Array): Container | undefined {
  const magic = text(bytes, 0, 4)
  const form = text(bytes, 8, 4)
  if ((magic === 'RIFF' || magic === 'RF64' || magic === 'BW64') && form === 'WAVE') return { by: 'wav' }
  if (magic === 'fLaC') return { by: 'libav', demuxer: 'flac' }
  if (magic === 'OggS') return { by: 'libav', demuxer: 'ogg' }
  if (magic === '\x1a\x45\xdf\xa3') return { by: 'libav', demuxer: 'matroska' }
  if (text(bytes, 4, 4) === 'ftyp' || /^(moov|mdat|wide|free|skip)$/.test(text(bytes, 4, 4))) return { by: 'aac', demuxer: 'mov' }
  // ADTS has the layer bits that MPEG audio forbids
  if (bytes[0] === 0xff && (bytes[1]! & 0xf6) === 0xf0) return { by: 'aac', demuxer: 'aac' }
  if (mpegHeader(bytes)) return { by: 'libav', demuxer: 'mp3' }
  if (magic === 'FORM' && (form === 'AIFF' || form === 'AIFC')) return { by: 'ffmpeg', demuxer: 'aiff', name: 'AIFF' }
  if (magic === 'RIFF' && form === 'AVI ') return { by: 'ffmpeg', demuxer: 'avi', name: 'AVI' }
  if (magic === 'caff') return { by: 'ffmpeg', demuxer: 'caf', name: 'CAF' }
  if (magic === '.snd') return { by: 'ffmpeg', demuxer: 'au', name: 'AU' }
  if (magic === '#!AM') return { by: 'ffmpeg', demuxer: 'amr', name: 'AMR' }
  if (magic === 'wvpk') return { by: 'ffmpeg', demuxer: 'wv', name: 'WavPack' }
  if (magic === '\x30\x26\xb2\x75') return { by: 'ffmpeg', demuxer: 'asf', name: 'WMA' }
  return undefined
}
