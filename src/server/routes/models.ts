import { ApiError } from '../../protocol/errors.js'
import { canonicalName, namesModel, withRevision } from '../../protocol/model-names.js'
import type { Call } from '../call.js'

/** GET /v1/models: what is in memory and what the cache holds, looked up anew. */
export async function listModels(call: Call): Promise<void> {
  call.sendJson(200, JSON.stringify({ object: 'list', data: await call.context.modelList.get() }))
}

/** GET /v1/models/{id}, the id with `/` as it is or as `%2F`: any row of the list, by any spelling of its name. */
export async function getModel(call: Call, rest: string): Promise<void> {
  let name: string
  try {
    name = decodeURIComponent(rest)
  } catch {
    throw new ApiError('invalid_request', 'The path is not valid percent-encoding.')
  }
  const { models, modelList } = call.context
  const inMemory = models.entries().find((entry) => namesModel(name, { ...entry.name, aliases: entry.aliases ?? [] }))
  const rows = await modelList.get()
  const rowOf = (names: readonly string[]) => rows.find(({ id }) => names.includes(withRevision(id)))
  const others = inMemory ? [canonicalName(inMemory.name), ...(inMemory.aliases ?? []).map(withRevision)] : []
  const row = rowOf([withRevision(name)]) ?? rowOf(others)
  if (!row) throw new ApiError('model_not_found', `The model '${name.slice(0, 200)}' does not exist.`, 'model')
  call.sendJson(200, JSON.stringify(row))
}
