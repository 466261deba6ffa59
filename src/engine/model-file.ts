// Reads the small files of a model, whatever lies in their place.
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'

/** A checkpoint that cannot be used; the message is for the user and names files by their base name. */
export class CheckpointError extends Error {
  override readonly name = 'CheckpointError'
}

const reasons: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  ELOOP: 'its links lead in a circle',
  EMFILE: 'too many files are open',
  ENXIO: 'it is not a regular file',
}

/**
 * The content of a file of a model's directory; undefined when there is none.
 * Throws a CheckpointError for what is no regular file (a pipe is never waited for), is larger than `maxBytes` or cannot be read.
 */
export function readModelFile(dir: string, name: string, maxBytes: number): Buffer | undefined {
  let file: number | undefined
  try {
    file = openSync(join(dir, name), constants.O_RDONLY | constants.O_NONBLOCK)
    const status = fstatSync(file)
    if (!status.isFile()) throw new CheckpointError(`${name} is not a regular file.`)
    if (status.size > maxBytes) throw new CheckpointError(`${name} is larger than ${Math.round(maxBytes / 2 ** 20)} MiB.`)
    const content = Buffer.allocUnsafe(status.size)
    let size = 0
    for (let read = -1; read !== 0 && size < content.length; size += read) read = readSync(file, content, size, content.length - size, size)
    return content.subarray(0, size)
  } catch (error) {
    if (error instanceof CheckpointError) throw error
    const code = (error as NodeJS.ErrnoException).code ?? ''
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw new CheckpointError(`${name} cannot be read: ${reasons[code] ?? 'the disk or the file system reports an error'}.`)
  } finally {
    if (file !== undefined) closeSync(file)
  }
}

/** The same as text in UTF-8. Throws a CheckpointError also for bytes that are none. */
export function readModelText(dir: string, name: string, maxBytes: number): string | undefined {
  const content = readModelFile(dir, name, maxBytes)
  if (content === undefined) return undefined
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(content)
  } catch {
    throw new CheckpointError(`${name} is not text in UTF-8.`)
  }
}
