import { ApiError } from '../../protocol/errors.js'
import type { Call } from '../call.js'

/** POST /unload_model `{"model"}`: answered when the model is out of memory, after its open requests. */
export async function unloadModel(call: Call): Promise<void> {
  const model = await call.readJsonBody((body) => call.context.parser.parse('modelName', body))
  if (!(await call.context.models.unload(model))) {
    throw new ApiError('model_not_found', `The model '${model.slice(0, 200)}' is not in memory.`, 'model')
  }
  call.sendJson(200, JSON.stringify({ status: 'ok', model }))
}

/** POST /reset: takes all models that are not pinned out of memory. */
export async function reset(call: Call): Promise<void> {
  await call.context.models.reset()
  call.sendJson(200, '{"status":"ok"}')
}
