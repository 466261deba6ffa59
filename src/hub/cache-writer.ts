// Writes the cache that Hugging Face's libraries share: links of snapshots into blobs, refs, and the notes of files that do not exist.
import { randomBytes } from 'node:crypto'
import { copyFile, mkdir, readFile, rename, rm, stat, statfs, symlink, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { repositoryFolder } from '../models/hub-cache.js'
import { HubError } from './errors.js'

const cacheTag = `Signature: 8a477f597d28d172789f06886806bc55
# This file is a cache directory tag created by huggingface_hub.
# For information about cache directory tags, see:
#	https://bford.info/cachedir/
`

const linksImpossible = new Set(['EPERM', 'EACCES', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EINVAL'])

const besides = (path: string): string => `${path}.${randomBytes(4).toString('hex')}.tmp`

/** One repository in the cache, while files are put into it. */
export class CacheWriter {
  readonly folder: string

  constructor(
    private readonly cache: string,
    id: string,
    private readonly symlinks: boolean,
  ) {
    this.folder = repositoryFolder(cache, id)
  }

  snapshot(commit: string): string {
    return join(this.folder, 'snapshots', commit)
  }

  /** Where a file of a snapshot is. */
  pointer(commit: string, path: string): string {
    return join(this.snapshot(commit), ...path.split('/'))
  }

  blob(etag: string): string {
    return join(this.folder, 'blobs', etag)
  }

  lock(etag: string): string {
    return join(this.cache, '.locks', relative(this.cache, this.folder), `${etag}.lock`)
  }

  /** Whether the file is there, whole. */
  async has(path: string, size: number): Promise<boolean> {
    const found = await stat(path).catch(() => undefined)
    return found !== undefined && found.isFile() && found.size === size
  }

  /** Makes the folders, and marks the cache for backup programs. */
  async prepare(): Promise<void> {
    await mkdir(join(this.folder, 'blobs'), { recursive: true })
    await writeFile(join(this.cache, 'CACHEDIR.TAG'), cacheTag, { flag: 'wx' }).catch(() => undefined)
  }

  /** Puts the blob into the snapshot: a relative link, or where there are none the file itself. @param fresh nothing else uses the blob yet */
  async link(etag: string, commit: string, path: string, fresh: boolean): Promise<void> {
    const pointer = this.pointer(commit, path)
    const blob = this.blob(etag)
    await mkdir(dirname(pointer), { recursive: true })
    const temporary = besides(pointer)
    if (this.symlinks) {
      try {
        await symlink(relative(dirname(pointer), blob), temporary)
        await rename(temporary, pointer)
        return
      } catch (error) {
        await rm(temporary, { force: true })
        if (!linksImpossible.has((error as NodeJS.ErrnoException).code ?? '')) throw error
      }
    }
    if (fresh) return rename(blob, pointer)
    await copyFile(blob, temporary)
    await rename(temporary, pointer)
  }

  /** Says which commit a revision is at. */
  async setRef(revision: string, commit: string): Promise<void> {
    if (revision === commit) return
    const path = join(this.folder, 'refs', ...revision.split('/'))
    if ((await readFile(path, 'utf8').catch(() => undefined)) === commit) return
    await mkdir(dirname(path), { recursive: true })
    const temporary = besides(path)
    await writeFile(temporary, commit)
    await rename(temporary, path)
  }

  /** Notes that a commit has no such file, as others look for it. */
  async noteMissing(commit: string, path: string): Promise<void> {
    const note = join(this.folder, '.no_exist', commit, ...path.split('/'))
    await mkdir(dirname(note), { recursive: true })
    await writeFile(note, '', { flag: 'a' })
  }

  /** Throws a HubError unless the disk has room for so many bytes. */
  async requireRoom(bytes: number): Promise<void> {
    const disk = await statfs(this.folder).catch(() => undefined)
    if (!disk || disk.blocks === 0) return // the disk does not say
    const free = disk.bavail * disk.bsize
    if (free >= bytes) return
    const inMb = (value: number): string => `${(value / 1e6).toFixed(1)} MB`
    throw new HubError(
      'disk_full',
      `The disk of the cache (${this.cache}) has ${inMb(free)} free and ${inMb(bytes)} are to come. Free some space, or set HF_HOME or --cache-dir to another disk.`,
    )
  }
}

/** Whether an earlier look at the Hub found that a commit has no such file. */
export async function isNotedMissing(repository: string, commit: string, path: string): Promise<boolean> {
  return (await stat(join(repository, '.no_exist', commit, ...path.split('/'))).catch(() => undefined)) !== undefined
}
