// `tfserve transcribe FILE…`: loads a speech model and writes down what is said in recordings.
import { mkdir, stat, writeFile } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { type AnyModel, requireSpeechModel } from '../engine/model-kinds.js'
import type { SpeechModel, StartedTranscription, TranscriptionDelta } from '../engine/speech-types.js'
import { type LogLevel, RequestError } from '../engine/types.js'
import { ModelRegistry } from '../models/registry.js'
import { renderTranscript, Transcript, type TranscriptionHead } from '../protocol/transcript-formats.js'
import type { ProgressOutput } from './download-progress.js'
import { findModel } from './find-model.js'
import { Log } from './log.js'
import { UsageError } from './options.js'
import { engineOptions, environment } from './serve-settings.js'
import { parseTranscribeArguments, type TranscribeArguments, transcribeHelp, transcriptName } from './transcribe-options.js'
import { TranscriptionProgress } from './transcription-progress.js'

const interrupted = 130

/** Where the command speaks; the process' own streams, but for tests. */
export interface TranscribeOutput {
  /** Gets the transcripts. */
  stdout: { write(text: string): unknown }
  /** Gets bars, and a line for each recording. */
  stderr: ProgressOutput
}

/** Follows one transcription to its end. Rejects with a RequestError, or the signal's reason. */
async function listen(
  model: SpeechModel,
  { request }: TranscribeArguments,
  file: string,
  stderr: ProgressOutput,
  signal: AbortSignal,
): Promise<{ transcript: Transcript; head: TranscriptionHead; progress: TranscriptionProgress }> {
  const transcript = new Transcript()
  const name = basename(file)
  let progress: TranscriptionProgress | undefined
  let last: TranscriptionDelta | undefined
  let finish: () => void = () => undefined
  const finished = new Promise<void>((done) => (finish = done))
  const onDelta = (delta: TranscriptionDelta): void => {
    transcript.add(delta)
    last = delta
    progress?.update(delta.position)
    if (delta.finishReason) finish()
  }
  const begun = performance.now()
  const started: StartedTranscription = await model.transcribe({ ...request, audio: { path: resolve(file), name } }, onDelta, signal)
  progress = new TranscriptionProgress(name, started.duration, stderr, begun)
  progress.update(last?.position ?? 0)
  await finished
  progress.clear()
  signal.throwIfAborted()
  if (last?.finishReason === 'error')
    throw new RequestError(last.error?.code ?? 'engine_error', last.error?.message ?? 'The engine failed.')
  if (last?.finishReason === 'abort') throw new RequestError('engine_error', 'The transcription was aborted before it was complete.')
  const { duration, languageName } = started
  return { transcript, head: { duration, languageName, task: request.task ?? 'transcribe' }, progress }
}

/** Lends the model for one recording: a process that has died on one is started again for the next. */
export type Borrow = (signal: AbortSignal) => Promise<{ model: AnyModel; release(): void }>

/** Transcribes the files, one after the other. Resolves with the exit code; the reasons have been printed. */
export async function transcribeFiles(
  borrow: Borrow,
  wanted: TranscribeArguments,
  output: TranscribeOutput,
  signal: AbortSignal,
): Promise<number> {
  const { files, view, outputDir } = wanted
  let failed = false
  for (const file of files) {
    let release: () => void = () => undefined
    try {
      const lent = await borrow(signal)
      release = lent.release
      const { transcript, head, progress } = await listen(requireSpeechModel(lent.model), wanted, file, output.stderr, signal)
      const { body } = renderTranscript(transcript, head, view)
      // a terminal has no use for the space before the first word
      const text = view.format === 'text' ? `${body.trim()}\n` : body.endsWith('\n') || body === '' ? body : `${body}\n`
      if (outputDir === undefined) output.stdout.write(text)
      else await writeFile(join(outputDir, transcriptName(file, view.format)), text)
      output.stderr.write(`tfserve: ${progress.summary}\n`)
    } catch (error) {
      if (signal.aborted) return interrupted
      const code = (error as NodeJS.ErrnoException).code
      if (!(error instanceof RequestError) && code === undefined) throw error
      const reason = error instanceof RequestError ? error.message : `its transcript cannot be written: ${code}`
      output.stderr.write(`tfserve: ${file}: ${reason}\n`)
      failed = true
    } finally {
      release()
    }
  }
  return failed ? 1 : 0
}

/** Recordings that are no files are mistakes on the command line, found before a model is loaded for them. */
async function checkFiles({ files, outputDir }: TranscribeArguments): Promise<void> {
  for (const file of files) {
    const found = await stat(file).catch((error: unknown) => (error as NodeJS.ErrnoException).code ?? 'error')
    if (typeof found === 'string') throw new UsageError(`${file} cannot be read: ${found === 'ENOENT' ? 'there is no such file' : found}.`)
    if (!found.isFile()) throw new UsageError(`${file} is no file.`)
  }
  if (outputDir === undefined) return
  await mkdir(outputDir, { recursive: true }).catch((error: unknown) => {
    throw new UsageError(`The directory of --output-dir cannot be made: ${(error as NodeJS.ErrnoException).code ?? 'error'}.`)
  })
}

const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true }))

/** Runs `tfserve transcribe`. Resolves with the exit code; throws a UsageError. */
export async function transcribe(args: string[]): Promise<number> {
  const wanted = parseTranscribeArguments(args)
  if (!wanted) {
    process.stdout.write(transcribeHelp)
    return 0
  }
  await checkFiles(wanted)
  const { values } = wanted
  const logLevel = (values['log-level'] as LogLevel | undefined) ?? 'warning'
  const log = new Log(logLevel)
  const found = await findModel(wanted.model, environment(values), log)
  if (typeof found === 'number') return found
  const registry = new ModelRegistry({
    engine: engineOptions(values, logLevel),
    env: environment(values),
    pinned: found,
    log: log.write,
  })
  const stop = new AbortController()
  const onSignal = (): void => {
    if (stop.signal.aborted) process.exit(interrupted)
    stop.abort()
  }
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const signal of signals) process.on(signal, onSignal)
  try {
    // however long that takes, unlike the wait of a request
    await Promise.race([registry.start(), aborted(stop.signal)])
    return await transcribeFiles((signal) => registry.lease(undefined, signal), wanted, process, stop.signal)
  } catch (error) {
    if (stop.signal.aborted) return interrupted
    if (!(error instanceof RequestError)) throw error
    // of a load that failed the registry has told more
    if (error.code !== 'model_load_failed') log.write('error', error.message)
    return 1
  } finally {
    for (const signal of signals) process.off(signal, onSignal)
    await registry.close()
  }
}
