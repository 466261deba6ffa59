// One file into the cache's blobs: received into <blob>.incomplete, from where an earlier attempt stopped, checked, then renamed.
import { createHash, type Hash } from 'node:crypto'
import { constants, type FileHandle, open, rename, rm, stat } from 'node:fs/promises'
import { errorOfFileSystem, HubError } from './errors.js'
import { discard, type HubClient, unreachable } from './http.js'
import type { RemoteFile } from './repository.js'

export interface BlobOptions {
  client: HubClient
  id: string
  revision: string
  file: RemoteFile
  /** Where the file goes. */
  blob: string
  /** Receive it anew though it is there. */
  force: boolean
  /** Bytes of the file that are here; may fall when a server cannot go on in the middle. */
  onBytes: (received: number) => void
}

const attempts = 6
const chunkBytes = 1 << 20

const isSha256 = (etag: string): boolean => /^[0-9a-f]{64}$/.test(etag)
const isGitSha1 = (etag: string): boolean => /^[0-9a-f]{40}$/.test(etag)

/** What the etag promises of the bytes; undefined when it promises nothing. */
function hashFor({ etag, size }: RemoteFile): Hash | undefined {
  if (isSha256(etag)) return createHash('sha256')
  return isGitSha1(etag) ? createHash('sha1').update(`blob ${size}\0`) : undefined
}

class Corrupt extends Error {
  constructor(
    readonly resumed: boolean,
    readonly problem: HubError,
  ) {
    super(problem.message)
  }
}

/**
 * Makes the blob, whose lock the caller holds. Resolves when it is in place, whole and of the right hash.
 * Rejects with a HubError: what was received of a broken connection stays for the next time; what is wrong goes.
 */
export async function downloadBlob(options: BlobOptions): Promise<void> {
  const { blob, file, force } = options
  const partial = `${blob}.incomplete`
  try {
    if (force) await rm(partial, { force: true })
    try {
      await receive(options, partial)
    } catch (error) {
      if (!(error instanceof Corrupt)) throw error
      await rm(partial, { force: true })
      // what an earlier attempt left may be to blame: once more from the start
      if (!error.resumed) throw error.problem
      await receive(options, partial).catch(async (again: unknown) => {
        if (!(again instanceof Corrupt)) throw again
        await rm(partial, { force: true })
        throw again.problem
      })
    }
    await rename(partial, blob).catch(async (error: NodeJS.ErrnoException) => {
      // another process, which could not respect the lock, was faster
      if (error.code !== 'ENOENT' || (await stat(blob).catch(() => undefined))?.size !== file.size) throw error
    })
  } catch (error) {
    const failure = errorOfFileSystem(error, blob)
    if (failure.code === 'disk_full') await rm(partial, { force: true }).catch(() => undefined)
    throw failure
  }
}

async function receive(options: BlobOptions, partial: string): Promise<void> {
  const { client, file } = options
  const handle = await open(partial, constants.O_RDWR | constants.O_CREAT, 0o666)
  try {
    const state = new Partial(handle, file, options.onBytes)
    await state.readStart(client)
    const resumed = state.position > 0
    let before = state.position
    await client.retrying(
      attempts,
      () => transfer(options, state, resumed),
      () => {
        const further = state.position > before
        before = state.position
        return further
      },
    )
    const found = state.hash?.digest('hex')
    if (found !== undefined && found !== file.etag) {
      const message = `'${file.path}' of '${options.id}' arrived damaged: its hash is ${found}, not ${file.etag}. Nothing was kept of it; try again.`
      throw new Corrupt(resumed, new HubError('checksum_mismatch', message))
    }
    await handle.datasync()
  } finally {
    await handle.close()
  }
}

/** The file while it arrives. */
class Partial {
  position = 0
  hash: Hash | undefined

  constructor(
    readonly handle: FileHandle,
    readonly file: RemoteFile,
    private readonly onBytes: (received: number) => void,
  ) {
    this.hash = hashFor(file)
  }

  /** Takes up what is there from before. */
  async readStart(client: HubClient): Promise<void> {
    const { size } = await this.handle.stat()
    if (size > this.file.size) return this.startAnew()
    const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, Math.max(size, 1)))
    while (this.position < size) {
      client.checkAborted()
      const { bytesRead } = await this.handle.read(buffer, 0, buffer.length, this.position)
      if (bytesRead === 0) break
      this.hash?.update(buffer.subarray(0, bytesRead))
      this.position += bytesRead
    }
    this.onBytes(this.position)
  }

  async startAnew(): Promise<void> {
    await this.handle.truncate(0)
    this.position = 0
    this.hash = hashFor(this.file)
    this.onBytes(0)
  }

  // at its place and not at the end: should two write the same file after all, both write the same
  async write(chunk: Uint8Array): Promise<void> {
    for (let done = 0; done < chunk.length;) {
      const { bytesWritten } = await this.handle.write(chunk, done, chunk.length - done, this.position + done)
      done += bytesWritten
    }
    this.hash?.update(chunk)
    this.position += chunk.length
    this.onBytes(this.position)
  }
}

async function transfer(options: BlobOptions, state: Partial, resumed: boolean): Promise<void> {
  const { client, id, revision, file } = options
  if (state.position === file.size) return
  const from = state.position
  const subject = { id, revision, file: file.path }
  const headers = { 'accept-encoding': 'identity', ...(from > 0 && { range: `bytes=${from}-` }) }
  let response: Response
  try {
    response = await client.request(file.url, { headers, subject })
  } catch (error) {
    if (from === 0 || !(error instanceof HubError) || error.status !== 416) throw error
    await state.startAnew()
    return transfer(options, state, resumed)
  }
  const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '')
  const goesOn =
    response.status === 206 && range !== null && Number(range[1]) === from && (range[2] === '*' || Number(range[2]) === file.size)
  if (from > 0 && response.status === 206 && !goesOn) {
    discard(response)
    await state.startAnew()
    return transfer(options, state, resumed)
  }
  if (from > 0 && response.status === 200) await state.startAnew()
  for await (const piece of client.pieces(response)) {
    if (state.position + piece.length > file.size) {
      throw new Corrupt(
        resumed,
        new HubError('size_mismatch', `'${file.path}' of '${id}' is longer than the ${file.size} bytes announced.`),
      )
    }
    await state.write(piece)
  }
  if (state.position < file.size) {
    throw unreachable(new URL(response.url), `'${file.path}' ended after ${state.position} of ${file.size} bytes`, undefined)
  }
}
