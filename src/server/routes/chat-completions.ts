import type { Call } from '../call.js'
import { ChatSession } from '../chat-session.js'
import { withTemplateDefaults } from '../template-defaults.js'
import { counted } from './counted.js'

/** POST /v1/chat/completions */
export async function chatCompletions(call: Call): Promise<void> {
  const { context } = call
  const request = await counted(call, () => call.readJsonBody((body) => context.parser.parse('chat', body)))
  await new ChatSession(call, { ...request, generate: withTemplateDefaults(request.generate, context) }).run()
}
