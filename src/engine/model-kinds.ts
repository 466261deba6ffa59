// Which kind a model is, for who has one of any kind in hand.
import type { SpeechModel, SpeechModelInfo } from './speech-types.js'
import { type ModelInfo, RequestError, type TextModel } from './types.js'

/** A loaded model of any kind; `info.kind` says which. */
export type AnyModel = TextModel | SpeechModel

export type AnyModelInfo = ModelInfo | SpeechModelInfo

export const isSpeechModel = (model: AnyModel): model is SpeechModel => model.info.kind === 'speech'

export const isTextModel = (model: AnyModel): model is TextModel => model.info.kind === 'text'

/** The model as one that generates text. Throws `model_task_mismatch` with what to do instead. */
export function requireTextModel(model: AnyModel): TextModel {
  if (isTextModel(model)) return model
  throw new RequestError(
    'model_task_mismatch',
    `'${model.info.id}' transcribes speech and writes no text of its own: send it recordings with POST /v1/audio/transcriptions, or name a model for text.`,
    'model',
  )
}

/** The model as one that transcribes speech. Throws `model_task_mismatch` with what to do instead. */
export function requireSpeechModel(model: AnyModel): SpeechModel {
  if (isSpeechModel(model)) return model
  throw new RequestError(
    'model_task_mismatch',
    `'${model.info.id}' generates text and hears nothing: name a Whisper model for recordings, or send this one messages with POST /v1/chat/completions.`,
    'model',
  )
}

/** Bytes that a model takes at most beside its weights: its KV cache, or what recordings that are decoded at once take. */
export const workingBytes = (info: AnyModelInfo): number => (info.kind === 'text' ? info.kvBytes : info.maxNumSeqs * info.bytesPerSequence)
