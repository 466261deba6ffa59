// The rows of GET /v1/models.
import type { CachedRevision } from './scan-cache.js'

/** A model that is in memory, or pinned on the command line. */
export interface LoadedName {
  /** `org/name`, `org/name:file.gguf`, or what a local model is served as. */
  id: string
  revision: string
  /** The commit that it was loaded from, where there is one. */
  commit?: string | undefined
  /** Unix seconds. */
  created: number
}

/** As transformers serve has them, with `loaded` on those in memory. */
export interface ModelRow {
  owned_by: string
  id: string
  object: 'model'
  created: number
  loaded?: true
}

// the main revision goes without saying; a GGUF file's revision stands before the file, as in its name on the command line
function rowId(id: string, revision: string): string {
  if (revision === 'main') return id
  const colon = id.indexOf(':')
  return colon < 0 ? `${id}@${revision}` : `${id.slice(0, colon)}@${revision}${id.slice(colon)}`
}

function row(id: string, revision: string, created: number): ModelRow {
  const slash = id.indexOf('/')
  return { owned_by: slash > 0 ? id.slice(0, slash) : 'local', id: rowId(id, revision), object: 'model', created: Math.floor(created) }
}

/** What is loaded first, then what the cache holds that can be served: a row a ref and a GGUF file. Pure: `cached` is a scan made for the call. */
export function modelRows(cached: readonly CachedRevision[], loaded: readonly LoadedName[] = []): ModelRow[] {
  const rows = new Map<string, ModelRow>()
  const isLoaded = new Set<string>()
  for (const { id, revision, commit, created } of loaded) {
    const first = row(id, revision, created)
    rows.set(first.id, { ...first, loaded: true })
    if (commit !== undefined) isLoaded.add(`${id}@${commit}`)
  }
  const rest: ModelRow[] = []
  const withRefs = new Set(cached.filter(({ named }) => named).map(({ id }) => id))
  for (const { id, revision, commit, named, models } of cached) {
    // a commit that its ref has left behind is still in the cache, but nobody asks for it by name
    if (!named && withRefs.has(id)) continue
    for (const { file, obstacle, modified } of models) {
      const name = file === undefined ? id : `${id}:${file}`
      const next = row(name, revision, modified)
      if (obstacle !== undefined || rows.has(next.id)) continue
      if (isLoaded.has(`${name}@${commit}`)) rows.set(next.id, { ...next, loaded: true })
      else rest.push(next)
    }
  }
  return [...rows.values(), ...rest]
}
