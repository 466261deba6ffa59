// `tfserve models`: what the Hugging Face cache holds, and what of it can be served.
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { type CachedRevision, scanCache } from '../hub/scan-cache.js'
import { expandPath, hubCacheFolder } from '../models/hub-cache.js'
import { formatBytes } from './log.js'
import { UsageError } from './options.js'

export const modelsHelp = `tfserve models: list the models in the Hugging Face cache.

Usage: tfserve models [options]

A line for each revision of a repository and each GGUF file: its id, revision and size, and whether it can be
served; if not, why.

Options:
  --cache-dir DIR                 The cache. Default: HF_HUB_CACHE, else the hub folder in HF_HOME.
  --json                          The list as JSON.
  -h, --help                      This text.
`

interface Listed {
  id: string
  revision: string
  commit: string
  /** Bytes. */
  size: number
  modified: string
  servable: boolean
  /** Why it cannot be served. */
  reason?: string
  path: string
}

function listed({ id, revision, commit, snapshot, size, modified, models }: CachedRevision): Listed[] {
  const time = (seconds: number): string => new Date(seconds * 1000).toISOString()
  const none = {
    id,
    revision,
    commit,
    size,
    modified: time(modified),
    servable: false,
    reason: 'it holds neither a checkpoint nor a GGUF file',
    path: snapshot,
  }
  if (models.length === 0) return [none]
  return models.map(({ file, obstacle, size: bytes, modified: changed }) => ({
    id: file === undefined ? id : `${id}:${file}`,
    revision,
    commit,
    size: bytes,
    modified: time(changed),
    servable: obstacle === undefined,
    ...(obstacle !== undefined && { reason: obstacle }),
    path: file === undefined ? snapshot : `${snapshot}/${file}`,
  }))
}

/** The list as a table for people. */
export function modelTable(models: readonly Listed[]): string {
  const rows = models.map(({ id, revision, commit, size, servable, reason }) => [
    id,
    revision === commit ? commit.slice(0, 12) : revision,
    formatBytes(size),
    servable ? 'yes' : `no: ${reason}`,
  ])
  const all = [['ID', 'REVISION', 'SIZE', 'CAN BE SERVED'], ...rows]
  const widths = [0, 1, 2].map((column) => Math.max(...all.map((row) => row[column]!.length)))
  return all
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('')
}

/** Runs `tfserve models`. Resolves with the exit code; throws a UsageError. */
export async function models(args: string[]): Promise<number> {
  let values: { 'cache-dir'?: string; json?: boolean; help?: boolean }
  try {
    const options = { 'cache-dir': { type: 'string' }, json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } as const
    values = parseArgs({ args, options, strict: true }).values
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    throw new UsageError(`${message.split('.')[0]}. See tfserve models --help.`)
  }
  if (values.help) {
    process.stdout.write(modelsHelp)
    return 0
  }
  const cache = resolve(values['cache-dir'] === undefined ? hubCacheFolder() : expandPath(values['cache-dir']))
  const found = (await scanCache(cache)).flatMap(listed)
  if (values.json) process.stdout.write(`${JSON.stringify(found, null, 2)}\n`)
  else if (found.length > 0) process.stdout.write(modelTable(found))
  else process.stdout.write(`No models in ${cache}. Get one with: tfserve download org/name\n`)
  return 0
}
