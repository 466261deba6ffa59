// Paths that requests may name: inside the directories that the operator allows, and nowhere else.
import { opendir, realpath } from 'node:fs/promises'
import { join, resolve, sep } from 'node:path'
import { ModelNotFoundError } from './resolve.js'

const maxEntries = 10_000

const within = (path: string, folders: readonly string[]): boolean =>
  folders.some((folder) => path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep))

export class AllowedPaths {
  /** @param folders as the operator named them; they need not exist yet */
  constructor(private readonly folders: readonly string[]) {}

  /**
   * The real path that a request's path means. Rejects with a ModelNotFoundError that is the same whether there is nothing or it may not
   * be used: a client does not learn what else lies on this machine.
   */
  async find(named: string): Promise<string> {
    const path = resolve(named)
    const lexical = this.folders.map((folder) => resolve(folder))
    const real = await this.#real()
    // a path outside is not even looked at
    if (!named.includes('\0') && within(path, [...lexical, ...real])) {
      const found = await realpath(path).catch(() => undefined)
      if (found !== undefined && within(found, real)) {
        await this.#requireNoWayOut(found, named, real)
        return found
      }
    }
    throw new ModelNotFoundError(
      `There is no model at '${named.slice(0, 200)}' that requests may name. Paths are served from the directories given by --allow-local.`,
    )
  }

  #real(): Promise<string[]> {
    return Promise.all(this.folders.map((folder) => realpath(folder).catch(() => resolve(folder))))
  }

  // a link among a checkpoint's files would be followed by the loader
  async #requireNoWayOut(path: string, named: string, real: readonly string[]): Promise<void> {
    const folders = [path]
    let entries = 0
    for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
      const opened = await opendir(folder).catch(() => undefined)
      if (!opened) continue // a file, or a directory that cannot be read: nothing is loaded from it
      for await (const entry of opened) {
        if (++entries > maxEntries) throw new ModelNotFoundError(`'${named}' holds too many files for a model.`)
        const full = join(folder, entry.name)
        if (entry.isDirectory() && !entry.name.startsWith('.')) folders.push(full)
        if (!entry.isSymbolicLink()) continue
        const target = await realpath(full).catch(() => undefined)
        if (target !== undefined && !within(target, real)) {
          throw new ModelNotFoundError(`'${named}' holds a link that leads out of the directories given by --allow-local.`)
        }
      }
    }
  }
}
