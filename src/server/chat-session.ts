import { completionId } from '../protocol/chat-mapping.js'
import type { ChatRequest } from '../protocol/chat-schema.js'
import type { Call } from './call.js'
import { StreamedOutput, WholeOutput } from './chat-output.js'
import { GenerationSession } from './generation-session.js'

/** One chat completion. */
export class ChatSession extends GenerationSession {
  constructor(call: Call, request: ChatRequest) {
    super(
      call,
      { ...request, generates: [request.generate] },
      (flow) => (request.stream ? new StreamedOutput(call, request, flow) : new WholeOutput(call, request)),
      completionId,
    )
  }
}
