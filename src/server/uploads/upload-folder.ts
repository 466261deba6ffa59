import { randomBytes } from 'node:crypto'
import { unlinkSync } from 'node:fs'
import { lstat, open, readdir, unlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ApiError } from '../../protocol/errors.js'

// what names a file of ours beyond doubt, so that only such files are ever swept
const prefix = 'tfserve-upload-'
const ours = /^tfserve-upload-[0-9a-f]{32}$/
const staleMs = 24 * 3_600_000

export interface UploadLimits {
  /** Bytes of all files that are there at once. */
  totalBytes: number
  /** Uploads that are there at once. */
  count: number
}

// what the system says where a disk, or a user's share of it, is full
const full: readonly unknown[] = ['ENOSPC', 'EDQUOT', 'EFBIG']

/** One upload's file, from its first byte until whoever asked has no more use for it. */
export class UploadFile {
  readonly path: string
  #bytes = 0
  #writing: Promise<void> = Promise.resolve()
  #removed: Promise<void> | undefined

  constructor(private readonly folder: UploadFolder) {
    this.path = join(folder.directory, prefix + randomBytes(16).toString('hex'))
  }

  /** Bytes written. */
  get bytes(): number {
    return this.#bytes
  }

  /**
   * Writes the file, readable for this user alone; once. Rejects with an ApiError where the disk is full or all uploads together would hold
   * too much, and with what the source throws.
   */
  write(source: AsyncIterable<Uint8Array>): Promise<void> {
    const writing = this.#write(source)
    this.#writing = writing.catch(() => undefined)
    return writing
  }

  /** Deletes the file, once nobody writes to it any more. Harmless when called again. */
  remove(): Promise<void> {
    this.#removed ??= this.#remove()
    return this.#removed
  }

  async #write(source: AsyncIterable<Uint8Array>): Promise<void> {
    try {
      const handle = await open(this.path, 'wx', 0o600)
      try {
        for await (const piece of source) {
          this.folder.take(piece.length)
          this.#bytes += piece.length
          await handle.writeFile(piece)
        }
      } finally {
        await handle.close()
      }
    } catch (error) {
      if (full.includes((error as NodeJS.ErrnoException).code)) throw new ApiError('storage_full')
      throw error
    }
  }

  async #remove(): Promise<void> {
    await this.#writing
    await unlink(this.path).catch(() => undefined)
    this.folder.forget(this, this.#bytes)
  }
}

/** The files that uploads are kept in while they are worked on, in the system's folder for temporary files. */
export class UploadFolder {
  readonly #open = new Set<UploadFile>()
  #bytes = 0
  // what a signal's process.exit() leaves no time for otherwise
  readonly #onExit = (): void => {
    for (const { path } of this.#open) {
      try {
        unlinkSync(path)
      } catch {
        // it was not written yet
      }
    }
  }

  constructor(
    private readonly limits: UploadLimits,
    readonly directory: string = tmpdir(),
  ) {}

  /** Bytes of the files that are there. */
  get bytes(): number {
    return this.#bytes
  }

  get count(): number {
    return this.#open.size
  }

  /** A place for one more upload. Throws an ApiError where there are too many. */
  add(): UploadFile {
    if (this.#open.size >= this.limits.count)
      throw new ApiError('server_busy', 'The server is receiving too many uploads at once. Try again later.')
    if (this.#open.size === 0) process.on('exit', this.#onExit)
    const file = new UploadFile(this)
    this.#open.add(file)
    return file
  }

  take(bytes: number): void {
    if (this.#bytes + bytes > this.limits.totalBytes) {
      throw new ApiError('server_busy', 'The uploads under way take all the room that this server gives them. Try again later.')
    }
    this.#bytes += bytes
  }

  forget(file: UploadFile, bytes: number): void {
    this.#bytes -= bytes
    this.#open.delete(file)
    if (this.#open.size === 0) process.off('exit', this.#onExit)
  }

  /** Deletes what a server that was killed has left behind: files of our name and of this user that nobody has written to for a day. */
  async sweep(): Promise<void> {
    const names = await readdir(this.directory).catch(() => [])
    // a user of a container need not be in any list of users
    const uid = process.getuid?.()
    for (const name of names.filter((each) => ours.test(each))) {
      const path = join(this.directory, name)
      const found = await lstat(path).catch(() => undefined)
      if (!found?.isFile()) continue
      const mine = uid === undefined || found.uid === uid
      if (mine && Date.now() - found.mtimeMs > staleMs) await unlink(path).catch(() => undefined)
    }
  }

  /** Deletes all files that are there. */
  async close(): Promise<void> {
    await Promise.all([...this.#open].map((file) => file.remove()))
  }
}
