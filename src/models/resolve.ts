// What a user names on the command line -> the files to load and the names to serve them under.
import { readdir, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isGgmlFile } from '../engine/speech/model-form.js'
import { HubError } from '../hub/errors.js'
import { type ModelSpec, parseModelSpec, pickGguf } from '../hub/model-spec.js'
import { snapshotFiles } from '../hub/scan-cache.js'
import { cachedRefs, cachedRepository, cachedSnapshot, hubCacheFolder } from './hub-cache.js'

/** A model's files and names. */
export interface ResolvedModel {
  /** A GGUF file, a ggml file of a Whisper model, or a checkpoint directory. */
  path: string
  /** As clients name it; without the revision. */
  id: string
  revision: string
  /** Further names, e.g. the path as typed. */
  aliases: string[]
  /** Unix seconds. */
  created: number
  /** Of the Hugging Face cache: which commit it is, and which GGUF file within. */
  commit?: string
  file?: string
}

/** Nothing that can be served is where the user said; the message tells what to do. */
export class ModelNotFoundError extends Error {
  override readonly name = 'ModelNotFoundError'
}

/** A model of the Hub, soundly named, that is not (or not wholly) in the cache: a download would bring it. */
export class ModelNotCachedError extends ModelNotFoundError {
  constructor(
    message: string,
    readonly spec: ModelSpec,
  ) {
    super(message)
  }
}

// the same from src/models and dist/models
const embeddedModel = fileURLToPath(new URL('../../models/tfserve-demo', import.meta.url))

async function kindOf(path: string): Promise<'file' | 'folder' | undefined> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EACCES' || error.code === 'EPERM') throw new ModelNotFoundError(`'${path}' may not be read: permission denied.`)
    return undefined
  })
  if (found?.isDirectory()) return 'folder'
  return found?.isFile() ? 'file' : undefined
}

export const created = async (path: string): Promise<number> => Math.floor((await stat(path)).mtimeMs / 1000)

/** What of a folder is to be loaded: itself when it is a checkpoint, else its only GGUF file (the first part of a split one) or its only ggml file. */
async function loadable(folder: string, named: string): Promise<string> {
  if ((await kindOf(join(folder, 'config.json'))) === 'file') return folder
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    throw new ModelNotFoundError(`'${named}' may not be read: ${error.code ?? error.message}.`)
  })
  const files = names.filter((name) => name.toLowerCase().endsWith('.gguf') && !/-(?!00001)\d{5}-of-\d{5}\.gguf$/i.test(name)).sort()
  if (files.length === 1) return join(folder, files[0]!)
  const speech = files.length === 0 ? await ggmlFiles(folder, names) : []
  if (speech.length === 1) return join(folder, speech[0]!)
  if (speech.length > 1) throw new ModelNotFoundError(`'${named}' holds several ggml files; name one of them: ${speech.join(', ')}.`)
  if (files.length === 0) throw new ModelNotFoundError(`'${named}' holds no model: neither a config.json nor a .gguf file.`)
  throw new ModelNotFoundError(`'${named}' holds several GGUF files; name one of them: ${files.join(', ')}.`)
}

async function ggmlFiles(folder: string, names: readonly string[]): Promise<string[]> {
  const found: string[] = []
  for (const name of names.filter((each) => each.toLowerCase().endsWith('.bin')).sort()) {
    if (await isGgmlFile(join(folder, name))) found.push(name)
  }
  return found
}

/** The model at a path; undefined: there is nothing. Rejects with a ModelNotFoundError for what is no model. */
export async function resolvePath(typed: string): Promise<ResolvedModel | undefined> {
  const path = resolve(typed)
  const kind = await kindOf(path)
  if (kind === undefined) return undefined
  if (kind === 'file' && !path.toLowerCase().endsWith('.gguf') && !(await isGgmlFile(path))) {
    throw new ModelNotFoundError(
      `'${typed}' is not a model: expected a .gguf file, a ggml file of a Whisper model, or a directory with a config.json.`,
    )
  }
  const target = kind === 'folder' ? await loadable(path, typed) : path
  const id = basename(path)
  const aliases = [...new Set([typed, path])].filter((name) => name !== id)
  return { path: target, id, revision: 'main', aliases, created: await created(target) }
}

/** The GGUF file that a name with a file or a quantisation means. */
function pickCached(spec: ModelSpec, paths: readonly string[], fetch: string): string {
  try {
    return pickGguf(spec, paths)!
  } catch (error) {
    if (!(error instanceof HubError)) throw error
    if (error.code !== 'file_not_found') throw new ModelNotFoundError(error.message)
    const wanted = spec.file === undefined ? `A GGUF file of the quantisation '${spec.tag}'` : `'${spec.file}'`
    throw new ModelNotCachedError(
      `${wanted} of '${spec.id}@${spec.revision}' is not in the Hugging Face cache. Get it with: ${fetch}`,
      spec,
    )
  }
}

async function resolveCached(typed: string, spec: ModelSpec, cache: string): Promise<ResolvedModel> {
  const { id, revision } = spec
  const fetch = `tfserve download ${typed}`
  const repository = await cachedRepository(cache, id)
  if (!repository) {
    throw new ModelNotCachedError(
      `'${id}' is neither a path nor in the Hugging Face cache (${cache}). Get it with: ${fetch}; or set HF_HOME or HF_HUB_CACHE.`,
      spec,
    )
  }
  const snapshot = await cachedSnapshot(repository, revision)
  if (!snapshot) {
    const refs = await cachedRefs(repository)
    const others = refs.length > 0 ? ` (there: ${refs.join(', ')})` : ''
    throw new ModelNotCachedError(
      `Revision '${revision}' of '${id}' is not in the Hugging Face cache${others}. Get it with: ${fetch}`,
      spec,
    )
  }
  const files = await snapshotFiles(snapshot)
  const outside = files.find((each) => each.outside)
  if (outside) throw new ModelNotFoundError(`'${outside.path}' of '${id}@${revision}' is a link that leads out of the Hugging Face cache.`)
  const paths = files.filter((each) => each.size !== undefined).map((each) => each.path)
  const file = spec.file === undefined && spec.tag === undefined ? undefined : pickCached(spec, paths, fetch)
  const path = file ? join(snapshot, ...file.split('/')) : await loadable(snapshot, id)
  // `org/name@main` names what `org/name` names; other revisions only go by their full name and the id
  const name = file ? `${id}:${file}` : id
  const aliases = typed === name ? [] : [typed]
  const inside = path === snapshot ? undefined : path.slice(snapshot.length + 1).replaceAll('\\', '/')
  const commit = basename(snapshot)
  return { path, id: name, revision, aliases, created: await created(path), commit, ...(inside !== undefined && { file: inside }) }
}

/** Whether a name can only be a path, not an id of the Hub. */
export const looksLikePath = (typed: string): boolean =>
  /^(?:[./~\\]|[A-Za-z]:[\\/])/.test(typed) || typed.endsWith('/') || typed.split(/[\\/]/).includes('..')

export interface ResolveSettings {
  /** For the places of the cache; default: this process' own. */
  env?: Readonly<Record<string, string | undefined>>
}

/**
 * Finds the model that a user named: a .gguf file, a directory, or an id in the Hugging Face cache; nothing: the embedded model.
 * A path that exists wins over an id. Rejects with a ModelNotFoundError. Nothing is downloaded.
 */
export async function resolveModel(typed: string | undefined, { env = process.env }: ResolveSettings = {}): Promise<ResolvedModel> {
  if (typed === undefined) {
    if ((await kindOf(embeddedModel)) === undefined) throw new ModelNotFoundError(`The embedded model is missing: ${embeddedModel}.`)
    const id = basename(embeddedModel)
    return { path: embeddedModel, id, revision: 'main', aliases: [], created: await created(embeddedModel) }
  }
  if (typed.trim() === '' || typed.includes('\0')) throw new ModelNotFoundError('The name of the model is empty or malformed.')
  const local = await resolvePath(typed)
  if (local) return local
  if (looksLikePath(typed)) {
    const parent = dirname(resolve(typed))
    const hint = (await kindOf(parent)) === 'folder' ? '' : ` ('${parent}' does not exist either)`
    throw new ModelNotFoundError(`There is no file or directory '${typed}'${hint}.`)
  }
  const name = parseModelSpec(typed)
  if (!name) {
    throw new ModelNotFoundError(
      `'${typed}' is neither a path that exists nor a model id. Expected a .gguf file, a directory, or org/name, org/name@revision, org/name:file.gguf or org/name:Q4_K_M.`,
    )
  }
  return resolveCached(typed, name, hubCacheFolder(env))
}
