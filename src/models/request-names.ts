// What a request means by a model's name, by its form alone.
import { type ModelSpec, parseModelSpec } from '../hub/model-spec.js'
import { canonicalName, isPlaceholder, namesModel } from '../protocol/model-names.js'
import type { ServedModelName } from '../server/served-model.js'
import { looksLikePath, type ResolvedModel } from './resolve.js'

/** `key` is the same for all spellings that form alone shows to be one. */
export type NamedModel = { key: string; name: ServedModelName } & (
  { kind: 'hub'; spec: ModelSpec } | { kind: 'path'; path: string } | { kind: 'known'; model: ResolvedModel }
)

const maxPathLength = 4096
const now = (): number => Math.floor(Date.now() / 1000)

/** A model's name alone: where it lies is nobody's business. */
export const nameOf = ({ id, revision, created }: ServedModelName): ServedModelName => ({ id, revision, created })

/** The part of a spec's name that is not its revision. */
export function specId({ id, file, tag }: Omit<ModelSpec, 'revision'>): string {
  const within = file ?? tag
  return within === undefined ? id : `${id}:${within}`
}

/** Takes a name apart; undefined: it is none. @param known models of the command line, whose names go first */
export function readName(named: string, known: readonly ResolvedModel[] = []): NamedModel | undefined {
  const model = isPlaceholder(named) ? undefined : known.find((each) => namesModel(named, each))
  if (model) return { kind: 'known', key: `known ${model.path}`, name: nameOf(model), model }
  if (looksLikePath(named)) {
    if (named.length > maxPathLength) return undefined
    // as replies name it
    const path = named.endsWith('@main') ? named.slice(0, -'@main'.length) : named
    return { kind: 'path', key: path, path, name: { id: path, revision: 'main', created: now() } }
  }
  const spec = parseModelSpec(named)
  if (!spec) return undefined
  const name = { id: specId(spec), revision: spec.revision, created: now() }
  return { kind: 'hub', key: canonicalName(name), name, spec }
}
