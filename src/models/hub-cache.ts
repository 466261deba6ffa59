// Reads the cache that Hugging Face's libraries share: models--org--name/refs/<ref> names a commit, snapshots/<commit> holds its files.
import { readdir, readFile, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'

export type Environment = Readonly<Record<string, string | undefined>>

/** A repository's id is `name` or `org/name`; each part as the hub allows it, so that it is a safe part of a path, too. */
const idPart = /^(?!.*(?:--|\.\.))[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$/
const commit = /^[0-9a-f]{40}$/

const homeFolder = (env: Environment): string => env.HOME || homedir()

/** `~` and `$NAME` in a path that a user set, as huggingface_hub expands them. */
export function expandPath(path: string, env: Environment = process.env): string {
  const named = path.replace(/\$(?:(\w+)|\{(\w+)\})/g, (all, plain?: string, braced?: string) => env[plain ?? braced ?? ''] ?? all)
  return named === '~' || named.startsWith('~/') ? join(homeFolder(env), named.slice(1)) : named
}

/** Hugging Face's own folder: HF_HOME. */
export function hubHome(env: Environment = process.env): string {
  if (env.HF_HOME) return expandPath(env.HF_HOME, env)
  return join(env.XDG_CACHE_HOME ? expandPath(env.XDG_CACHE_HOME, env) : join(homeFolder(env), '.cache'), 'huggingface')
}

/** Where the cache is, by the variables that huggingface_hub reads, in its order. */
export function hubCacheFolder(env: Environment = process.env): string {
  const folder = env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE
  return folder ? expandPath(folder, env) : join(hubHome(env), 'hub')
}

export function isRepositoryId(id: string): boolean {
  const parts = id.split('/')
  return id.length <= 96 && parts.length <= 2 && parts.every((part) => idPart.test(part))
}

/** A branch, tag, pull request (`refs/pr/1`) or commit, free of anything that leads out of the cache. */
export function isRevision(revision: string): boolean {
  return revision.length <= 256 && revision.split('/').every((part) => /^[A-Za-z0-9_][\w.+-]*$/.test(part) && !part.includes('..'))
}

/** A file within a repository: relative, without a way up, and no longer than file systems take. */
export function isRepositoryFile(file: string): boolean {
  const isName = (part: string): boolean => part !== '' && part !== '.' && part !== '..' && part.length <= 255 && !/[\\:\0-\x1f]/.test(part)
  return file.length <= 1024 && file.split('/').every(isName)
}

export const isCommit = (text: string): boolean => commit.test(text)

/** The folder of a repository in the cache, whether or not it is there. @param id one that isRepositoryId accepts */
export function repositoryFolder(cache: string, id: string): string {
  return join(cache, `models--${id.replace('/', '--')}`)
}

const isFolder = async (path: string): Promise<boolean> => (await stat(path).catch(() => undefined))?.isDirectory() ?? false

/** The repository's folder in the cache, or undefined when nothing of it is there. */
export async function cachedRepository(cache: string, id: string): Promise<string | undefined> {
  const folder = repositoryFolder(cache, id)
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
