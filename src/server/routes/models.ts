import { ApiError } from '../../protocol/errors.js'
import { canonicalName, namesModel } from '../../protocol/model-names.js'
import type { Call } from '../call.js'
import type { ServedModelName } from '../served-model.js'

// the row of transformers serve: the main revision goes without saying
function row({ id, revision, created }: ServedModelName): object {
  const slash = id.indexOf('/')
  return {
    owned_by: slash > 0 ? id.slice(0, slash) : 'local',
    id: revision === 'main' ? id : canonicalName({ id, revision }),
    object: 'model',
    created: Math.floor(created),
  }
}

/** GET /v1/models */
export function listModels(call: Call): void {
  call.sendJson(200, JSON.stringify({ object: 'list', data: [row(call.context.model.info())] }))
}

/** GET /v1/models/{id}, the id with `/` as it is or as `%2F`. */
export function getModel(call: Call, rest: string): void {
  let name: string
  try {
    name = decodeURIComponent(rest)
  } catch {
    throw new ApiError('invalid_request', 'The path is not valid percent-encoding.')
  }
  const info = call.context.model.info()
  if (!namesModel(name, { ...info, aliases: call.context.model.aliases })) {
    throw new ApiError('model_not_found', `The model '${name.slice(0, 200)}' does not exist.`, 'model')
  }
  call.sendJson(200, JSON.stringify(row(info)))
}
