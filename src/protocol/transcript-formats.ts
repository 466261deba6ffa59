// A transcript as its client wants it: JSON, text, subtitles, or the events of a stream.
import type {
  StartedTranscription,
  TranscribeRequest,
  TranscriptionDelta,
  TranscriptSegment,
  TranscriptWord,
} from '../engine/speech-types.js'
import type { TokenLogprob } from '../engine/types.js'
import type { TranscriptFormat } from './transcription-schema.js'

/** A transcript that grows with its deltas. */
export class Transcript {
  text = ''
  readonly segments: TranscriptSegment[] = []
  readonly logprobs: TokenLogprob[] = []
  /** Text and time tokens. */
  tokens = 0

  add({ text, segments, logprobs = [] }: TranscriptionDelta): void {
    this.text += text
    for (const segment of segments) {
      this.segments.push(segment)
      this.tokens += segment.tokens.length
    }
    for (const logprob of logprobs) this.logprobs.push(logprob)
  }

  get words(): TranscriptWord[] {
    return this.segments.flatMap(({ words = [] }) => words)
  }
}

/** What is known of a transcription beside its text. */
export interface TranscriptionHead extends Pick<StartedTranscription, 'duration' | 'languageName'> {
  task: NonNullable<TranscribeRequest['task']>
}

/** What of a transcript is told. */
export interface TranscriptView {
  format: TranscriptFormat
  segments: boolean
  words: boolean
  logprobs: boolean
}

const milliseconds = (seconds: number): number => Math.round(seconds * 1000)
const rounded = (seconds: number): number => milliseconds(seconds) / 1000

/** OpenAI's usage of what is billed by its length. */
const durationUsage = (duration: number) => ({ type: 'duration', seconds: rounded(duration) })

// positions of whisper's encoder: one for 20 ms
const audioTokensPerSecond = 50

/** OpenAI's usage of what is billed by tokens, which the types of its streams want. */
function tokenUsage(duration: number, outputTokens: number): object {
  const audio = Math.ceil(duration * audioTokensPerSecond)
  return {
    type: 'tokens',
    input_tokens: audio,
    input_token_details: { text_tokens: 0, audio_tokens: audio },
    output_tokens: outputTokens,
    total_tokens: audio + outputTokens,
  }
}

const shownLogprobs = (logprobs: readonly TokenLogprob[]) => logprobs.map(({ token, logprob, bytes }) => ({ token, logprob, bytes }))

const shownWord = ({ word, start, end }: TranscriptWord) => ({ word, start: rounded(start), end: rounded(end) })

function shownSegment(segment: TranscriptSegment): object {
  const { id, seek, start, end, text, tokens, temperature, avg_logprob, compression_ratio, no_speech_prob } = segment
  return { id, seek, start: rounded(start), end: rounded(end), text, tokens, temperature, avg_logprob, compression_ratio, no_speech_prob }
}

function verboseJson(transcript: Transcript, { task, duration, languageName }: TranscriptionHead, view: TranscriptView): object {
  return {
    task,
    language: task === 'translate' ? 'english' : languageName,
    duration: rounded(duration),
    text: transcript.text,
    ...(view.words && { words: transcript.words.map(shownWord) }),
    ...(view.segments && { segments: transcript.segments.map(shownSegment) }),
    usage: durationUsage(duration),
  }
}

interface Cue {
  /** Milliseconds. */
  start: number
  end: number
  lines: string[]
}

/** The transcript's segments as subtitles: with text, in order, each at least a moment long, and none before the one before it has ended. */
function cues(segments: readonly TranscriptSegment[]): Cue[] {
  let last = 0
  const found: Cue[] = []
  for (const { start, end, text } of segments) {
    // a blank line would end the cue
    const lines = text
      .split(/[\r\n\u2028\u2029]+/)
      .map((line) => line.trim())
      .filter((line) => line !== '')
    if (lines.length === 0) continue
    const from = Math.max(milliseconds(start), last)
    last = Math.max(milliseconds(end), from + 1)
    found.push({ start: from, end: last, lines })
  }
  return found
}

function clock(ms: number, mark: ',' | '.'): string {
  const pad = (value: number, width = 2) => String(value).padStart(width, '0')
  return `${pad(Math.floor(ms / 3_600_000))}:${pad(Math.floor(ms / 60_000) % 60)}:${pad(Math.floor(ms / 1000) % 60)}${mark}${pad(ms % 1000, 3)}`
}

/** SubRip: there is no way to write its arrow within a text, so that it loses a dash. */
export function renderSrt(segments: readonly TranscriptSegment[]): string {
  return cues(segments)
    .map(({ start, end, lines }, i) => {
      return `${i + 1}\n${clock(start, ',')} --> ${clock(end, ',')}\n${lines.join('\n').replaceAll('-->', '->')}\n\n`
    })
    .join('')
}

const vttEscapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;' }

/** WebVTT, with the characters of its markup escaped. */
export function renderVtt(segments: readonly TranscriptSegment[]): string {
  const blocks = cues(segments).map(({ start, end, lines }) => {
    const text = lines.join('\n').replace(/[&<>]/g, (character) => vttEscapes[character] ?? character)
    return `${clock(start, '.')} --> ${clock(end, '.')}\n${text}\n\n`
  })
  return `WEBVTT\n\n${blocks.join('')}`
}

const json = 'application/json'
const plain = 'text/plain; charset=utf-8'

/** The whole answer. */
export function renderTranscript(
  transcript: Transcript,
  head: TranscriptionHead,
  view: TranscriptView,
): { contentType: string; body: string } {
  switch (view.format) {
    case 'json': {
      const logprobs = view.logprobs ? { logprobs: shownLogprobs(transcript.logprobs) } : {}
      return { contentType: json, body: JSON.stringify({ text: transcript.text, ...logprobs, usage: durationUsage(head.duration) }) }
    }
    case 'verbose_json':
      return { contentType: json, body: JSON.stringify(verboseJson(transcript, head, view)) }
    case 'text':
      return { contentType: plain, body: transcript.text }
    // OpenAI's clients give back what is no JSON as it is
    case 'srt':
      return { contentType: plain, body: renderSrt(transcript.segments) }
    case 'vtt':
      return { contentType: plain, body: renderVtt(transcript.segments) }
  }
}

/** The words of a segment with the space before each, where its text has one: so the pieces make up the text, as in transformers' pipeline. */
function spacedWords({ text, words = [] }: TranscriptSegment): TranscriptWord[] {
  let done = 0
  return words.map((word) => {
    const at = text.indexOf(word.word, done)
    if (at < 0) return word
    const before = text.slice(done, at)
    done = at + word.word.length
    return before.trim() === '' ? { ...word, word: before + word.word } : word
  })
}

/** The answer of the Hub's task: `chunks` only where times were asked for. */
export function renderSpeechTask(transcript: Transcript, { segments, words }: Pick<TranscriptView, 'segments' | 'words'>): string {
  const chunk = (text: string, { start, end }: { start: number; end: number }) => ({ text, timestamp: [rounded(start), rounded(end)] })
  const chunks = words
    ? transcript.segments.flatMap(spacedWords).map((word) => chunk(word.word, word))
    : transcript.segments.map((each) => chunk(each.text, each))
  return JSON.stringify({ text: transcript.text, ...((segments || words) && { chunks }) })
}

const event = (data: object): string => `data: ${JSON.stringify(data)}\n\n`

/** News of the transcript; nothing where they hold no text. */
export function deltaEvent({ text, logprobs }: TranscriptionDelta): string {
  if (text === '') return ''
  return event({ type: 'transcript.text.delta', delta: text, ...(logprobs && { logprobs: shownLogprobs(logprobs) }) })
}

/** The last event of a stream. */
export function doneEvent(transcript: Transcript, { duration }: Pick<TranscriptionHead, 'duration'>, logprobs: boolean): string {
  return event({
    type: 'transcript.text.done',
    text: transcript.text,
    ...(logprobs && { logprobs: shownLogprobs(transcript.logprobs) }),
    usage: tokenUsage(duration, transcript.tokens),
  })
}
