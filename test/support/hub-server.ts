// A Hub on this machine: repositories of files in memory, the routes that clients use, and a second host for large files. Connections
// can be slow, cut or refused, as the test says.
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export interface HubFile {
  content: Buffer
  /** Stored as a large file, on the second host. */
  lfs: boolean
}

export interface HubRepository {
  /** Commit -> files by path. */
  commits: Map<string, Map<string, HubFile>>
  refs: Map<string, string>
  gated?: boolean
  private?: boolean
}

/** What to do with a body that is on its way. */
export interface Delivery {
  /** Cuts the connection after so many bytes of this answer. */
  cutAfter?: number
  /** Waits so many milliseconds before each chunk of `chunkBytes`. */
  delayMs?: number
  chunkBytes?: number
  /** Sends this in place of the content. */
  content?: Buffer
  /** Answers with this status instead. */
  status?: number
  headers?: Record<string, string>
  /** Sends the whole file though a range was asked for. */
  ignoreRange?: boolean
}

export interface SeenRequest {
  host: 'hub' | 'store'
  method: string
  url: string
  authorization: string | undefined
  range: string | undefined
}

export const sha256 = (content: Buffer): string => createHash('sha256').update(content).digest('hex')
export const gitSha1 = (content: Buffer): string => createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex')
export const etagOf = ({ content, lfs }: HubFile): string => (lfs ? sha256(content) : gitSha1(content))

export const validToken = 'hf_valid'

const listen = async (server: Server): Promise<string> => {
  server.listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

export class HubServer implements AsyncDisposable {
  readonly repositories = new Map<string, HubRepository>()
  readonly requests: SeenRequest[] = []
  /** Asked for each body; the number counts the GETs of that file. */
  deliver: (path: string, attempt: number) => Delivery = () => ({})
  /** Entries a page of a listing has. */
  pageSize = 1000
  /** Leaves out X-Error-Code, as some mirrors do. */
  errorCodes = true
  /** Knows no revisions, only files, as some mirrors do. */
  filesOnly = false
  /** Answers every request with this. */
  failWith: { status: number; times: number; headers?: Record<string, string> } | undefined
  endpoint = ''
  store = ''
  readonly #hub = createServer((request, response) => void this.#answer('hub', request, response))
  readonly #store = createServer((request, response) => void this.#answer('store', request, response))
  readonly #attempts = new Map<string, number>()
  #mostAtOnce = 0
  #atOnce = 0

  static async start(): Promise<HubServer> {
    const server = new HubServer()
    server.endpoint = await listen(server.#hub)
    server.store = await listen(server.#store)
    return server
  }

  /** Bodies that were on their way at the same time, at most. */
  get mostAtOnce(): number {
    return this.#mostAtOnce
  }

  /** Adds a commit with these files and points the ref at it. Files over 1000 bytes are large ones. */
  add(
    id: string,
    files: Record<string, string | Buffer>,
    { ref = 'main', ...rest }: { ref?: string } & Pick<HubRepository, 'gated' | 'private'> = {},
  ): string {
    const repository = this.repositories.get(id) ?? { commits: new Map(), refs: new Map() }
    Object.assign(repository, rest)
    this.repositories.set(id, repository)
    const entries = Object.entries(files).map(([path, given]): [string, HubFile] => {
      const content = Buffer.from(given)
      return [path, { content, lfs: content.length > 1000 }]
    })
    const commit = createHash('sha1')
      .update(JSON.stringify([id, ref, repository.commits.size, entries.map(([path, file]) => [path, etagOf(file)])]))
      .digest('hex')
    repository.commits.set(commit, new Map(entries))
    repository.refs.set(ref, commit)
    return commit
  }

  /** GETs of file bodies so far. */
  bodies(path?: string): SeenRequest[] {
    return this.requests.filter(
      ({ method, url }) => method === 'GET' && !url.startsWith('/api/') && (path === undefined || url.includes(path)),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of [this.#hub, this.#store]) {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    }
  }

  async #answer(host: 'hub' | 'store', request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET', url = '/', headers } = request
    this.requests.push({ host, method, url, authorization: headers.authorization, range: headers.range })
    if (this.failWith && this.failWith.times > 0) {
      this.failWith.times--
      response.writeHead(this.failWith.status, this.failWith.headers).end()
      return
    }
    const path = decodeURIComponent(new URL(url, 'http://hub').pathname)
    if (host === 'store') {
      const [, id, commit, file] = /^\/store\/([^/]+\/[^/]+)\/([0-9a-f]{40})\/(.+)$/.exec(path) ?? []
      const found = this.repositories.get(id!)?.commits.get(commit!)?.get(file!)
      if (found) await this.#body(file!, found, request, response, { etag: '"of-the-store"' })
      else response.writeHead(403).end()
      return
    }
    const [, api, kind, rest] = /^\/api\/models\/([^/]+\/[^/]+|[^/]+)(?:\/(revision|tree)\/(.+))?$/.exec(path) ?? []
    if (api !== undefined) return this.#api(api, kind, rest, request, response)
    const [, id, after] = /^\/([^/]+\/[^/]+)\/resolve\/(.+)$/.exec(path) ?? []
    if (id === undefined || after === undefined) return this.#refuse(response, 404, '')
    const repository = this.#reachable(id, request, response)
    if (!repository) return
    const at = this.#atRevision(repository, after)
    if (!at) return this.#refuse(response, 404, 'RevisionNotFound')
    if (repository.gated && headers.authorization !== `Bearer ${validToken}`) {
      return this.#refuse(response, headers.authorization ? 403 : 401, 'GatedRepo', 'Access to this model is restricted.')
    }
    const { commit, rest: file } = at
    const found = repository.commits.get(commit)!.get(file)
    if (!found) return this.#refuse(response, 404, 'EntryNotFound', 'Entry not found', { 'x-repo-commit': commit })
    const common = { 'x-repo-commit': commit, 'accept-ranges': 'bytes' }
    if (!found.lfs) return this.#body(file, found, request, response, { ...common, etag: `"${etagOf(found)}"` })
    response
      .writeHead(302, {
        ...common,
        'x-linked-etag': `"${etagOf(found)}"`,
        'x-linked-size': String(found.content.length),
        location: `${this.store}/store/${id}/${commit}/${file.split('/').map(encodeURIComponent).join('/')}?signature=abc`,
      })
      .end()
  }

  #api(id: string, kind: string | undefined, rest: string | undefined, request: IncomingMessage, response: ServerResponse): void {
    const repository = this.#reachable(id, request, response)
    if (!repository) return
    const at = this.#atRevision(repository, `${rest ?? 'main'}/`)
    if (!at) return this.#refuse(response, 404, 'RevisionNotFound')
    if (this.filesOnly && kind !== 'tree') return void response.writeHead(404).end()
    const files = [...repository.commits.get(at.commit)!]
    if (kind !== 'tree') {
      const siblings = files.map(([rfilename]) => ({ rfilename }))
      return this.#json(response, {
        _id: 'x',
        id,
        modelId: id,
        sha: at.commit,
        private: false,
        gated: repository.gated ?? false,
        lastModified: '2026-01-01T00:00:00.000Z',
        tags: [],
        downloads: 0,
        likes: 0,
        siblings,
      })
    }
    const url = new URL(request.url!, this.endpoint)
    const start = Number(url.searchParams.get('cursor') ?? 0)
    const folders = new Set(files.flatMap(([path]) => (path.includes('/') ? [path.slice(0, path.lastIndexOf('/'))] : [])))
    const entries = [
      ...[...folders].map((path) => ({ type: 'directory', oid: '0'.repeat(40), size: 0, path })),
      ...files.map(([path, file]) => ({
        type: 'file',
        oid: gitSha1(file.content),
        size: file.content.length,
        path,
        ...(file.lfs && { lfs: { oid: sha256(file.content), size: file.content.length, pointerSize: 130 } }),
      })),
    ]
    const end = start + this.pageSize
    url.searchParams.set('cursor', String(end))
    this.#json(response, entries.slice(start, end), end < entries.length ? { link: `<${url.href}>; rel="next"` } : {})
  }

  #reachable(id: string, request: IncomingMessage, response: ServerResponse): HubRepository | undefined {
    const { authorization } = request.headers
    if (authorization !== undefined && authorization !== `Bearer ${validToken}`) {
      this.#refuse(response, 401, '', 'Invalid credentials in Authorization header')
      return undefined
    }
    const repository = this.repositories.get(id)
    if (repository && !(repository.private && authorization === undefined)) return repository
    // the Hub does not tell strangers which repositories there are
    this.#refuse(response, authorization === undefined ? 401 : 404, 'RepoNotFound', 'Repository not found')
    return undefined
  }

  #atRevision({ commits, refs }: HubRepository, text: string): { commit: string; rest: string } | undefined {
    for (const name of [...refs.keys(), ...commits.keys()].sort((a, b) => b.length - a.length)) {
      if (text.startsWith(`${name}/`)) return { commit: refs.get(name) ?? name, rest: text.slice(name.length + 1) }
    }
    return undefined
  }

  async #body(
    path: string,
    file: HubFile,
    request: IncomingMessage,
    response: ServerResponse,
    headers: Record<string, string>,
  ): Promise<void> {
    if (request.method === 'HEAD') {
      response.writeHead(200, { ...headers, 'content-length': file.content.length }).end()
      return
    }
    const attempt = (this.#attempts.get(path) ?? 0) + 1
    this.#attempts.set(path, attempt)
    const {
      cutAfter,
      delayMs = 0,
      chunkBytes = 16_384,
      content = file.content,
      status,
      headers: more,
      ignoreRange,
    } = this.deliver(path, attempt)
    if (status !== undefined) {
      response.writeHead(status, more).end()
      return
    }
    const range = ignoreRange ? null : /^bytes=(\d+)-$/.exec(request.headers.range ?? '')
    const start = Number(range?.[1] ?? 0)
    if (start >= content.length && range) {
      response.writeHead(416, { 'content-range': `bytes */${content.length}` }).end()
      return
    }
    response.writeHead(range ? 206 : 200, {
      ...headers,
      'content-length': content.length - start,
      ...(range && { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` }),
    })
    response.flushHeaders()
    this.#atOnce++
    this.#mostAtOnce = Math.max(this.#mostAtOnce, this.#atOnce)
    try {
      const end = Math.min(content.length, start + (cutAfter ?? Infinity))
      for (let at = start; at < end && !response.destroyed; at += chunkBytes) {
        if (delayMs > 0) await sleep(delayMs)
        await new Promise<void>((resolve) => response.write(content.subarray(at, Math.min(end, at + chunkBytes)), () => resolve()))
      }
      if (cutAfter === undefined) response.end()
      else {
        // what was sent is to arrive first
        await sleep(30)
        response.destroy()
      }
    } finally {
      this.#atOnce--
    }
  }

  #json(response: ServerResponse, value: unknown, headers: Record<string, string> = {}): void {
    response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value))
  }

  #refuse(response: ServerResponse, status: number, code: string, message = '', headers: Record<string, string> = {}): void {
    const named = { ...(code && this.errorCodes && { 'x-error-code': code }), ...(message && { 'x-error-message': message }) }
    response.writeHead(status, { 'content-type': 'application/json', ...named, ...headers }).end(JSON.stringify({ error: message || code }))
  }
}
