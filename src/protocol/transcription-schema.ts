// POST /v1/audio/transcriptions and /v1/audio/translations: the fields of their forms.
import { z } from 'zod'
import type { TranscribeRequest, TranscriptionThresholds, VoiceActivityOptions } from '../engine/speech-types.js'
import { ApiError } from './errors.js'
import { formObject, type FormField, type FormShape } from './form-fields.js'
import { issueError } from './issues.js'
import { judgedFields, type ReadOptions } from './known-fields.js'

export const transcriptFormats = ['json', 'text', 'srt', 'vtt', 'verbose_json'] as const
export type TranscriptFormat = (typeof transcriptFormats)[number]

/** What transformers recommends for whisper's ladder of temperatures; the compression ratio is one of token ids. */
export const recommendedThresholds: Required<TranscriptionThresholds> = {
  compression_ratio_threshold: 1.35,
  logprob_threshold: -1,
  no_speech_threshold: 0.6,
}
/** Whisper's ladder. */
export const temperatureLadder: readonly number[] = [0, 0.2, 0.4, 0.6, 0.8, 1]

/** A transcription as its client wants it, but for the recording. */
export interface TranscriptionRequest {
  /** As the client named it; absent where it named none. */
  model?: string
  format: TranscriptFormat
  stream: boolean
  /** What a verbose_json tells. */
  segments: boolean
  words: boolean
  transcribe: Omit<TranscribeRequest, 'audio'>
}

/** What the server's flags say. */
export interface TranscriptionDefaults {
  thresholds: TranscriptionThresholds
  maxSeconds: number
}

const shapes: Readonly<Record<string, FormShape>> = {
  timestamp_granularities: 'list',
  include: 'list',
  keywords: 'list',
  languages: 'list',
  known_speaker_names: 'list',
  known_speaker_references: 'list',
  chunking_strategy: 'object',
}

const maxPrompt = 32_768

const number = (min: number, max: number) =>
  z
    .string()
    .regex(/^\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*$/i, { error: 'must be a number' })
    .transform(Number)
    .pipe(z.number().min(min).max(max))
// the values of a JSON text, or of a form's text fields
const numeric = (min: number, max: number) =>
  z.union([z.number().min(min).max(max), number(min, max)], { error: `must be a number from ${min} to ${max}` })

const flag = z
  .string()
  .transform((text) => text.toLowerCase())
  .pipe(z.enum(['true', 'false', '1', '0', 'null'], { error: 'must be true or false' }))
  .transform((text) => text === 'true' || text === '1')

// the detector's own bound
const mostPaddingMs = 30_000

const serverVad = z.strictObject({
  type: z.literal('server_vad', { error: 'must be server_vad' }),
  threshold: numeric(0, 1).nullish(),
  prefix_padding_ms: numeric(0, mostPaddingMs).nullish(),
  silence_duration_ms: numeric(0, mostPaddingMs).nullish(),
})

const text = z.string()
const ignored = z.array(text).max(64).optional()

const fields = {
  // there only when it came as text
  file: z.undefined({ error: 'Expected file upload, got string' }).optional(),
  model: text.max(512).optional(),
  language: text.max(64).optional(),
  prompt: text.max(maxPrompt).optional(),
  response_format: text.optional(),
  temperature: number(0, 1).optional(),
  timestamp_granularities: z
    .array(z.enum(['word', 'segment'], { error: 'must be word or segment' }))
    .max(8)
    .optional(),
  stream: flag.optional(),
  include: z
    .array(z.enum(['logprobs'], { error: 'must be logprobs' }))
    .max(8)
    .optional(),
  chunking_strategy: z
    .union([z.literal('auto'), z.literal('null'), serverVad], { error: 'must be auto or an object whose type is server_vad' })
    .optional(),
  keywords: ignored,
  languages: ignored,
  known_speaker_names: ignored,
  known_speaker_references: ignored,
} as const

const schema = z.strictObject(fields)
type Fields = z.infer<typeof schema>

export const transcriptionFieldNames: ReadonlySet<string> = new Set(Object.keys(fields))

function formatOf({ response_format: name = 'json' }: Fields): TranscriptFormat {
  const format = transcriptFormats.find((each) => each === name)
  if (format) return format
  if (name === 'diarized_json') {
    throw new ApiError(
      'unsupported_parameter',
      '`response_format` diarized_json is not supported: whisper does not tell speakers apart.',
      'response_format',
    )
  }
  throw new ApiError('invalid_request', `\`response_format\`: must be one of ${transcriptFormats.join(', ')}`, 'response_format')
}

function vadOf({ chunking_strategy: strategy }: Fields): VoiceActivityOptions | undefined {
  if (strategy === undefined || strategy === 'null') return undefined
  if (strategy === 'auto') return {}
  const { threshold, prefix_padding_ms: prefixPaddingMs, silence_duration_ms: silenceDurationMs } = strategy
  return {
    ...(threshold != null && { threshold }),
    ...(prefixPaddingMs != null && { prefixPaddingMs }),
    ...(silenceDurationMs != null && { silenceDurationMs }),
  }
}

/**
 * Which temperatures are tried, and what sends a window to the next. A temperature of 0 that is spelled out asks for the ladder, as with
 * OpenAI; where none is named, transformers' own default holds: greedy, and nothing is looked at but what the flags name.
 */
export function temperaturePlan(
  temperature: number | undefined,
  defaults: TranscriptionThresholds,
): Pick<TranscribeRequest, 'temperatures' | 'thresholds'> {
  const climbs = defaults.compression_ratio_threshold !== undefined || defaults.logprob_threshold !== undefined
  if (temperature === 0) return { temperatures: temperatureLadder, thresholds: { ...recommendedThresholds, ...defaults } }
  const temperatures = temperature === undefined ? (climbs ? temperatureLadder : [0]) : [temperature]
  return { temperatures, ...(Object.keys(defaults).length > 0 && { thresholds: defaults }) }
}

// what a format has no place for is refused: to go on without it would not be what was asked for
function checkTogether({
  format,
  stream,
  words,
  logprobs,
}: {
  format: TranscriptFormat
  stream: boolean
  words: boolean
  logprobs: boolean
}): void {
  if (stream && format !== 'json' && format !== 'text') {
    throw new ApiError(
      'unsupported_parameter',
      `\`stream\` sends the text as events; leave it out for \`response_format\` ${format}.`,
      'stream',
    )
  }
  if (words && format !== 'verbose_json') {
    throw new ApiError('invalid_request', '`timestamp_granularities` word needs `response_format` verbose_json.', 'timestamp_granularities')
  }
  if (logprobs && format !== 'json' && !stream) {
    throw new ApiError('invalid_request', '`include` logprobs needs `response_format` json.', 'include')
  }
}

/** Reads the text fields of a form. Throws an ApiError. */
export function parseTranscriptionForm(
  sent: readonly FormField[],
  task: NonNullable<TranscribeRequest['task']>,
  defaults: TranscriptionDefaults,
  options: ReadOptions = {},
): TranscriptionRequest {
  const body = formObject(sent, shapes)
  if ('file' in body) throw new ApiError('expected_file', undefined, 'file')
  const judged = schema.safeParse(judgedFields(body, fields, options))
  if (!judged.success) throw issueError(judged.error)
  const { data } = judged
  const format = formatOf(data)
  const stream = data.stream ?? false
  const granularities = data.timestamp_granularities ?? []
  const words = granularities.includes('word')
  const logprobs = data.include?.includes('logprobs') ?? false
  checkTogether({ format, stream, words, logprobs })
  const vad = vadOf(data)
  return {
    ...(data.model !== undefined && { model: data.model }),
    format,
    stream,
    segments: !words || granularities.includes('segment'),
    words,
    transcribe: {
      task,
      ...(data.language !== undefined && { language: data.language.trim().toLowerCase() }),
      ...(data.prompt !== undefined && { prompt: data.prompt }),
      ...temperaturePlan(data.temperature, defaults.thresholds),
      // time tokens are decoded for the plain formats, too: a recording has one text, whatever it is asked as
      timestamps: words ? 'word' : 'segment',
      ...(logprobs && { logprobs }),
      ...(vad && { vad }),
      maxSeconds: defaults.maxSeconds,
    },
  }
}
