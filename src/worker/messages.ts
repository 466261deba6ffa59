// What front and worker say to each other. Ids are numbers drawn by the front, never a client's.
import { z } from 'zod'
import type { TranscribeRequest } from '../engine/speech-types.js'
import type { EngineOptions, EngineStats, ErrorCode, GenerateRequest, LoadProgress, ModelInfo, PromptEcho } from '../engine/types.js'
import { FrameError } from './frames.js'
import { loadTimings, speechModelInfo, transcribeRequest, transcriptionDelta } from './speech-messages.js'
import { fromStepMessage, type StepMessage, type StepRow } from './step-frame.js'

const id = z.int().min(1)
const count = z.int().min(0)
const number = z.number()
// What users wrote freely (messages, tools, template variables) travels as JSON text: msgpack refuses keys such as `__proto__`
// and deep nesting, which must not end a connection, and V8's JSON is the faster of the two. As bytes, since msgpack's strings are
// counted and converted character by character.
const json = z.instanceof(Uint8Array)

const frontMessage = z.discriminatedUnion('type', [
  /** The first message; `options`: EngineOptions. */
  z.object({ type: z.literal('hello'), version: z.number(), options: json }),
  /** `request`: GenerateRequest. Answered by `accepted` or `rejected`. */
  z.object({ type: z.literal('submit'), id, request: json }),
  /** `request`: TranscribeRequest. Answered by `transcribing` or `rejected`, unless it is aborted before. */
  z.object({ type: z.literal('transcribe'), id, request: json }),
  /** Lifts a pause. Ids that are not open are ignored, as they may have ended meanwhile. */
  z.object({ type: z.literal('abort'), id }),
  /** No more deltas until `resume`. The worker keeps them, within bounds; the engine computes on. */
  z.object({ type: z.literal('pause'), id }),
  z.object({ type: z.literal('resume'), id }),
  z.object({ type: z.literal('stats'), seq: id }),
  z.object({ type: z.literal('shutdown') }),
])

/** Front to worker. */
export type FrontMessage = z.infer<typeof frontMessage>

export const errorCodes = [
  'invalid_request',
  'unsupported_parameter',
  'context_length_exceeded',
  'template_error',
  'audio_invalid',
  'audio_too_long',
  'audio_unsupported',
  'queue_full',
  'model_loading',
  'model_crashed',
  'shutting_down',
  'engine_error',
  'model_pinned',
  'model_required',
  'model_task_mismatch',
  'model_too_large',
  'model_unsupported',
  'model_not_found',
  'hub_unavailable',
  'model_load_failed',
] as const satisfies readonly ErrorCode[]

const textModelInfo = z.object({
  kind: z.literal('text'),
  id: z.string(),
  revision: z.string(),
  created: number,
  architecture: z.string(),
  dtype: z.string(),
  quantization: z.string(),
  kvCacheDtype: z.string(),
  parameters: number,
  weightBytes: number,
  vocabSize: number,
  maxModelLen: number,
  pagedKv: z.boolean(),
  blockSize: number,
  kvGroups: z.array(z.object({ blocks: number, window: number })),
  kvBlocks: number,
  kvBytes: number,
  maxNumSeqs: number,
  maxBatchTokens: number,
  threads: number,
  attentionKernel: z.string(),
  hasChatTemplate: z.boolean(),
  loadMs: number,
  timings: loadTimings,
}) satisfies z.ZodType<ModelInfo>

const engineStats = z.object({
  running: number,
  waiting: number,
  blocksTotal: number,
  blocksFree: number,
  blocksCached: number,
  steps: number,
  promptTokens: number,
  cachedPromptTokens: number,
  computedTokens: number,
  outputTokens: number,
  preemptions: number,
  prefixQueries: number,
  prefixHits: number,
  evictions: number,
  blockCopies: number,
  abortsWaiting: number,
  abortsPrefill: number,
  abortsDecode: number,
  lastStepMs: number,
}) satisfies z.ZodType<EngineStats>

const loadProgress = z.object({
  stage: z.enum(['processor', 'config', 'weights', 'engine']),
  current: number.exactOptional(),
  total: number.exactOptional(),
}) satisfies z.ZodType<LoadProgress>

const promptEcho = z.object({
  text: z.string(),
  firstToken: z.object({ token: z.string(), bytes: z.array(z.int().min(0).max(255)) }),
}) satisfies z.ZodType<PromptEcho>

const workerMessage = z.discriminatedUnion('type', [
  /** Answers the front's hello, whatever its version; only then may anything else follow. */
  z.object({ type: z.literal('hello'), version: z.number(), pid: count }),
  z.object({ type: z.literal('progress'), progress: loadProgress }),
  z.object({ type: z.literal('ready'), info: z.discriminatedUnion('kind', [textModelInfo, speechModelInfo]) }),
  /**
   * The model could not be loaded, or the worker is about to end by an error; its last message. `loader`: the sentence is the
   * loader's, which found the model unsound or nothing that it can run.
   */
  z.object({ type: z.literal('failed'), message: z.string(), loader: z.enum(['unsupported', 'failed']).exactOptional() }),
  z.object({ type: z.literal('accepted'), id, promptTokens: count, echo: promptEcho.exactOptional() }),
  /** A transcription has begun; its `transcript`s follow. */
  z.object({ type: z.literal('transcribing'), id, duration: number, language: z.string(), languageName: z.string() }),
  z.object({ type: z.literal('transcript'), id, delta: transcriptionDelta(errorCodes) }),
  z.object({ type: z.literal('rejected'), id, code: z.enum(errorCodes), message: z.string(), param: z.string().nullable() }),
  /** `stats` or the reason why there are none. */
  z.object({ type: z.literal('stats'), seq: id, stats: engineStats.exactOptional(), error: z.string().exactOptional() }),
  z.object({ type: z.literal('log'), level: z.enum(['debug', 'info', 'warning', 'error']), message: z.string() }),
  /**
   * Sent at a steady pace by the worker's event loop. `steps`: signs of the engine's work so far, its steps among them. `active`:
   * accepted generations that the engine has not ended, and transcriptions, accepted or not. `residentBytes`: of the process.
   */
  z.object({ type: z.literal('heartbeat'), steps: count, active: count, residentBytes: count }),
])

type CheckedWorkerMessage = z.infer<typeof workerMessage>

/** Worker to front, as it is sent. */
export type WorkerMessage = CheckedWorkerMessage | StepMessage

/** Worker to front, as it arrives: a step's columns are rows again. */
export type ReceivedWorkerMessage = CheckedWorkerMessage | { type: 'step'; rows: StepRow[] }

function checked<T>(schema: z.ZodType<T>, side: string, message: unknown): T {
  const result = schema.safeParse(message)
  if (!result.success) throw new FrameError(`A message from the ${side} is malformed: ${z.prettifyError(result.error)}`)
  return result.data
}

/** Throws a FrameError. */
export function parseFrontMessage(message: unknown): FrontMessage {
  return checked(frontMessage, 'front', message)
}

const hasType = (message: unknown): message is Record<string, unknown> => typeof message === 'object' && message !== null

/** Throws a FrameError. */
export function parseWorkerMessage(message: unknown): ReceivedWorkerMessage {
  if (hasType(message) && message.type === 'step') return { type: 'step', rows: fromStepMessage(message) }
  return checked(workerMessage, 'worker', message)
}

/** A value as JSON in UTF-8. Throws a RangeError when it is nested beyond the stack or longer than a string can be. */
export function toJson(value: unknown): Uint8Array<ArrayBuffer> {
  return Buffer.from(JSON.stringify(value))
}

function parseJson(json: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(json.buffer, json.byteOffset, json.byteLength).toString())
  } catch (error) {
    throw new FrameError('A message holds broken JSON.', { cause: error })
  }
}

// The front has checked every field against its wire format and the model judges the values; this holds the shape that both rely on.
const requestShape = z.looseObject({
  input: z.discriminatedUnion('kind', [
    z.looseObject({ kind: z.literal('chat'), messages: z.array(z.custom((m) => typeof m === 'object' && m !== null)) }),
    z.looseObject({ kind: z.literal('text'), text: z.string() }),
    z.looseObject({ kind: z.literal('tokens'), tokens: z.array(z.any()) }),
    z.looseObject({ kind: z.literal('fill'), prefix: z.string(), suffix: z.string() }),
  ]),
  params: z.custom((value) => typeof value === 'object' && value !== null && !Array.isArray(value)),
  n: z.int().min(1).max(1024).optional(),
})

/** Throws a FrameError. */
export function parseRequest(json: Uint8Array): GenerateRequest {
  const request = parseJson(json)
  checked(requestShape, 'front', request)
  return request as GenerateRequest
}

/** Throws a FrameError. */
export function parseTranscribeRequest(json: Uint8Array): TranscribeRequest {
  return checked(transcribeRequest, 'front', parseJson(json))
}

const optionsShape = z.looseObject({ path: z.string() })

/** Throws a FrameError. */
export function parseOptions(json: Uint8Array): EngineOptions {
  const options = parseJson(json)
  checked(optionsShape, 'front', options)
  return options as EngineOptions
}
