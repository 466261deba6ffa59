// Reads the cache that Hugging Face's libraries share: models--org--name/refs/<ref> names a commit, snapshots/<commit> holds its files.
import { readdir, readFile, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'

type Environment = Readonly<Record<string, string | undefined>>

/** A repository's id is `name` or `org/name`; each part as the hub allows it, so that it is a safe part of a path, too. */
const idPart = /^(?!.*(?:--|\.\.))[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$/
const commit = /^[0-9a-f]{40}$/

/** Where the cache is, by the variables that huggingface_hub reads, in its order. */
export function hubCacheFolder(env: Environment = process.env): string {
  const home = env.HOME || homedir()
  const expand = (path: string): string => (path === '~' || path.startsWith('~/') ? join(home, path.slice(1)) : path)
  const folder = env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE
  if (folder) return expand(folder)
  if (env.HF_HOME) return join(expand(env.HF_HOME), 'hub')
  return join(env.XDG_CACHE_HOME ? expand(env.XDG_CACHE_HOME) : join(home, '.cache'), 'huggingface', 'hub')
}

export function isRepositoryId(id: string): boolean {
  const parts = id.split('/')
  return id.length <= 96 && parts.length <= 2 && parts.every((part) => idPart.test(part))
}

/** A branch, tag, pull request (`refs/pr/1`) or commit, free of anything that leads out of the cache. */
export function isRevision(revision: string): boolean {
  return revision.length <= 256 && revision.split('/').every((part) => /^[A-Za-z0-9_][\w.+-]*$/.test(part) && !part.includes('..'))
}

/** A file within a repository: relative, and without a way up. */
export function isRepositoryFile(file: string): boolean {
  return file.split('/').every((part) => part !== '' && part !== '.' && part !== '..' && !/[\\:\0]/.test(part))
}

const isFolder = async (path: string): Promise<boolean> => (await stat(path).catch(() => undefined))?.isDirectory() ?? false

/** The repository's folder in the cache, or undefined when nothing of it is there. */
export async function cachedRepository(cache: string, id: string): Promise<string | undefined> {
  const folder = join(cache, `models--${id.replace('/', '--')}`)
  return (await isFolder(folder)) ? folder : undefined
}

/** The snapshot that a revision names, or undefined when it is not there. */
export async function cachedSnapshot(repository: string, revision: string): Promise<string | undefined> {
  const ref = (await readFile(join(repository, 'refs', ...revision.split('/')), 'utf8').catch(() => undefined))?.trim()
  for (const name of [ref, revision]) {
    if (name === undefined || !commit.test(name)) continue
    const snapshot = join(repository, 'snapshots', name)
    if (await isFolder(snapshot)) return snapshot
  }
  return undefined
}

/** The refs of a repository that are in the cache, for a message. */
export async function cachedRefs(repository: string): Promise<string[]> {
  const refs = join(repository, 'refs')
  const entries = await readdir(refs, { recursive: true, withFileTypes: true }).catch(() => [])
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) =>
      join(entry.parentPath, entry.name)
        .slice(refs.length + 1)
        .replaceAll('\\', '/'),
    )
    .sort()
}
