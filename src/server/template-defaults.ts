import type { ChatRequest } from '../protocol/chat-schema.js'
import type { ServerContext } from './context.js'

/** A chat with the template's variables that the server's flags set; the request's own win. */
export function withTemplateDefaults(
  generate: ChatRequest['generate'],
  { templateDefaults }: Pick<ServerContext, 'templateDefaults'>,
): ChatRequest['generate'] {
  if (Object.keys(templateDefaults).length === 0) return generate
  return { ...generate, input: { ...generate.input, templateKwargs: { ...templateDefaults, ...generate.input.templateKwargs } } }
}
