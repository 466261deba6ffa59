// The ways to name a model of the Hub, and which GGUF file a name means.
import { isRepositoryFile, isRepositoryId, isRevision } from '../models/hub-cache.js'
import { HubError } from './errors.js'

/** A model as named: `org/name`, `@revision`, and either the GGUF file or a tag of its quantisation after a colon. */
export interface ModelSpec {
  id: string
  revision: string
  /** A .gguf file of the repository. */
  file?: string
  /** A quantisation such as Q4_K_M that picks the file. */
  tag?: string
}

const tagPattern = /^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,30}[A-Za-z0-9])?$/

/** Takes a name apart; undefined: it names no model of the Hub. */
export function parseModelSpec(typed: string): ModelSpec | undefined {
  if (typed.length > 1024) return undefined
  const [, id, revision = 'main', rest] = /^([^@:]+)(?:@([^:]+))?(?::(.+))?$/.exec(typed) ?? []
  if (id === undefined || !isRepositoryId(id) || !isRevision(revision)) return undefined
  if (rest === undefined) return { id, revision }
  if (isGguf(rest)) return isRepositoryFile(rest) ? { id, revision, file: rest } : undefined
  return tagPattern.test(rest) ? { id, revision, tag: rest } : undefined
}

/** The same, where something else is a mistake. Throws a HubError. */
export function requireModelSpec(typed: string): ModelSpec {
  const spec = parseModelSpec(typed)
  if (spec) return spec
  throw new HubError(
    'invalid_id',
    `'${typed.slice(0, 200)}' is no model id. Expected org/name, org/name@revision, org/name:file.gguf or org/name:Q4_K_M.`,
  )
}

export const isGguf = (path: string): boolean => path.toLowerCase().endsWith('.gguf')

const splitPart = /-(\d{5})-of-(\d{5})\.gguf$/i

/** All parts of a GGUF file that was split, itself included; just itself otherwise. */
export function ggufParts(path: string): string[] {
  const [suffix, , count] = splitPart.exec(path) ?? []
  if (suffix === undefined || count === undefined) return [path]
  const stem = path.slice(0, -suffix.length)
  const extension = suffix.slice(-5)
  const total = Math.min(Number(count), 9999)
  return Array.from({ length: total }, (_, index) => `${stem}-${String(index + 1).padStart(5, '0')}-of-${count}${extension}`)
}

/** The GGUF files that are models: the first part of split ones, and no projectors of pictures or sound. */
export function ggufModels(paths: readonly string[]): string[] {
  const isModel = (path: string): boolean => {
    const part = splitPart.exec(path)
    return isGguf(path) && (part === null || Number(part[1]) === 1) && !/(?:^|\/)mmproj[^/]*$/i.test(path)
  }
  return paths.filter(isModel).sort()
}

/**
 * The GGUF file that the name means among those of a repository, the first part of a split one. undefined: none is meant, as the
 * repository has none. Throws a HubError when it has not the one named, or several fit.
 */
export function pickGguf(spec: ModelSpec, paths: readonly string[]): string | undefined {
  const models = ggufModels(paths)
  const choices = models.length > 0 ? ` It has: ${models.join(', ')}.` : ' It has no GGUF files.'
  if (spec.file !== undefined) {
    if (paths.includes(spec.file)) return ggufParts(spec.file)[0]
    throw new HubError(
      'file_not_found',
      `The repository '${spec.id}' has no file '${spec.file}' in its revision '${spec.revision}'.${choices}`,
    )
  }
  if (spec.tag !== undefined) {
    const fitting = fittingTag(models, spec.tag)
    if (fitting.length === 1) return fitting[0]
    if (fitting.length === 0) {
      throw new HubError(
        'file_not_found',
        `No GGUF file of '${spec.id}' is of the quantisation '${spec.tag}' in its revision '${spec.revision}'.${choices}`,
      )
    }
    throw new HubError(
      'ambiguous_file',
      `Several GGUF files of '${spec.id}' are of the quantisation '${spec.tag}'; name one: ${fitting.join(', ')}.`,
    )
  }
  if (models.length <= 1) return models[0]
  throw new HubError(
    'ambiguous_file',
    `'${spec.id}' holds several GGUF files; name one of them as ${spec.id}:FILE or by its quantisation: ${models.join(', ')}.`,
  )
}

function fittingTag(models: readonly string[], tag: string): string[] {
  const escaped = tag.replace(/[-]/g, '\\$&')
  const fits = (before: string): RegExp => new RegExp(`(?:^|${before})${escaped}(?=$|[-./])`, 'i')
  const named = models.filter((path) => fits('[-._/]').test(path.replace(splitPart, '').replace(/\.gguf$/i, '')))
  // "UD-Q4_K_M" is a variant of its own: it goes by its full tag where the plain one is there, too
  const plain = named.filter((path) => !/(?:^|[-._/])(?:UD|i1)-/i.test(path.slice(path.lastIndexOf('/') + 1)))
  return plain.length > 0 ? plain : named
}
