// The command line of `tfserve transcribe`.
import { basename, extname } from 'node:path'
import { parseArgs } from 'node:util'
import { temperaturePlan, transcriptFormats, type TranscriptFormat } from '../protocol/transcription-schema.js'
import type { TranscribeRequest } from '../engine/speech-types.js'
import type { TranscriptView } from '../protocol/transcript-formats.js'
import { type FlagName, flags } from './flags.js'
import { converted, joinNegativeNumbers, type ServeArguments, UsageError } from './options.js'
import { speechThresholds } from './serve-settings.js'

export const defaultSpeechModel = 'openai/whisper-base'

export const transcribeHelp = `tfserve transcribe: write down what is said in recordings.

Usage: tfserve transcribe FILE... [options]

FILE  A recording: wav, mp3, flac, ogg, webm or m4a; others where ffmpeg is installed.

Options:
  -m, --model MODEL               A Whisper checkpoint: a directory, a ggml file, or an id of the Hugging Face Hub,
                                  downloaded when it is not in the cache. Default: ${defaultSpeechModel}.
  -f, --format NAME               ${transcriptFormats.join(', ')}. Default: text.
  -o, --output-dir DIR            Write a file for each recording there, NAME.txt, .srt, .vtt or .json. Default: to stdout.
  --language LANG                 What is spoken, a code or an English name. Default: as the model hears it.
  --translate                     Write it in English.
  --prompt TEXT                   Text that goes before, for its spelling and style.
  --temperature X                 0 to 1; 0 tries again at higher ones where the text is doubtful. Default: greedy, once.
  --words                         With verbose_json: when each word was said.
  --no-speech-threshold P, --logprob-threshold X, --compression-ratio-threshold X
                                  As for tfserve serve. Default: off.
  --max-audio-seconds SECONDS     Longest recording. Default: 16777, the most.
  --dtype TYPE                    Weights: auto, bfloat16, float16 or float32. Default: auto.
  --threads N                     Threads that compute. Default: the cores this process may use.
  --default-seed N                For temperatures above 0.
  --cache-dir DIR                 The Hugging Face cache. Default: HF_HUB_CACHE, else the hub folder in HF_HOME.
  --offline                       Download nothing.
  --log-level LEVEL               debug, info, warning or error. Default: warning.
  -h, --help                      This text.

Exit codes: 0 all are written, 1 one could not be, 2 a mistake on the command line, 130 interrupted.
`

const own = {
  model: { type: 'string', short: 'm' },
  format: { type: 'string', short: 'f' },
  'output-dir': { type: 'string', short: 'o' },
  language: { type: 'string' },
  translate: { type: 'boolean' },
  prompt: { type: 'string' },
  temperature: { type: 'string' },
  words: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const

// those of the server that mean the same here
const shared = [
  'no-speech-threshold',
  'logprob-threshold',
  'compression-ratio-threshold',
  'max-audio-seconds',
  'dtype',
  'threads',
  'default-seed',
  'cache-dir',
  'offline',
  'log-level',
] as const satisfies readonly FlagName[]

/** What is to be done. */
export interface TranscribeArguments {
  files: string[]
  model: string
  outputDir?: string
  view: TranscriptView
  request: Omit<TranscribeRequest, 'audio'>
  /** Of the flags that the server has, too. */
  values: ServeArguments['values']
}

function parsed(args: string[]) {
  const options = {
    ...own,
    ...Object.fromEntries(shared.map((name) => [name, { type: 'value' in flags[name] ? 'string' : 'boolean' } as const])),
  }
  try {
    const { values, positionals } = parseArgs({ args: joinNegativeNumbers(args), options, allowPositionals: true, strict: true })
    return { values: values as Record<string, string | boolean | undefined>, positionals }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const unknown = /^Unknown option '([^']+)'/.exec(message)
    const said = unknown ? `Unknown option ${unknown[1]}` : message.split('.')[0]
    throw new UsageError(`${said}. See tfserve transcribe --help.`)
  }
}

function formatOf(name: string): TranscriptFormat {
  const format = transcriptFormats.find((each) => each === name)
  if (!format) throw new UsageError(`Expected one of ${transcriptFormats.join(', ')} for --format but received '${name}'.`)
  return format
}

function temperatureOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const value = Number(text)
  if (text.trim() === '' || !(value >= 0 && value <= 1))
    throw new UsageError(`Expected a number from 0 to 1 for --temperature but received '${text}'.`)
  return value
}

const extensions: Readonly<Record<TranscriptFormat, string>> = {
  text: '.txt',
  srt: '.srt',
  vtt: '.vtt',
  json: '.json',
  verbose_json: '.json',
}

/** The name of a recording's transcript. */
export const transcriptName = (file: string, format: TranscriptFormat): string => basename(file, extname(file)) + extensions[format]

function checkTogether(files: readonly string[], format: TranscriptFormat, outputDir: string | undefined, words: boolean): void {
  if (files.length === 0) throw new UsageError('Expected at least one recording. See tfserve transcribe --help.')
  if (words && format !== 'verbose_json') throw new UsageError('--words needs --format verbose_json.')
  if (outputDir === '') throw new UsageError('Expected a directory for --output-dir.')
  if (outputDir === undefined) {
    if (files.length > 1 && (format === 'srt' || format === 'vtt')) {
      throw new UsageError(`Several recordings as ${format} need --output-dir: each is a file of its own.`)
    }
    return
  }
  const names = files.map((file) => transcriptName(file, format))
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) throw new UsageError(`Two recordings would be written to ${twice}: give them one by one.`)
}

/** Parses what follows `tfserve transcribe`; undefined: the help was asked for. Throws a UsageError. */
export function parseTranscribeArguments(args: string[]): TranscribeArguments | undefined {
  const { values: given, positionals: files } = parsed(args)
  if (given.help === true) return undefined
  const text = (name: keyof typeof own): string | undefined => given[name] as string | undefined
  const format = formatOf(text('format') ?? 'text')
  const words = given.words === true
  const outputDir = text('output-dir')
  checkTogether(files, format, outputDir, words)
  const values: ServeArguments['values'] = {}
  for (const name of shared) if (given[name] !== undefined) values[name] = converted(name, flags[name], given[name])
  const model = text('model') ?? defaultSpeechModel
  if (model === '') throw new UsageError('Expected a model for --model.')
  const [language, prompt] = [text('language'), text('prompt')]
  return {
    files,
    model,
    ...(outputDir !== undefined && { outputDir }),
    view: { format, segments: true, words, logprobs: false },
    request: {
      task: given.translate === true ? 'translate' : 'transcribe',
      ...(language !== undefined && { language: language.trim().toLowerCase() }),
      ...(prompt !== undefined && { prompt }),
      ...temperaturePlan(temperatureOf(text('temperature')), speechThresholds(values)),
      timestamps: words ? 'word' : 'segment',
      ...(values['max-audio-seconds'] !== undefined && { maxSeconds: values['max-audio-seconds'] as number }),
    },
    values,
  }
}
