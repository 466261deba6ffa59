// What can go wrong between the Hub and the cache, as sentences for the user and codes for programs.

export type HubErrorCode =
  | 'invalid_id'
  | 'repository_not_found'
  | 'revision_not_found'
  | 'file_not_found'
  | 'no_model'
  | 'unsupported'
  | 'ambiguous_file'
  | 'gated'
  | 'wrong_token'
  | 'forbidden'
  | 'offline'
  | 'unreachable'
  | 'server_error'
  | 'rate_limited'
  | 'invalid_response'
  | 'size_mismatch'
  | 'checksum_mismatch'
  | 'disk_full'
  | 'permission_denied'
  | 'cache_error'
  | 'aborted'

interface Details {
  /** Trying again may help: a cut connection, a server that is busy. */
  transient?: boolean
  /** How long the server asks to wait, in milliseconds. */
  retryAfterMs?: number | undefined
  /** Of the answer, where that was no more than a number. */
  status?: number
  cause?: unknown
}

/** A model that cannot be had; the message is a sentence or two for the user. */
export class HubError extends Error {
  override readonly name = 'HubError'
  readonly transient: boolean
  readonly retryAfterMs: number | undefined
  readonly status: number | undefined

  constructor(
    readonly code: HubErrorCode,
    message: string,
    { transient = false, retryAfterMs, status, cause }: Details = {},
  ) {
    super(message, cause === undefined ? undefined : { cause })
    this.transient = transient
    this.retryAfterMs = retryAfterMs
    this.status = status
  }
}

/** What a request was about, for its errors. */
export interface RequestSubject {
  id: string
  revision?: string
  file?: string
}

export interface Credentials {
  token: string | undefined
  /** Where the token is from, for messages: `HF_TOKEN`, `--token`, a path. */
  tokenSource: string | undefined
}

/** The error that a refusal of the Hub means. @param endpoint the Hub's address without a slash at the end */
export function errorOfResponse(
  response: Response,
  { id, revision, file }: RequestSubject,
  endpoint: string,
  credentials: Credentials,
): HubError {
  const { status } = response
  const code = response.headers.get('x-error-code') ?? ''
  const said = (response.headers.get('x-error-message') ?? '').slice(0, 300)
  const name = file === undefined ? `'${id}'` : `'${file}' of '${id}'`
  const giveToken = 'Set HF_TOKEN or log in with the hf command.'
  if (code === 'GatedRepo') {
    const accept = `Accept its terms on ${endpoint}/${id}`
    const how =
      credentials.token === undefined
        ? `${accept} and give a token of your account. ${giveToken}`
        : `${accept} with the account of your token.`
    return new HubError('gated', `The repository '${id}' is gated. ${how}`)
  }
  if (code === 'RevisionNotFound')
    return new HubError('revision_not_found', `The repository '${id}' has no revision '${revision ?? 'main'}'.`)
  if (code === 'EntryNotFound') {
    return new HubError('file_not_found', `The repository '${id}' has no file '${file ?? ''}' in its revision '${revision ?? 'main'}'.`)
  }
  if (status === 401 && credentials.token !== undefined && code !== 'RepoNotFound') {
    return new HubError(
      'wrong_token',
      `${endpoint} does not accept the token from ${credentials.tokenSource}${said && `: ${said}`}`.replace(/\.?$/, '.'),
    )
  }
  if (status === 404 && file !== undefined && code === '') {
    return new HubError('file_not_found', `The repository '${id}' has no file '${file}' in its revision '${revision ?? 'main'}'.`)
  }
  if (status === 404 || code === 'RepoNotFound') {
    const why =
      credentials.token === undefined
        ? ` If it is private or gated, give a token. ${giveToken}`
        : ' If it is private, your token does not reach it.'
    const details = code === '' ? { status } : {}
    return new HubError('repository_not_found', `There is no repository '${id}' on ${endpoint}.${why}`, details)
  }
  if (status === 401) {
    // the Hub does not tell strangers which repositories there are
    if (file !== undefined) return new HubError('forbidden', `${name} is private or gated: it takes a token. ${giveToken}`)
    return new HubError(
      'repository_not_found',
      `There is no repository '${id}' on ${endpoint}, or it is private or gated. For those, give a token. ${giveToken}`,
    )
  }
  if (status === 403) {
    const token = credentials.token === undefined ? giveToken : `The token from ${credentials.tokenSource} has no permission to read it.`
    const terms = `If it is gated, accept its terms on ${endpoint}/${id}.`
    return new HubError('forbidden', `Access to ${name} is refused${said && `: ${said.replace(/\.$/, '')}`}. ${token} ${terms}`)
  }
  if (status === 429) {
    return new HubError(
      'rate_limited',
      `${endpoint} limits the rate of requests; try again later${credentials.token === undefined ? ' or give a token' : ''}.`,
      {
        transient: true,
        retryAfterMs: retryAfter(response),
      },
    )
  }
  const transient = status >= 500 || status === 408
  return new HubError('server_error', `${endpoint} answered ${status} for ${name}${said && `: ${said.replace(/\.$/, '')}`}.`, {
    transient,
    status,
    retryAfterMs: retryAfter(response),
  })
}

function retryAfter(response: Response): number | undefined {
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN)
  return Number.isFinite(seconds) && seconds >= 0 ? Math.min(seconds, 60) * 1000 : undefined
}

/** The error that a failed operation on the cache means. */
export function errorOfFileSystem(error: unknown, path: string): HubError {
  if (error instanceof HubError) return error
  const code = (error as NodeJS.ErrnoException | null)?.code
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new HubError(
        'disk_full',
        `The disk of the cache is full (${path}). Free some space, or set HF_HOME or --cache-dir to another disk.`,
        { cause: error },
      )
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new HubError('permission_denied', `The cache cannot be written: ${code} on '${path}'.`, { cause: error })
    default:
      return new HubError('cache_error', `The cache cannot be written: ${error instanceof Error ? error.message : String(error)}.`, {
        cause: error,
      })
  }
}
