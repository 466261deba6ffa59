// What the Hub says of a repository: the commit of a revision, its files, and where a file is to be had.
import { listFiles, modelInfo } from '@huggingface/hub'
import { isCommit, isRepositoryFile } from '../models/hub-cache.js'
import { HubError, type RequestSubject } from './errors.js'
import type { HubClient } from './http.js'

/** A file of a repository at one commit. */
export interface RemoteFile {
  path: string
  /** Bytes. */
  size: number
  /** The name of its blob in the cache: the sha256 of a large file, git's sha1 of another. */
  etag: string
  url: string
}

export interface ListedFile {
  path: string
  size: number
  /** What git or LFS says; the etag, unless the server has another. */
  oid: string | undefined
}

const maxListed = 200_000
const maxAnswerBytes = 64 * 2 ** 20
const attempts = 4

const pathOf = (path: string): string => path.split('/').map(encodeURIComponent).join('/')
const plainEtag = (header: string | null): string | undefined => header?.replace(/^W\//, '').replace(/^"|"$/g, '')

/** Names a file in the cache, so it must be one. */
const isEtag = (etag: string | undefined): etag is string => etag !== undefined && /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/.test(etag)

export class Repository {
  readonly #endpoint: string

  constructor(
    private readonly client: HubClient,
    readonly id: string,
    readonly revision: string,
  ) {
    this.#endpoint = client.settings.endpoint
  }

  /** The commit that the revision is at. */
  async commit(): Promise<string> {
    if (isCommit(this.revision)) return this.revision
    const info = await this.#asking(() =>
      modelInfo({ name: this.id, revision: this.revision, additionalFields: ['sha'], hubUrl: this.#endpoint, fetch: this.#fetch() }),
    ).catch((error: unknown) => this.#commitOfFile(error))
    if (!isCommit(String(info.sha))) throw this.#malformed('no commit')
    return info.sha
  }

  // mirrors that only list and send files say the commit with each of them
  async #commitOfFile(refused: unknown): Promise<{ sha: string }> {
    if (!(refused instanceof HubError) || refused.status !== 404) throw refused
    try {
      const [file] = await this.files(this.revision)
      const response = file && (await this.#head(file.path, this.revision))
      const sha = response?.headers.get('x-repo-commit')
      if (sha) return { sha }
    } catch (error) {
      if (!(error instanceof HubError) || error.code === 'aborted') throw error
    }
    throw refused
  }

  /** All files at a commit. */
  async files(commit: string): Promise<ListedFile[]> {
    return this.#asking(async () => {
      const files: ListedFile[] = []
      const entries = listFiles({
        repo: this.id,
        recursive: true,
        revision: encodeURIComponent(commit),
        hubUrl: this.#endpoint,
        fetch: this.#fetch(),
      })
      for await (const { type, path, size, oid, lfs } of entries) {
        if (type !== 'file') continue
        // a name that would lead out of the cache is no file for us
        if (typeof path !== 'string' || !isRepositoryFile(path)) continue
        const bytes = lfs?.size ?? size
        if (!Number.isSafeInteger(bytes) || bytes < 0) throw this.#malformed(`no size of '${path}'`)
        files.push({ path, size: bytes, oid: lfs?.oid ?? oid })
        if (files.length > maxListed) throw this.#malformed('too many files')
      }
      return files
    })
  }

  /** Asks for a file's etag and size, which is also where a gated repository refuses. */
  async locate(file: ListedFile, commit: string): Promise<RemoteFile> {
    const response = await this.#head(file.path, commit)
    const { headers, status } = response
    const etag = plainEtag(headers.get('x-linked-etag') ?? headers.get('etag')) ?? file.oid
    if (!isEtag(etag)) throw this.#malformed(`no usable etag of '${file.path}'`)
    const header = headers.get('x-linked-size') ?? (status < 300 ? headers.get('content-length') : null)
    const size = header !== null && /^\d{1,15}$/.test(header) ? Number(header) : file.size
    return { path: file.path, size, etag, url: this.#urlOf(file.path, commit) }
  }

  #urlOf(path: string, revision: string): string {
    return `${this.#endpoint}/${this.id}/resolve/${encodeURIComponent(revision)}/${pathOf(path)}`
  }

  #head(path: string, revision: string): Promise<Response> {
    return this.client.retrying(attempts, () =>
      this.client.request(this.#urlOf(path, revision), {
        method: 'HEAD',
        headers: { 'accept-encoding': 'identity' },
        subject: this.#subject(path),
        // the Hub's own answer has the headers; the store it leads to has others
        stopAt: ({ headers }) => headers.has('x-linked-etag') || (headers.has('x-repo-commit') && headers.has('etag')),
      }),
    )
  }

  #subject(file?: string): RequestSubject {
    return { id: this.id, revision: this.revision, ...(file !== undefined && { file }) }
  }

  // what the library asks goes through our client: its errors, its redirects, its timeouts, its token
  #fetch(): typeof fetch {
    return async (input) => {
      const url = input instanceof Request ? input.url : input
      const options = { headers: { accept: 'application/json' }, subject: this.#subject() }
      const { text, headers } = await this.client.retrying(attempts, () => this.client.text(url, options, maxAnswerBytes))
      const link = headers.get('link')
      return new Response(text, { headers: { 'content-type': 'application/json', ...(link !== null && { link }) } })
    }
  }

  async #asking<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await ask()
    } catch (error) {
      if (error instanceof HubError && error.code === 'repository_not_found' && this.revision !== 'main' && (await this.#exists())) {
        throw new HubError('revision_not_found', `The repository '${this.id}' has no revision '${this.revision}'.`)
      }
      if (error instanceof HubError) throw error
      throw this.#malformed(error instanceof Error ? error.message : String(error), error)
    }
  }

  // for servers that do not say what of it is missing
  async #exists(): Promise<boolean> {
    const url = `${this.#endpoint}/api/models/${this.id}`
    return this.client.text(url, { subject: this.#subject() }, maxAnswerBytes).then(
      () => true,
      () => false,
    )
  }

  #malformed(what: string, cause?: unknown): HubError {
    return new HubError('invalid_response', `${this.#endpoint} does not answer as a Hub does for '${this.id}': ${what}.`, { cause })
  }
}
