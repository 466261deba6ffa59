import { textCompletionId } from '../../protocol/completions-mapping.js'
import type { Call } from '../call.js'
import { StreamedCompletion, WholeCompletion } from '../completion-output.js'
import { GenerationSession } from '../generation-session.js'
import { counted } from './counted.js'

/** POST /v1/completions */
export async function completions(call: Call): Promise<void> {
  const { context } = call
  const request = await counted(call, () => call.readJsonBody((body) => context.parser.parse('completions', body)))
  const session = new GenerationSession(
    call,
    request,
    (flow) => (request.stream ? new StreamedCompletion(call, request, flow) : new WholeCompletion(call, request)),
    textCompletionId,
  )
  await session.run()
}
