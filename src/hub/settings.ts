// Where the Hub and its cache are and who we are there, by the variables that Hugging Face's libraries read.
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type Environment, expandPath, hubCacheFolder, hubHome } from '../models/hub-cache.js'
import { type Credentials, HubError } from './errors.js'

export interface HubSettings extends Credentials {
  /** The Hub's address without a slash at the end. */
  endpoint: string
  cache: string
  /** HF_HUB_OFFLINE: no request is made. */
  offline: boolean
  /** HF_HUB_DISABLE_SYMLINKS: snapshots hold files instead of links. */
  symlinks: boolean
  /** For an answer to begin; for the next bytes of a body; milliseconds. */
  responseTimeoutMs: number
  stallTimeoutMs: number
}

const isTrue = (value: string | undefined): boolean => value !== undefined && ['1', 'ON', 'YES', 'TRUE'].includes(value.toUpperCase())

function seconds(value: string | undefined, fallback: number): number {
  const given = Number(value)
  return value && Number.isFinite(given) && given > 0 ? given * 1000 : fallback
}

const clean = (token: string | undefined): string | undefined => token?.replace(/[\r\n]/g, '').trim() || undefined

function findToken(env: Environment): Credentials {
  for (const name of ['HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN']) {
    const token = clean(env[name])
    if (token !== undefined) return { token, tokenSource: name }
  }
  if (isTrue(env.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return { token: undefined, tokenSource: undefined }
  const path = env.HF_TOKEN_PATH ? expandPath(env.HF_TOKEN_PATH, env) : join(hubHome(env), 'token')
  try {
    const token = clean(readFileSync(path, 'utf8'))
    return { token, tokenSource: token === undefined ? undefined : path }
  } catch {
    return { token: undefined, tokenSource: undefined } // nobody has logged in
  }
}

function endpointOf(env: Environment): string {
  const endpoint = (env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, '')
  if (!URL.canParse(endpoint) || !/^https?:$/.test(new URL(endpoint).protocol)) {
    throw new HubError(
      'unreachable',
      `HF_ENDPOINT is not an address: '${endpoint.slice(0, 200)}'. Expected one such as https://huggingface.co.`,
    )
  }
  return endpoint
}

/** Reads the environment. A token and a folder that are given go before it. Throws a HubError for values that cannot be used. */
export function hubSettings(
  env: Environment = process.env,
  given: { token?: string | undefined; cacheDir?: string | undefined } = {},
): HubSettings {
  const token = clean(given.token)
  const credentials = token === undefined ? findToken(env) : { token, tokenSource: '--token' }
  if (credentials.token !== undefined && !/^[\x21-\x7e]+$/.test(credentials.token)) {
    throw new HubError('wrong_token', `The token from ${credentials.tokenSource} has characters that no token has.`)
  }
  return {
    ...credentials,
    endpoint: endpointOf(env),
    cache: resolve(given.cacheDir === undefined ? hubCacheFolder(env) : expandPath(given.cacheDir, env)),
    offline: isTrue(env.HF_HUB_OFFLINE || env.TRANSFORMERS_OFFLINE),
    symlinks: !isTrue(env.HF_HUB_DISABLE_SYMLINKS),
    responseTimeoutMs: seconds(env.HF_HUB_ETAG_TIMEOUT, 30_000),
    stallTimeoutMs: seconds(env.HF_HUB_DOWNLOAD_TIMEOUT, 30_000),
  }
}
