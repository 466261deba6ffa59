/**
 * Why a recording cannot be heard. 'invalid': broken, empty, or nothing that we know as sound; 'unsupported': a format that this
 * installation has no decoder for; 'too_long': more seconds than allowed.
 */
export type AudioErrorKind = 'invalid' | 'unsupported' | 'too_long'

/** A mistake of the one who sent the recording. The message says what to do, and nothing of files and libraries. */
export class AudioError extends Error {
  override name = 'AudioError'

  constructor(
    readonly kind: AudioErrorKind,
    message: string,
  ) {
    super(message)
  }
}

export const alwaysSupported = 'wav, mp3, flac, ogg (vorbis, opus, flac) or webm'

export function brokenAudio(what: string): AudioError {
  return new AudioError('invalid', `The audio file cannot be read: ${what}. Send a recording as m4a, ${alwaysSupported}.`)
}

/** Within the thread: nothing that is always here decodes it; ffmpeg may. */
export class NeedsFfmpeg extends Error {
  /** `format`: what to call it; `remedy`: what would bring a decoder, as a continuation of 'or'. */
  constructor(
    readonly format: string,
    readonly remedy = 'install ffmpeg on the server',
  ) {
    super()
  }
}

export function noDecoder({ format, remedy }: NeedsFfmpeg): AudioError {
  return new AudioError('unsupported', `This server cannot decode ${format}. Send the recording as ${alwaysSupported}, or ${remedy}.`)
}

export function tooLong(maxSeconds: number): AudioError {
  return new AudioError('too_long', `The recording is longer than the limit of ${maxSeconds} seconds. Send it in shorter pieces.`)
}
