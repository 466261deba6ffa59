import { readFile } from 'node:fs/promises'
import { UsageError } from './options.js'

// long enough that guessing is hopeless is the user's business; what cannot be sent in a header is a mistake
const usable = /^[\x21-\x7e]{1,512}$/

/** Keys from flags, a file (one a line, # begins a comment) and the environment's TFSERVE_API_KEY (several with commas). Throws a UsageError. */
export async function apiKeys(
  flags: readonly string[],
  file: string | undefined,
  env: Readonly<Record<string, string | undefined>> = process.env,
): Promise<string[]> {
  // an empty variable of a script must not open the server
  if (flags.some((key) => key.trim() === '')) throw new UsageError('Expected a key for --api-key but received nothing.')
  const keys = [...flags, ...(env.TFSERVE_API_KEY ?? '').split(',')]
  if (file !== undefined) {
    let text: string
    try {
      text = await readFile(file, 'utf8')
    } catch (error) {
      throw new UsageError(`The file of --api-key-file cannot be read: ${(error as NodeJS.ErrnoException).code ?? 'error'}.`)
    }
    const lines = text.split(/\r?\n/).filter((line) => !line.trimStart().startsWith('#'))
    if (lines.every((line) => line.trim() === '')) throw new UsageError('The file of --api-key-file holds no key.')
    keys.push(...lines)
  }
  const given = [...new Set(keys.map((key) => key.trim()).filter((key) => key !== ''))]
  if (!given.every((key) => usable.test(key)))
    throw new UsageError('An API key may hold only printable ASCII characters without spaces, at most 512.')
  return given
}
