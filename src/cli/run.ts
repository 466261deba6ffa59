// What the command line asks for: the help, the version, a download, the list of models, transcripts, or a server.
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { helpText, parseServeArguments, UsageError } from './options.js'
import { serve } from './serve.js'

function version(): string {
  const file = new URL('../../package.json', import.meta.url)
  return z.looseObject({ version: z.string() }).parse(JSON.parse(readFileSync(file, 'utf8'))).version
}

/** Runs the command; resolves with the exit code: 0, 1 for a failure, 2 for a mistake on the command line. */
export async function run(args: string[]): Promise<number> {
  try {
    const [command, ...rest] = args
    if (command === 'download') return await (await import('./download.js')).download(rest)
    if (command === 'models') return await (await import('./models.js')).models(rest)
    if (command === 'transcribe') return await (await import('./transcribe.js')).transcribe(rest)
    const parsed = parseServeArguments(args)
    if (parsed.help) {
      process.stdout.write(helpText())
      return 0
    }
    if (parsed.version) {
      process.stdout.write(`${version()}\n`)
      return 0
    }
    return await serve(parsed)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    process.stderr.write(`tfserve: ${error.message}\n`)
    return 2
  }
}
