import type { SpeechModel, TranscribeRequest } from '../../src/engine/speech-types.js'
import type { RequestError } from '../../src/engine/types.js'
import type { LocalModel } from '../../src/worker/message-loop.js'

export function scriptedSpeech(
  error: typeof RequestError,
): LocalModel & SpeechModel & { readonly open: Set<unknown>; readonly requests: TranscribeRequest[]; readonly closed: boolean }
