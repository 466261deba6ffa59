// What a request means by a model's name, by its form alone.
import { type ModelSpec, parseModelSpec } from '../hub/model-spec.js'
import { canonicalName } from '../protocol/model-names.js'
import type { ServedModelName } from '../server/served-model.js'
import { looksLikePath } from './resolve.js'

export type NamedModel =
  { kind: 'hub'; key: string; name: ServedModelName; spec: ModelSpec } | { kind: 'path'; key: string; name: ServedModelName; path: string }

const maxPathLength = 4096
const now = (): number => Math.floor(Date.now() / 1000)

/** The part of a spec's name that is not its revision. */
export function specId({ id, file, tag }: Omit<ModelSpec, 'revision'>): string {
  const within = file ?? tag
  return within === undefined ? id : `${id}:${within}`
}

/** Takes a name apart; undefined: it is none. */
export function readName(named: string): NamedModel | undefined {
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
