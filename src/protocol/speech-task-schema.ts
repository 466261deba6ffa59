// POST /: a recording in the words of the Hub's task automatic-speech-recognition, as huggingface_hub's InferenceClient sends it.
import { z } from 'zod'
import { isUnsupportedField, unsupportedFields } from '../engine/unsupported-fields.js'
import { ApiError } from './errors.js'
import { issueError } from './issues.js'
import { parseJsonObject } from './json.js'
import { judgedFields, type ReadOptions } from './known-fields.js'
import { temperaturePlan, type TranscriptionDefaults, type TranscriptionRequest } from './transcription-schema.js'

/** What the task's JSON form holds. */
export interface SpeechTaskBody {
  /** The recording's bytes. */
  audio: Uint8Array
  parameters: SpeechTaskParameters
}

const generation = z.strictObject({
  task: z.enum(['transcribe', 'translate']).nullish(),
  language: z.string().max(64).nullish(),
  temperature: z.number().min(0).max(1).nullish(),
  do_sample: z.boolean().nullish(),
  return_timestamps: z.union([z.boolean(), z.literal('word')]).nullish(),
  compression_ratio_threshold: z.number().nullish(),
  logprob_threshold: z.number().nullish(),
  no_speech_threshold: z.number().nullish(),
  // neither changes what is written
  use_cache: z.boolean().nullish(),
  early_stopping: z.union([z.boolean(), z.literal('never')]).nullish(),
})
type Generation = z.infer<typeof generation>

const parameters = z.strictObject({
  return_timestamps: z.union([z.boolean(), z.literal('word')]).nullish(),
  generation_parameters: z.record(z.string(), z.unknown()).nullish(),
  generate_kwargs: z.record(z.string(), z.unknown()).nullish(),
})

const body = {
  inputs: z.base64({ error: 'must be the recording in base64' }).min(1),
  parameters: parameters.nullish(),
} as const
const schema = z.strictObject(body)

/** How the recording is to be heard. */
export interface SpeechTaskParameters {
  timestamps: 'none' | 'segment' | 'word'
  generation: Generation
}

// what the task's types name beside these, and what would change the text
const refused: ReadonlySet<string> = new Set([
  'max_new_tokens',
  'max_length',
  'min_new_tokens',
  'min_length',
  'top_k',
  'top_p',
  'typical_p',
  'repetition_penalty',
])

function generationOf(given: Record<string, unknown>): Generation {
  const [name] = [...unsupportedFields(given), ...Object.keys(given).filter((each) => refused.has(each) && given[each] != null)]
  const path = ['parameters', 'generation_parameters']
  if (name !== undefined) {
    throw new ApiError('unsupported_parameter', `\`${[...path, name].join('.')}\` is not supported for speech.`, [...path, name].join('.'))
  }
  const wanted = Object.entries(given).filter(([each]) => !isUnsupportedField(each) && !refused.has(each))
  const judged = generation.safeParse(Object.fromEntries(wanted))
  if (!judged.success) throw issueError(judged.error, path)
  return judged.data
}

/** Parses the JSON form of the task: `{"inputs": base64, "parameters": {...}}`. Throws an ApiError. */
export function parseSpeechTaskBody(bytes: Uint8Array, options: ReadOptions = {}): SpeechTaskBody {
  const judged = schema.safeParse(judgedFields(parseJsonObject(bytes), body, options))
  if (!judged.success) throw issueError(judged.error)
  const { inputs, parameters: given } = judged.data
  const wanted = generationOf({ ...given?.generate_kwargs, ...given?.generation_parameters })
  const stamps = given?.return_timestamps ?? wanted.return_timestamps ?? false
  return {
    audio: new Uint8Array(Buffer.from(inputs, 'base64')),
    parameters: { timestamps: stamps === 'word' ? 'word' : stamps ? 'segment' : 'none', generation: wanted },
  }
}

/** The task's parameters as a transcription; without them that of the raw bytes. */
export function speechTaskRequest(
  { timestamps, generation: wanted }: SpeechTaskParameters,
  defaults: TranscriptionDefaults,
): TranscriptionRequest {
  const { compression_ratio_threshold: ratio, logprob_threshold: logprob, no_speech_threshold: silence } = wanted
  const thresholds = {
    ...defaults.thresholds,
    ...(ratio != null && { compression_ratio_threshold: ratio }),
    ...(logprob != null && { logprob_threshold: logprob }),
    ...(silence != null && { no_speech_threshold: silence }),
  }
  // to sample is to sample at a temperature of 1 where none is named
  const temperature = wanted.do_sample === false ? undefined : (wanted.temperature ?? (wanted.do_sample === true ? 1 : undefined))
  return {
    format: 'json',
    stream: false,
    segments: timestamps === 'segment',
    words: timestamps === 'word',
    transcribe: {
      task: wanted.task ?? 'transcribe',
      ...(wanted.language != null && { language: wanted.language.trim().toLowerCase() }),
      ...temperaturePlan(temperature, thresholds),
      timestamps,
      maxSeconds: defaults.maxSeconds,
    },
  }
}
