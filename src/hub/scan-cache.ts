// What the Hugging Face cache holds: repositories, their revisions, and the models that can be served from them.
import { readdir, readFile, realpath, stat } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { cachedRefs, isCommit, isRepositoryId, isRevision } from '../models/hub-cache.js'
import { ggufModels, ggufParts } from './model-spec.js'
import { checkpointObstacle, ggufObstacle, type SnapshotFile } from './servable.js'

/** Something with a name of its own to be served under: a checkpoint or one GGUF file. */
export interface CachedModel {
  /** The GGUF file within the repository; undefined: the checkpoint. */
  file: string | undefined
  /** Why it cannot be served. */
  obstacle: string | undefined
  /** Bytes of its files. */
  size: number
  /** When it came, in Unix seconds. */
  modified: number
}

export interface CachedRevision {
  id: string
  /** A branch or tag; the commit itself where nothing else names it. */
  revision: string
  commit: string
  /** Whether a ref names it. */
  named: boolean
  snapshot: string
  /** Bytes of all its files, each blob counted once. */
  size: number
  modified: number
  models: CachedModel[]
}

/** The files of a snapshot, in order. Links are followed, and marked where they lead out of the repository and the cache. */
export async function snapshotFiles(snapshot: string): Promise<SnapshotFile[]> {
  const repository = join(snapshot, '..', '..')
  const places = await Promise.all(
    [repository, join(repository, 'blobs'), join(repository, '..')].map((path) => realpath(path).catch(() => undefined)),
  )
  const entries = await readdir(snapshot, { recursive: true, withFileTypes: true }).catch(() => [])
  const files = await Promise.all(
    entries
      .filter((entry) => !entry.isDirectory())
      .map(async (entry): Promise<SnapshotFile | undefined> => {
        const full = join(entry.parentPath, entry.name)
        const path = full.slice(snapshot.length + 1).replaceAll('\\', '/')
        const target = await realpath(full).catch(() => undefined)
        const found = target === undefined ? undefined : await stat(target).catch(() => undefined)
        if (found && !found.isFile()) return undefined
        const outside = target !== undefined && !places.some((place) => place !== undefined && target.startsWith(place + sep))
        return { path, size: found?.size, modified: Math.floor((found?.mtimeMs ?? 0) / 1000), target, outside }
      }),
  )
  return files.filter((file) => file !== undefined).sort((a, b) => (a.path < b.path ? -1 : 1))
}

const sum = (numbers: Iterable<number>): number => [...numbers].reduce((total, each) => total + each, 0)

function sizeOf(files: readonly SnapshotFile[]): number {
  const blobs = new Map<string, number>()
  for (const { target, size, outside } of files) if (target !== undefined && size !== undefined && !outside) blobs.set(target, size)
  return sum(blobs.values())
}

const latest = (files: readonly SnapshotFile[]): number => files.reduce((time, { modified }) => Math.max(time, modified), 0)

async function modelsOf(
  id: string,
  snapshot: string,
  files: readonly SnapshotFile[],
  known: readonly string[] | undefined,
): Promise<CachedModel[]> {
  const models: CachedModel[] = []
  const ggufFiles = ggufModels(files.map(({ path }) => path))
  // a repository of GGUF files often has its config.json along
  const hasWeights = files.some(({ path }) => /\.(?:safetensors|bin|index\.json|h5|msgpack)$/.test(path))
  if (files.some(({ path }) => path === 'config.json') && (ggufFiles.length === 0 || hasWeights)) {
    const own = files.filter(({ path }) => !path.toLowerCase().endsWith('.gguf'))
    models.push({ file: undefined, obstacle: await checkpointObstacle(id, snapshot, own, known), size: sizeOf(own), modified: latest(own) })
  }
  for (const file of ggufFiles) {
    const parts = new Set(ggufParts(file))
    const own = files.filter(({ path }) => parts.has(path))
    models.push({ file, obstacle: await ggufObstacle(snapshot, file, files), size: sizeOf(own), modified: latest(own) })
  }
  return models
}

/**
 * Reads the whole cache anew; what is malformed in it is passed over. Nothing there: no revisions.
 * @param known architectures that can be loaded; default: those of the native loader
 */
export async function scanCache(cache: string, known?: readonly string[]): Promise<CachedRevision[]> {
  const revisions: CachedRevision[] = []
  const folders = await readdir(cache).catch(() => [])
  for (const folder of folders.sort()) {
    const id = /^models--(.+)$/.exec(folder)?.[1]?.replace('--', '/')
    if (id === undefined || !isRepositoryId(id)) continue
    const repository = join(cache, folder)
    const commits = (await readdir(join(repository, 'snapshots')).catch(() => [])).filter(isCommit)
    const named: { revision: string; commit: string }[] = []
    for (const revision of await cachedRefs(repository)) {
      const commit = (await readFile(join(repository, 'refs', ...revision.split('/')), 'utf8').catch(() => '')).trim()
      if (isRevision(revision) && commits.includes(commit)) named.push({ revision, commit })
    }
    // main goes first, commits that nothing names last
    named.sort((a, b) => Number(b.revision === 'main') - Number(a.revision === 'main'))
    const unnamed = commits.filter((commit) => !named.some((ref) => ref.commit === commit))
    for (const { revision, commit, isNamed } of [
      ...named.map((ref) => ({ ...ref, isNamed: true })),
      ...unnamed.map((commit) => ({ revision: commit, commit, isNamed: false })),
    ]) {
      const snapshot = join(repository, 'snapshots', commit)
      const files = await snapshotFiles(snapshot)
      const models = await modelsOf(id, snapshot, files, known)
      revisions.push({ id, revision, commit, named: isNamed, snapshot, size: sizeOf(files), modified: latest(files), models })
    }
  }
  return revisions
}
