import { textCompletionId } from '../../protocol/completions-mapping.js'
import type { CompletionRequest } from '../../protocol/completions-schema.js'
import { toApiError } from '../../protocol/errors.js'
import type { Call } from '../call.js'
import { StreamedCompletion, WholeCompletion } from '../completion-output.js'
import { GenerationSession } from '../generation-session.js'
import { ClientGoneError } from '../transport/types.js'

/** POST /v1/completions */
export async function completions(call: Call): Promise<void> {
  const { context } = call
  let request: CompletionRequest
  try {
    request = await call.readJsonBody((body) => context.parser.parse('completions', body))
  } catch (error) {
    context.metrics.requests.add(1, error instanceof ClientGoneError ? 'client_gone' : 'refused')
    throw error instanceof ClientGoneError ? error : toApiError(error)
  }
  const session = new GenerationSession(
    call,
    request,
    (flow) => (request.stream ? new StreamedCompletion(call, request, flow) : new WholeCompletion(call, request)),
    textCompletionId,
  )
  await session.run()
}
