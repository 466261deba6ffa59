// `tfserve download ID…`: models of the Hub into the cache.
import { parseArgs } from 'node:util'
import { type EnsureOptions, ensureModel } from '../hub/ensure-model.js'
import { HubError } from '../hub/errors.js'
import { type ModelSpec, requireModelSpec } from '../hub/model-spec.js'
import { isRevision } from '../models/hub-cache.js'
import { DownloadBars } from './download-progress.js'
import { UsageError } from './options.js'

export const downloadHelp = `tfserve download: get models of the Hugging Face Hub into the cache.

Usage: tfserve download ID... [options]

ID  org/name, org/name@revision, or a GGUF file of a repository: org/name:file.gguf, or by its
    quantisation org/name:Q4_K_M. Only the files that serving needs are downloaded: configuration,
    tokenizer and safetensors weights, or the GGUF file with all its parts. What is in the cache
    already is not downloaded again; an interrupted download goes on where it stopped.

Options:
  --cache-dir DIR                 The cache. Default: HF_HUB_CACHE, else the hub folder in HF_HOME.
  --revision REV                  A branch, tag or commit, for ids that name none. Default: main.
  --force-download                Download again what is in the cache.
  --token TOKEN                   For private and gated repositories. Default: HF_TOKEN, else the saved login.
  --include GLOB                  Get the files that match instead, e.g. '*.json'. May be given several times.
  -h, --help                      This text.

HF_ENDPOINT names another Hub; with HF_HUB_OFFLINE=1 nothing is downloaded.
The path of each model is printed. Exit codes: 0 all are there, 1 one could not be had, 2 a mistake on the command line.
`

const interrupted = 130

const options = {
  'cache-dir': { type: 'string' },
  revision: { type: 'string' },
  'force-download': { type: 'boolean' },
  token: { type: 'string' },
  include: { type: 'string', multiple: true },
  // accepted from users of transformers download: no code of a repository is ever run
  'trust-remote-code': { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const

function parse(args: string[]) {
  try {
    return parseArgs({ args, options, allowPositionals: true, strict: true })
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const unknown = /^Unknown option '([^']+)'/.exec(message)
    throw new UsageError(
      unknown ? `Unknown option ${unknown[1]}. See tfserve download --help.` : `${message.split('.')[0]}. See tfserve download --help.`,
    )
  }
}

function specOf(typed: string, revision: string | undefined): ModelSpec {
  let spec: ModelSpec
  try {
    spec = requireModelSpec(typed)
  } catch (error) {
    throw error instanceof HubError ? new UsageError(error.message) : error
  }
  return revision === undefined || typed.includes('@') ? spec : { ...spec, revision }
}

/** A model as typed, and what that names. */
export interface WantedModel {
  typed: string
  spec: ModelSpec
}

/**
 * Has models in the cache, with progress on stderr; `onPath` gets each one's path. A signal ends it, a second one the process.
 * Resolves with the exit code: 0, 1 when one could not be had, 130 when interrupted; the reasons have been printed.
 */
export async function fetchModels(
  wanted: readonly WantedModel[],
  settings: EnsureOptions,
  onPath: (path: string) => void,
): Promise<number> {
  const stop = new AbortController()
  const onSignal = (): void => {
    if (stop.signal.aborted) process.exit(interrupted)
    stop.abort()
  }
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const signal of signals) process.on(signal, onSignal)
  let failed = false
  try {
    for (const { typed, spec } of wanted) {
      const bars = new DownloadBars(typed, process.stderr)
      const failure = await ensureModel(spec, {
        ...settings,
        onProgress: bars.update,
        onNotice: (message) => bars.notice(`tfserve: ${message}`),
        signal: stop.signal,
      }).then(
        ({ path }) => {
          bars.end()
          onPath(path)
        },
        (error: unknown) => {
          bars.end()
          if (!(error instanceof HubError)) throw error
          return error
        },
      )
      if (!failure) continue
      failed = true
      process.stderr.write(`tfserve: ${wanted.length > 1 ? `${typed}: ` : ''}${failure.message}\n`)
      if (failure.code === 'aborted') return interrupted
    }
    return failed ? 1 : 0
  } finally {
    for (const signal of signals) process.off(signal, onSignal)
  }
}

/** Runs `tfserve download`. Resolves with the exit code; throws a UsageError. */
export async function download(args: string[]): Promise<number> {
  const { values, positionals } = parse(args)
  if (values.help) {
    process.stdout.write(downloadHelp)
    return 0
  }
  if (positionals.length === 0) throw new UsageError('Expected at least one id such as org/name. See tfserve download --help.')
  for (const name of ['cache-dir', 'token'] as const) if (values[name] === '') throw new UsageError(`Expected a value for --${name}.`)
  if (values.revision !== undefined && !isRevision(values.revision)) throw new UsageError(`'${values.revision}' is no revision.`)
  const wanted = positionals.map((typed) => ({ typed, spec: specOf(typed, values.revision) }))
  const settings: EnsureOptions = {
    token: values.token,
    cacheDir: values['cache-dir'],
    force: values['force-download'] === true,
    include: values.include ?? [],
  }
  return fetchModels(wanted, settings, (path) => process.stdout.write(`${path}\n`))
}
