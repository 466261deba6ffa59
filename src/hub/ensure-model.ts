// Sees to it that a model of the Hub is in the cache, and says where: what is missing is downloaded, several files at once.
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { cachedRepository, cachedSnapshot, type Environment, repositoryFolder } from '../models/hub-cache.js'
import { CacheWriter, isNotedMissing } from './cache-writer.js'
import { downloadBlob } from './download-blob.js'
import { errorOfFileSystem, HubError } from './errors.js'
import { lockFile } from './file-lock.js'
import { aborted, HubClient } from './http.js'
import { type ModelSpec, requireModelSpec } from './model-spec.js'
import { type DownloadProgress, ProgressSum } from './progress.js'
import { type ListedFile, type RemoteFile, Repository } from './repository.js'
import { snapshotFiles } from './scan-cache.js'
import { includeFiles, type Selection, selectFiles } from './select-files.js'
import { configObstacle } from './servable.js'
import { type HubSettings, hubSettings } from './settings.js'

export interface EnsureOptions {
  onProgress?: (progress: DownloadProgress) => void
  /** A sentence on what is going on: another attempt, waiting for another process, the cache in place of the Hub. */
  onNotice?: (message: string) => void
  /** Ends the download; what has arrived is kept for the next one. */
  signal?: AbortSignal
  /** Goes before HF_TOKEN and the token file. */
  token?: string | undefined
  /** Whether a checkpoint that this server cannot run is refused before its weights are fetched. */
  forServing?: boolean
  /** Receives all files anew. */
  force?: boolean
  /** Patterns of file names to have in place of those that serving needs. */
  include?: readonly string[]
  cacheDir?: string | undefined
  /** Takes a complete model of the cache without asking the Hub whether there is a newer one. */
  preferCache?: boolean
  /** Files at once. Default: 8. */
  concurrency?: number
  /** First pause before another attempt, in milliseconds. Default: 500. */
  retryDelayMs?: number
  env?: Environment
}

export interface EnsuredModel {
  /** The checkpoint's directory, or the GGUF file (its first part). */
  path: string
  id: string
  revision: string
  commit: string
  /** The GGUF file within the repository. */
  file: string | undefined
  /** The directory of the commit's files. */
  snapshot: string
  files: string[]
  /** Nothing had to be downloaded. */
  cached: boolean
}

const defaultConcurrency = 8
const maxIndexBytes = 64 * 2 ** 20

/** Has the model in the cache when it resolves. Rejects with a HubError; no broken file is left behind. */
export async function ensureModel(named: string | ModelSpec, options: EnsureOptions = {}): Promise<EnsuredModel> {
  const spec = typeof named === 'string' ? requireModelSpec(named) : named
  const settings = hubSettings(options.env, options)
  if (options.preferCache && !options.force) {
    const found = await completeInCache(spec, settings, options).catch(() => undefined)
    if (found) return found
  }
  if (settings.offline) {
    if (options.force) throw new HubError('offline', 'HF_HUB_OFFLINE is set: nothing can be downloaded anew.')
    return completeInCache(spec, settings, options)
  }
  try {
    return await new ModelDownload(spec, settings, options).run()
  } catch (error) {
    if (options.signal?.aborted) throw aborted()
    const failure = errorOfFileSystem(error, settings.cache)
    const hubIsAway = failure.code === 'unreachable' || failure.code === 'server_error' || failure.code === 'rate_limited'
    const found = hubIsAway && !options.force ? await completeInCache(spec, settings, options).catch(() => undefined) : undefined
    if (!found) throw failure
    options.onNotice?.(`${failure.message} The cache has '${spec.id}' at revision '${spec.revision}'; that is used.`)
    return found
  }
}

/** The model as the cache has it, when nothing of it is missing. Rejects with a HubError that says what is. */
async function completeInCache(spec: ModelSpec, settings: HubSettings, { include }: EnsureOptions): Promise<EnsuredModel> {
  const why = settings.offline ? 'HF_HUB_OFFLINE is set and ' : ''
  const repository = await cachedRepository(settings.cache, spec.id)
  const snapshot = repository && (await cachedSnapshot(repository, spec.revision))
  if (!repository || !snapshot) {
    throw new HubError('offline', `${why}'${spec.id}' at revision '${spec.revision}' is not in the cache (${settings.cache}).`)
  }
  const commit = snapshot.slice(-40)
  if (spec.file !== undefined && (await isNotedMissing(repository, commit, spec.file))) {
    throw new HubError('file_not_found', `The repository '${spec.id}' has no file '${spec.file}' in its revision '${spec.revision}'.`)
  }
  const paths = (await snapshotFiles(snapshot)).map((file) => file.path)
  try {
    const selection = include?.length
      ? includeFiles(spec, paths, include)
      : await selectFiles(spec, paths, (path) => readFile(join(snapshot, path), 'utf8'))
    return ensured(spec, commit, snapshot, selection, true)
  } catch (error) {
    if (!(error instanceof HubError) || !settings.offline) throw error
    throw new HubError('offline', `${why}the cache has only a part of '${spec.id}': ${error.message}`, { cause: error })
  }
}

function ensured(
  { id, revision }: ModelSpec,
  commit: string,
  snapshot: string,
  { gguf, files, kind }: Selection,
  cached: boolean,
): EnsuredModel {
  const path = kind === 'gguf' && gguf !== undefined ? join(snapshot, gguf) : snapshot
  return { path, id, revision, commit, file: gguf, snapshot, files, cached }
}

class ModelDownload {
  readonly #client: HubClient
  readonly #writer: CacheWriter
  readonly #progress: ProgressSum
  // the first failure ends what else is under way
  readonly #failed = new AbortController()
  readonly #fetched = new Set<string>()
  #downloaded = 0

  constructor(
    private readonly spec: ModelSpec,
    private readonly settings: HubSettings,
    private readonly options: EnsureOptions,
  ) {
    const signal = options.signal ? AbortSignal.any([options.signal, this.#failed.signal]) : this.#failed.signal
    this.#client = new HubClient(settings, { signal, retryDelayMs: options.retryDelayMs, onNotice: options.onNotice })
    this.#writer = new CacheWriter(settings.cache, spec.id, settings.symlinks)
    this.#progress = new ProgressSum(options.onProgress)
  }

  async run(): Promise<EnsuredModel> {
    const { spec, options } = this
    const repository = new Repository(this.#client, spec.id, spec.revision)
    const commit = await repository.commit()
    const listed = new Map((await repository.files(commit)).map((file) => [file.path, file]))
    const paths = [...listed.keys()]
    const chosen = options.include?.length
      ? includeFiles(spec, paths, options.include)
      : await selectFiles(spec, paths, (path) => this.#readText(repository, commit, listed.get(path)!)).catch(async (error: unknown) => {
          await this.#noteMissing(error, commit)
          throw error
        })
    if (options.forServing) await this.#requireServable(repository, commit, chosen, listed.get('config.json'))
    await this.#download(
      repository,
      commit,
      chosen.files.map((path) => listed.get(path)!),
    )
    // last, so that a revision never points at a commit of which only a part is here
    await this.#writer.setRef(spec.revision, commit).catch((error: unknown) => {
      if (this.#downloaded > 0) throw error // a cache that may only be read is no obstacle otherwise
    })
    return ensured(spec, commit, this.#writer.snapshot(commit), chosen, this.#downloaded === 0)
  }

  async #requireServable(repository: Repository, commit: string, { kind }: Selection, config: ListedFile | undefined): Promise<void> {
    if (kind === 'gguf' || !config) return
    const obstacle = configObstacle(await this.#readText(repository, commit, config))
    if (obstacle !== undefined) throw new HubError('unsupported', `'${this.spec.id}' cannot be served: ${obstacle}.`)
  }

  async #noteMissing(error: unknown, commit: string): Promise<void> {
    const known = await stat(repositoryFolder(this.settings.cache, this.spec.id)).catch(() => undefined)
    if (!known || !(error instanceof HubError) || error.code !== 'file_not_found' || this.spec.file === undefined) return
    await this.#writer.noteMissing(commit, this.spec.file).catch(() => undefined)
  }

  async #readText(repository: Repository, commit: string, file: ListedFile): Promise<string> {
    if (file.size > maxIndexBytes)
      throw new HubError('no_model', `'${file.path}' of '${this.spec.id}' is larger than ${maxIndexBytes} bytes.`)
    await this.#download(repository, commit, [file], true)
    return readFile(this.#writer.pointer(commit, file.path), 'utf8')
  }

  /** @param silently not to be counted: the files that follow are not known yet */
  async #download(repository: Repository, commit: string, files: readonly ListedFile[], silently = false): Promise<void> {
    const force = this.options.force === true
    const missing: ListedFile[] = []
    for (const file of files) {
      // what has just been fetched for its list of shards is not fetched twice
      const mayStay = !force || this.#fetched.has(file.path)
      const here = mayStay && (await this.#writer.has(this.#writer.pointer(commit, file.path), file.size))
      if (!silently) this.#progress.add(file.path, file.size, here)
      if (!here) missing.push(file)
    }
    if (missing.length === 0) return silently ? undefined : this.#progress.flush()
    const limit = this.options.concurrency ?? defaultConcurrency
    const remote = await this.#each(limit, missing, (file) => repository.locate(file, commit))
    if (!silently) this.#progress.flush()
    await this.#writer.prepare()
    await this.#writer.requireRoom(await this.#bytesToCome(remote))
    await this.#each(limit, remote, (file) => this.#fetch(file, commit))
    if (!silently) this.#progress.flush()
  }

  async #bytesToCome(files: readonly RemoteFile[]): Promise<number> {
    let bytes = 0
    for (const { etag, size } of files) {
      const blob = this.#writer.blob(etag)
      if (!this.options.force && (await this.#writer.has(blob, size))) continue
      const begun = await stat(`${blob}.incomplete`).catch(() => undefined)
      bytes += Math.max(0, size - (begun?.size ?? 0))
    }
    return bytes
  }

  async #fetch(file: RemoteFile, commit: string): Promise<void> {
    const { path, etag, size } = file
    const blob = this.#writer.blob(etag)
    const { force = false, onNotice } = this.options
    let fresh = false
    if (force || !(await this.#writer.has(blob, size))) {
      const release = await lockFile(this.#writer.lock(etag), {
        signal: this.#client.signal,
        onWait: () => onNotice?.(`Another process is downloading '${path}' of '${this.spec.id}'; waiting for it.`),
      })
      try {
        // the one who held it before may have brought it
        if (force || !(await this.#writer.has(blob, size))) {
          const { id, revision } = this.spec
          const onBytes = (received: number): void => this.#progress.update(path, received)
          await downloadBlob({ client: this.#client, id, revision, file, blob, force, onBytes })
          fresh = true
          this.#downloaded++
        }
        await this.#writer.link(etag, commit, path, fresh)
      } finally {
        await release()
      }
    } else await this.#writer.link(etag, commit, path, false)
    this.#fetched.add(path)
    this.#progress.finish(path)
  }

  async #each<T, R>(limit: number, items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
    const results = new Array<R>(items.length)
    let next = 0
    let failure: { error: unknown } | undefined
    const worker = async (): Promise<void> => {
      while (next < items.length && !failure) {
        const at = next++
        try {
          results[at] = await work(items[at]!)
        } catch (error) {
          failure ??= { error }
          this.#failed.abort()
        }
      }
    }
    await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker))
    if (failure) throw failure.error
    return results
  }
}
