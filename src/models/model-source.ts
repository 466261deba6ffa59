// From a name to files on this machine: the cache, else a download; what is wrong becomes an error that a client may see.
import { realpath } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { type EngineOptions, type ErrorCode, RequestError } from '../engine/types.js'
import { ensureModel, type EnsuredModel } from '../hub/ensure-model.js'
import { HubError, type HubErrorCode } from '../hub/errors.js'
import type { ModelSpec } from '../hub/model-spec.js'
import type { DownloadProgress } from '../hub/progress.js'
import { snapshotFiles } from '../hub/scan-cache.js'
import { hubSettings } from '../hub/settings.js'
import type { Environment } from './hub-cache.js'
import { AllowedPaths } from './local-paths.js'
import { estimateWeightBytes, inUnits } from './memory-estimate.js'
import type { NamedModel } from './request-names.js'
import { created, ModelNotFoundError, type ResolvedModel, resolvePath } from './resolve.js'

/** A model whose files are here. */
export interface FoundModel extends ResolvedModel {
  /** The same for all names of the same files. */
  identity: string
  /** Estimated for memory. */
  weightBytes: number
  /** How long its download took. */
  fetchMs?: number
}

export interface SourceSettings {
  engine: Pick<EngineOptions, 'dtype' | 'quantization'>
  allowLocal: readonly string[]
  allowDownload: boolean
  /** Downloads of different models at once; more wait in order. */
  maxDownloads: number
  cacheDir?: string | undefined
  token?: string | undefined
  env?: Environment | undefined
  log: (level: 'info' | 'warning' | 'error', message: string) => void
}

export interface FetchEvents {
  /** What has arrived of all files together. */
  onDownload: (progress: DownloadProgress) => void
  signal: AbortSignal
}

const codes: Partial<Record<HubErrorCode, ErrorCode>> = {
  unsupported: 'model_unsupported',
  unreachable: 'hub_unavailable',
  server_error: 'hub_unavailable',
  rate_limited: 'hub_unavailable',
  invalid_response: 'hub_unavailable',
  size_mismatch: 'hub_unavailable',
  checksum_mismatch: 'hub_unavailable',
  disk_full: 'model_load_failed',
  permission_denied: 'model_load_failed',
  cache_error: 'model_load_failed',
  aborted: 'shutting_down',
}

// those whose own sentences name places of this machine
const told: Partial<Record<HubErrorCode, string>> = {
  wrong_token: "The Hub does not accept this server's token; the server's log says which.",
  forbidden: "The Hub refuses access to the model with this server's token. If it is gated, its terms have to be accepted first.",
  disk_full: "The disk of the server's model cache is full.",
  permission_denied: "The server's model cache cannot be written.",
  cache_error: "The server's model cache cannot be written.",
  aborted: 'The server is shutting down.',
}

export class ModelSource {
  readonly #paths: AllowedPaths
  readonly #waiting: (() => void)[] = []
  #downloads = 0

  constructor(private readonly settings: SourceSettings) {
    this.#paths = new AllowedPaths(settings.allowLocal)
  }

  /** The cache's folder. Throws a HubError for an environment that cannot be used. */
  get cache(): string {
    const { env, cacheDir } = this.settings
    return hubSettings(env, { cacheDir }).cache
  }

  /** A model of the command line. */
  async known(model: ResolvedModel): Promise<FoundModel> {
    return { ...model, identity: await identityOf(model), weightBytes: await estimateWeightBytes(model.path, this.settings.engine) }
  }

  /** What is on this machine under a name; undefined: a download may bring it. Rejects with a RequestError. */
  async here(asked: NamedModel): Promise<FoundModel | undefined> {
    switch (asked.kind) {
      case 'known':
        return this.known(asked.model)
      case 'path':
        return this.#local(asked.path)
      case 'hub':
        return this.#cached(asked.spec)
    }
  }

  /** A path that a request names. Rejects with a RequestError. */
  async #local(named: string): Promise<FoundModel> {
    let path = ''
    try {
      path = await this.#paths.find(named)
      const found = await resolvePath(path)
      if (!found) throw new ModelNotFoundError(`There is no model at '${named}'.`)
      return await this.known({ ...found, id: named, aliases: [] })
    } catch (error) {
      if (!(error instanceof ModelNotFoundError)) throw error
      throw new RequestError('model_not_found', path === '' ? error.message : error.message.replaceAll(path, named), 'model')
    }
  }

  /** A model of the Hub as the cache has it, or undefined when (a part of) it would have to be downloaded. Rejects with a RequestError. */
  async #cached(spec: ModelSpec): Promise<FoundModel | undefined> {
    const { env = process.env, cacheDir } = this.settings
    let model: EnsuredModel
    try {
      model = await ensureModel(spec, { cacheDir, env: { ...env, HF_HUB_OFFLINE: '1' } })
    } catch (error) {
      if (error instanceof HubError) return undefined
      throw error
    }
    return this.#found(model)
  }

  /** A model of the Hub, downloaded. Rejects with a RequestError. */
  async download(spec: ModelSpec, { onDownload, signal }: FetchEvents): Promise<FoundModel> {
    const { env = process.env, cacheDir, token, allowDownload, log } = this.settings
    const name = `'${spec.id}' at revision '${spec.revision}'`
    if (!allowDownload || hubSettings(env, { cacheDir }).offline) {
      const why = allowDownload ? ': HF_HUB_OFFLINE is set' : ''
      throw new RequestError('model_not_found', `${name} is not in the cache of this server, which downloads nothing${why}.`, 'model')
    }
    await this.#turn()
    try {
      signal.throwIfAborted()
      const onNotice = (message: string): void => log('info', message)
      let announced = false
      const onProgress = (progress: DownloadProgress): void => {
        const left = progress.total - progress.current
        if (!announced && left > 0) log('info', `${name} is being downloaded: ${inUnits(left)} in ${progress.files} files.`)
        announced ||= left > 0
        onDownload(progress)
      }
      const begun = performance.now()
      const model = await ensureModel(spec, { cacheDir, token, env, onProgress, onNotice, signal, forServing: true })
      if (announced) log('info', `${name} is in the cache after ${((performance.now() - begun) / 1000).toFixed(1)} s.`)
      return await this.#found(model)
    } catch (error) {
      if (signal.aborted && signal.reason instanceof RequestError) throw signal.reason
      if (!(error instanceof HubError)) throw error
      if (error.code !== 'aborted') log('error', `${name}: ${error.message}`)
      throw new RequestError(codes[error.code] ?? 'model_not_found', told[error.code] ?? error.message, 'model')
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#downloads--
    }
  }

  async #turn(): Promise<void> {
    if (this.#downloads < this.settings.maxDownloads) this.#downloads++
    else await new Promise<void>((resolve) => this.#waiting.push(resolve)) // whoever ends leaves its place
  }

  async #found({ path, id, revision, commit, file, snapshot }: EnsuredModel): Promise<FoundModel> {
    const outside = (await snapshotFiles(snapshot)).find((each) => each.outside)
    if (outside) {
      const message = `'${outside.path}' of '${id}@${revision}' is a link that leads out of the Hugging Face cache.`
      throw new RequestError('model_not_found', message, 'model')
    }
    const inside = path === snapshot ? undefined : file
    return this.known({
      path,
      id,
      revision,
      aliases: [],
      created: await created(path),
      commit,
      ...(inside !== undefined && { file: inside }),
    })
  }
}

/** A commit's directory or file of the cache by its place there, anything else by its real path. */
async function identityOf({ path, commit, file }: ResolvedModel): Promise<string> {
  const real = (each: string): Promise<string> => realpath(each).catch(() => each)
  // a GGUF file of the cache is a link to its blob, which other files of other commits may share
  if (commit !== undefined && file !== undefined) return join(await real(dirname(path)), basename(path))
  return real(path)
}
