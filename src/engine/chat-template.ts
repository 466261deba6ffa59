// Messages -> prompt text by the checkpoint's own chat template, with what transformers gives such a template.
import { nativeAddon } from './native.js'
import { reservedTemplateNames } from './template-names.js'
import { type ChatMessage, RequestError } from './types.js'

const maxRenderedLength = 64 * 1024 * 1024

// JSON.stringify writes a lone surrogate as an escape that is no valid JSON text for a UTF-8 reader
const wellFormedJson = (value: unknown): string =>
  JSON.stringify(value).replace(/\\\\|\\ud[89a-f][0-9a-f]{2}/gi, (match) => (match === '\\\\' ? match : '\ufffd'))

export interface RenderOptions {
  tools?: unknown[] | undefined
  kwargs?: Record<string, unknown> | undefined
  addGenerationPrompt?: boolean | undefined
  /** What strftime_now sees, in Unix seconds; default the clock. */
  nowSeconds?: number | undefined
}

/** The templates of one checkpoint. */
export class ChatTemplates {
  constructor(
    private readonly sources: Record<string, string>,
    private readonly specialTokens: Record<string, string>,
    private readonly defaultKwargs: Record<string, unknown> = {},
  ) {}

  get exists(): boolean {
    return Object.keys(this.sources).length > 0
  }

  /** The template for chats with or without tools; undefined: the checkpoint has none. */
  source(withTools: boolean): string | undefined {
    return (withTools && this.sources['tool_use']) || (this.sources['default'] ?? Object.values(this.sources)[0])
  }

  /** The prompt text. Rejects with a RequestError when the template refuses the messages. */
  async render(messages: readonly ChatMessage[], options: RenderOptions = {}): Promise<string> {
    const source = this.source(options.tools !== undefined)
    if (source === undefined) {
      throw new RequestError('template_error', 'This model has no chat template: it takes text prompts, not messages.', 'messages')
    }
    const kwargs = { ...this.defaultKwargs, ...options.kwargs }
    for (const name of Object.keys(kwargs)) {
      if (reservedTemplateNames.has(name)) {
        throw new RequestError('invalid_request', `'${name}' cannot be set in chat_template_kwargs.`, 'chat_template_kwargs')
      }
    }
    const context = wellFormedJson({
      ...this.specialTokens,
      ...kwargs,
      messages,
      tools: options.tools ?? null,
      documents: null,
      add_generation_prompt: options.addGenerationPrompt ?? true,
    })
    let text: string
    try {
      text = await nativeAddon().renderTemplate(source, context, options.nowSeconds ?? 0)
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      throw new RequestError('template_error', `The model's chat template refuses these messages: ${reason}`, 'messages')
    }
    if (text.length > maxRenderedLength) throw new RequestError('template_error', 'The rendered prompt is too long.', 'messages')
    return text
  }
}
