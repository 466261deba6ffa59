import type { ChatRequest } from '../../protocol/chat-schema.js'
import { toApiError } from '../../protocol/errors.js'
import type { Call } from '../call.js'
import { ChatSession } from '../chat-session.js'
import type { ServerContext } from '../context.js'
import { ClientGoneError } from '../transport/types.js'

/** POST /v1/chat/completions */
export async function chatCompletions(call: Call): Promise<void> {
  const { context } = call
  let request: ChatRequest
  try {
    request = await call.readJsonBody((body) => context.parser.parse('chat', body))
  } catch (error) {
    context.metrics.requests.add(1, error instanceof ClientGoneError ? 'client_gone' : 'refused')
    throw error instanceof ClientGoneError ? error : toApiError(error)
  }
  applyTemplateDefaults(request, context)
  await new ChatSession(call, request).run()
}

function applyTemplateDefaults(request: ChatRequest, context: ServerContext): void {
  if (Object.keys(context.templateDefaults).length === 0) return
  const { input } = request.generate
  input.templateKwargs = { ...context.templateDefaults, ...input.templateKwargs }
}
