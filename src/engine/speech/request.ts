// What a request asks for, in the words of the model: its control tokens, its prompt, the language if it names one.
import type { TranscribeRequest, VoiceActivityOptions } from '../speech-types.js'
import { RequestError } from '../types.js'
import { languageCode } from './languages.js'
import type { SpeechVocabulary } from './vocabulary.js'

const mostTemperatures = 64
// far more than the prompt's tokens can be: the rest of a longer text is not looked at
const mostPromptCharacters = 4096
const mostPaddingMs = 30_000

const invalid = (message: string, param: string | null = null): RequestError => new RequestError('invalid_request', message, param)

function checkVad({ threshold = 0, prefixPaddingMs = 0, silenceDurationMs = 0 }: VoiceActivityOptions = {}): void {
  const within = (value: number, most: number): boolean => value >= 0 && value <= most
  if (!within(threshold, 1)) throw invalid('Expected a threshold of speech from 0 to 1.', 'chunking_strategy')
  if (!within(prefixPaddingMs, mostPaddingMs) || !within(silenceDurationMs, mostPaddingMs)) {
    throw invalid(`Expected paddings and silences from 0 to ${mostPaddingMs} milliseconds.`, 'chunking_strategy')
  }
}

/** Throws a RequestError for what the model cannot do. */
export function checkRequest(request: TranscribeRequest, vocabulary: SpeechVocabulary): void {
  const { temperatures = [0], task, seed = 0, vad } = request
  if (
    temperatures.length === 0 ||
    temperatures.length > mostTemperatures ||
    !temperatures.every((each) => each >= 0 && Number.isFinite(each))
  ) {
    throw invalid(`Expected 1 to ${mostTemperatures} temperatures from 0 on.`, 'temperature')
  }
  if (!Number.isSafeInteger(seed)) throw invalid('Expected a whole number for the seed.', 'seed')
  checkVad(vad)
  if (task === 'translate' && !vocabulary.tasks) {
    throw invalid('The model cannot translate: it knows English only. Name a multilingual one.', 'model')
  }
}

/** Code of the language that a request names; undefined: to be detected. Throws a RequestError for one that the model does not know. */
export function requestedLanguage(named: string | undefined, { multilingual, languages }: SpeechVocabulary): string | undefined {
  if (named === undefined) return multilingual ? undefined : 'en'
  const code = languageCode(named) ?? named.trim().toLowerCase()
  if (multilingual ? languages.has(code) : code === 'en') return code
  if (!multilingual && languageCode(named) !== undefined) {
    throw invalid(
      `The model knows English only, not '${named.slice(0, 40)}'. Name a multilingual one, or leave the language out.`,
      'language',
    )
  }
  const known = multilingual ? [...languages.keys()].join(', ') : 'en'
  throw invalid(`Unknown language '${named.slice(0, 40)}'. Expected a code or an English name of one of: ${known}.`, 'language')
}

/** The tokens before an answer, and where <|startoftranscript|> stands among them. */
export interface Prompt {
  tokens: number[]
  startAt: number
}

/** The prompt's last tokens behind <|startofprev|>, as many as leave half of the context. @param context tokens of the decoder */
export function previousTokens({ prompt = '' }: TranscribeRequest, { previous, text }: SpeechVocabulary, context: number): number[] {
  const said = prompt.trim().slice(-mostPromptCharacters)
  return said === '' || previous === undefined ? [] : [previous, ...text.encode(` ${said}`).slice(-(Math.floor(context / 2) - 1))]
}

/** What was said before, then the control tokens. @param before previousTokens of the request */
export function promptTokens(
  before: readonly number[],
  { task = 'transcribe' }: TranscribeRequest,
  { languages, tasks, start, noTimestamps }: SpeechVocabulary,
  { language, timestamps }: { language: string; timestamps: boolean },
): Prompt {
  const languageToken = languages.get(language)
  const control = [
    start,
    ...(languageToken === undefined ? [] : [languageToken]),
    ...(tasks ? [tasks[task]] : []),
    ...(timestamps ? [] : [noTimestamps]),
  ]
  return { tokens: [...before, ...control], startAt: before.length }
}
