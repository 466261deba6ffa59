import { ApiError } from './errors.js'

/** What the names of a served model are made of. */
export interface ModelNames {
  id: string
  revision: string
  aliases: readonly string[]
}

// clients that need some name send these: they mean whatever is served
const placeholders = new Set(['dummy', 'tgi'])

/** Whether a request's model is no name at all. */
export const isPlaceholder = (name: string | undefined): boolean => name === undefined || name === '' || placeholders.has(name)

/** `id@revision`, as every reply names the model; a GGUF file stands behind the revision: `org/name@main:file.gguf`. */
export function canonicalName({ id, revision }: { id: string; revision: string }): string {
  const colon = id.indexOf(':')
  return colon < 0 ? `${id}@${revision}` : `${id.slice(0, colon)}@${revision}${id.slice(colon)}`
}

/** A name with the revision that it leaves out: `org/name` -> `org/name@main`. */
export function withRevision(name: string): string {
  return name.includes('@') ? name : canonicalName({ id: name, revision: 'main' })
}

/** Whether a client means this model by the name. */
export function namesModel(name: string, model: ModelNames): boolean {
  if (name === model.id || name === canonicalName(model) || placeholders.has(name)) return true
  return model.aliases.some((alias) => name === alias || name === canonicalName({ id: alias, revision: model.revision }))
}

/** Throws the recorded refusal unless the name means this model. No name means the served one. */
export function requireModel(name: string | undefined, model: ModelNames): void {
  if (name === undefined || name === '' || namesModel(name, model)) return
  throw new ApiError('model_pinned', `Server is pinned to '${model.id}'; requested '${name}'.`, 'model')
}
