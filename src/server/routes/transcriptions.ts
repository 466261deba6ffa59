import type { TranscribeRequest } from '../../engine/speech-types.js'
import { ApiError } from '../../protocol/errors.js'
import { renderSpeechTask } from '../../protocol/transcript-formats.js'
import { speechTaskRequest, type SpeechTaskParameters } from '../../protocol/speech-task-schema.js'
import { parseTranscriptionForm, type TranscriptionDefaults } from '../../protocol/transcription-schema.js'
import type { Call } from '../call.js'
import { StreamedTranscript, WholeTranscript } from '../transcription-output.js'
import { TranscriptionSession } from '../transcription-session.js'
import { ClientGoneError } from '../transport/types.js'
import { isForm, receiveFile, receiveForm, type UploadBounds } from '../uploads/receive.js'
import type { UploadFile } from '../uploads/upload-folder.js'

// a connection that is silent for so long in the middle of its upload is given up; uWebSockets itself does so after about 10 s
const idleMs = 10_000

const defaultsOf = ({ context }: Call): TranscriptionDefaults => {
  const { speechThresholds, maxAudioSeconds } = context.options
  return { thresholds: speechThresholds, maxSeconds: maxAudioSeconds }
}

const boundsOf = ({ context }: Call): UploadBounds => ({ fileBytes: context.options.maxAudioBytes, idleMs })

/** Has an upload received and worked on; it counts among the live calls from its first byte. What fails before there is a session is counted here. */
async function withUpload(call: Call, start: (stop: AbortController) => Promise<TranscriptionSession>): Promise<void> {
  const { chats, metrics } = call.context
  const stop = new AbortController()
  const live = { tick: () => undefined, shutDown: () => stop.abort(new ApiError('shutting_down')) }
  chats.add(live)
  try {
    const session = await start(stop).catch((error: unknown) => {
      metrics.speech.ended(error instanceof ClientGoneError ? 'client_gone' : 'refused')
      throw error
    })
    // it takes this call's place before it is given up
    if (stop.signal.aborted) session.shutDown()
    const done = session.run()
    chats.delete(live)
    await done
  } finally {
    chats.delete(live)
  }
}

async function transcribe(call: Call, task: NonNullable<TranscribeRequest['task']>): Promise<void> {
  const { context, exchange } = call
  if (!isForm(exchange)) {
    throw new ApiError('unsupported_media_type', 'The request body must be multipart/form-data, with the recording in the part `file`.')
  }
  await withUpload(call, async (stop) => {
    const { fields, file } = await receiveForm(exchange, context.uploads, boundsOf(call), stop)
    try {
      const { allowUnknownFields } = context.options
      const request = parseTranscriptionForm(fields, task, defaultsOf(call), { allowUnknownFields })
      if (!file) throw new ApiError('invalid_request', 'Missing `file`: send the recording as a part with a file name.', 'file')
      return new TranscriptionSession(call, request, file.content, file.name, (flow) =>
        request.stream ? new StreamedTranscript(call, request, flow) : WholeTranscript.of(call, request),
      )
    } catch (error) {
      await file?.content.remove()
      throw error
    }
  })
}

/** POST /v1/audio/transcriptions */
export function transcriptions(call: Call): Promise<void> {
  return transcribe(call, 'transcribe')
}

/** POST /v1/audio/translations: into English. */
export function translations(call: Call): Promise<void> {
  return transcribe(call, 'translate')
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void> {
  yield await Promise.resolve(bytes)
}

/** The recording of a JSON body, and what is asked of it. */
async function taskUpload(call: Call): Promise<{ file: UploadFile; parameters: SpeechTaskParameters }> {
  const { parser, uploads } = call.context
  const { audio, parameters } = await call.readJsonBody((body) => parser.parse('speechTask', body))
  const file = uploads.add()
  try {
    await file.write(once(audio))
    return { file, parameters }
  } catch (error) {
    await file.remove()
    throw error
  }
}

/**
 * POST /: the recording as the whole body, or in JSON with parameters, as huggingface_hub's `automatic_speech_recognition` sends it to the URL
 * of a server.
 */
export async function speechTask(call: Call): Promise<void> {
  const { context, exchange } = call
  const type = (exchange.header('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? ''
  if (isForm(exchange)) {
    throw new ApiError('unsupported_media_type', 'The body must be the recording itself; forms go to /v1/audio/transcriptions.')
  }
  await withUpload(call, async (stop) => {
    const { file, parameters } =
      type === 'application/json'
        ? await taskUpload(call)
        : {
            file: await receiveFile(exchange, context.uploads, boundsOf(call), stop),
            parameters: { timestamps: 'none' as const, generation: {} },
          }
    const request = speechTaskRequest(parameters, defaultsOf(call))
    const render = (transcript: Parameters<typeof renderSpeechTask>[0]) => ({
      contentType: 'application/json',
      body: renderSpeechTask(transcript, request),
    })
    return new TranscriptionSession(call, request, file, undefined, () => new WholeTranscript(call, render))
  })
}
