// Makes the events of a response, and with them the response itself, from the deltas of its generation.
import type { GenerationDelta, TokenLogprob } from '../../engine/types.js'
import { type ApiError, errorObject } from '../errors.js'
import { type FunctionCallItem, type MessageItem, newId, type ReasoningItem } from './items.js'
import type { ResponseEcho, ResponseResource, ResponseUsage } from './resource.js'

/** One event; `sequence_number` counts from 0. */
export interface ResponseEvent {
  type: string
  sequence_number: number
  [field: string]: unknown
}

export interface ResponseHead {
  id: string
  /** Unix seconds. */
  createdAt: number
  /** `id@revision`, or what the client asked for until a model is there. */
  model: string
  echo: ResponseEcho
}

interface OpenMessage {
  kind: 'message'
  index: number
  item: MessageItem
  text: string[]
  logprobs: TokenLogprob[]
}
interface OpenReasoning {
  kind: 'reasoning'
  index: number
  item: ReasoningItem
  text: string[]
}

/** How reasoning is told: as it is, or where a summary was asked for in the place of one, as clients read only that then. */
interface ReasoningWords {
  text: string
  part: string
  type: string
  list: 'content' | 'summary'
  /** Names the part's place in the list. */
  index: string
}
const asContent: ReasoningWords = {
  text: 'response.reasoning_text',
  part: 'response.content_part',
  type: 'reasoning_text',
  list: 'content',
  index: 'content_index',
}
const asSummary: ReasoningWords = {
  text: 'response.reasoning_summary_text',
  part: 'response.reasoning_summary_part',
  type: 'summary_text',
  list: 'summary',
  index: 'summary_index',
}
interface OpenCall {
  kind: 'call'
  index: number
  item: FunctionCallItem
  /** The call's number in the deltas. */
  call: number
  text: string[]
}
type Open = OpenMessage | OpenReasoning | OpenCall

/** A response under construction. Events leave through `emit` in order; `resource` is the response as of now. */
export class ResponseBuilder {
  readonly resource: ResponseResource
  readonly #reasoning: ReasoningWords
  #sequence = 0
  #open: Open | undefined

  constructor(
    head: ResponseHead,
    private readonly logprobs: boolean,
    private readonly emit: (event: ResponseEvent) => void,
  ) {
    const summary = head.echo.reasoning?.summary ?? 'none'
    this.#reasoning = summary === 'none' ? asContent : asSummary
    this.resource = {
      id: head.id,
      object: 'response',
      created_at: head.createdAt,
      completed_at: null,
      model: head.model,
      status: head.echo.background ? 'queued' : 'in_progress',
      error: null,
      incomplete_details: null,
      ...head.echo,
      output: [],
      usage: null,
    }
  }

  /** Whether nothing follows any more. */
  get ended(): boolean {
    return this.resource.status !== 'queued' && this.resource.status !== 'in_progress'
  }

  /** The request has been taken. */
  create(): void {
    this.#say('response.created', { response: this.#snapshot() })
    if (this.resource.status === 'queued') this.#say('response.queued', { response: this.#snapshot() })
  }

  /** The model works on it. @param model its canonical name */
  begin(model: string): void {
    this.resource.model = model
    this.resource.status = 'in_progress'
    this.#say('response.in_progress', { response: this.#snapshot() })
  }

  add(delta: GenerationDelta): void {
    if (delta.reasoning) this.#addReasoning(delta.reasoning)
    const logprobs = this.logprobs && delta.logprobs?.length ? delta.logprobs : undefined
    if (delta.text !== '' || (logprobs && this.#open?.kind === 'message')) this.#addText(delta.text, logprobs ?? [])
    for (const call of delta.toolCalls ?? []) {
      const open = this.#call(call.index, call.id, call.name)
      if (!call.arguments) continue
      open.text.push(call.arguments)
      this.#say('response.function_call_arguments.delta', { ...where(open), delta: call.arguments })
    }
  }

  /** @param cut whether the answer ended at the limit of its tokens */
  finish(cut: boolean, usage: ResponseUsage, now: number): void {
    // a client reads the text of the first message: there is one even when the model said nothing at all
    if (!cut && this.#open === undefined && this.resource.output.length === 0) this.#addText('', [])
    this.#close(cut ? 'incomplete' : 'completed')
    this.resource.usage = usage
    if (cut) {
      this.resource.status = 'incomplete'
      this.resource.incomplete_details = { reason: 'max_output_tokens' }
      return this.#say('response.incomplete', { response: this.#snapshot() })
    }
    this.resource.status = 'completed'
    this.resource.completed_at = now
    this.#say('response.completed', { response: this.#snapshot() })
  }

  fail(error: ApiError): void {
    if (this.ended) return
    this.#close('incomplete')
    const { message, code, param } = errorObject(error)
    this.resource.status = 'failed'
    this.resource.error = { code: error.status >= 500 ? 'server_error' : code, message }
    this.#say('error', { code, message, param })
    this.#say('response.failed', { response: this.#snapshot() })
  }

  cancel(): void {
    if (this.ended) return
    this.#close('incomplete')
    this.resource.status = 'cancelled'
    this.#say('response.cancelled', { response: this.#snapshot() })
  }

  #say(type: string, fields: object): void {
    this.emit({ type, sequence_number: this.#sequence++, ...fields })
  }

  // what is sent must not change afterwards
  #snapshot(): ResponseResource {
    return { ...this.resource, output: [...this.resource.output] }
  }

  get #nextIndex(): number {
    return this.resource.output.length
  }

  #addReasoning(text: string): void {
    let open = this.#open
    if (open?.kind !== 'reasoning') {
      this.#close('completed')
      const item: ReasoningItem = { type: 'reasoning', id: newId('rs'), summary: [], content: [], status: 'in_progress' }
      open = { kind: 'reasoning', index: this.#nextIndex, item, text: [] }
      this.#start(open)
      this.#sayReasoning(open, 'part', 'added', { part: { type: this.#reasoning.type, text: '' } })
    }
    open.text.push(text)
    this.#sayReasoning(open, 'text', 'delta', { delta: text })
  }

  #sayReasoning(open: OpenReasoning, what: 'text' | 'part', event: string, fields: object): void {
    const words = this.#reasoning
    this.#say(`${words[what]}.${event}`, { ...where(open), [words.index]: 0, ...fields })
  }

  #addText(text: string, logprobs: TokenLogprob[]): void {
    let open = this.#open
    if (open?.kind !== 'message') {
      this.#close('completed')
      const item: MessageItem = { type: 'message', id: newId('msg'), role: 'assistant', status: 'in_progress', content: [] }
      open = { kind: 'message', index: this.#nextIndex, item, text: [], logprobs: [] }
      this.#start(open)
      this.#say('response.content_part.added', { ...at(open), part: textPart('', []) })
    }
    open.text.push(text)
    open.logprobs.push(...logprobs)
    if (text === '' && logprobs.length === 0) return
    this.#say('response.output_text.delta', { ...at(open), delta: text, logprobs })
  }

  #call(call: number, id: string | undefined, name: string | undefined): OpenCall {
    const open = this.#open
    if (open?.kind === 'call' && open.call === call) return open
    this.#close('completed')
    const item: FunctionCallItem = {
      type: 'function_call',
      id: newId('fc'),
      call_id: id ?? newId('call'),
      name: name ?? '',
      arguments: '',
      status: 'in_progress',
    }
    const next: OpenCall = { kind: 'call', index: this.#nextIndex, item, call, text: [] }
    this.#start(next)
    return next
  }

  #start(open: Open): void {
    this.#open = open
    this.#say('response.output_item.added', { output_index: open.index, item: { ...open.item } })
  }

  /** Ends the open item, if there is one. */
  #close(status: 'completed' | 'incomplete'): void {
    const open = this.#open
    if (!open) return
    this.#open = undefined
    const text = open.text.join('')
    open.item.status = status
    switch (open.kind) {
      case 'reasoning': {
        const part = { type: this.#reasoning.type, text }
        open.item[this.#reasoning.list] = [part]
        this.#sayReasoning(open, 'text', 'done', { text })
        this.#sayReasoning(open, 'part', 'done', { part })
        break
      }
      case 'message': {
        const part = textPart(text, open.logprobs)
        open.item.content = [part]
        this.#say('response.output_text.done', { ...at(open), text, logprobs: open.logprobs })
        this.#say('response.content_part.done', { ...at(open), part })
        break
      }
      case 'call':
        open.item.arguments = text
        this.#say('response.function_call_arguments.done', { ...where(open), name: open.item.name, arguments: text })
    }
    this.resource.output.push(open.item)
    this.#say('response.output_item.done', { output_index: open.index, item: open.item })
  }
}

const where = (open: Open): object => ({ item_id: open.item.id, output_index: open.index })
const at = (open: Open): object => ({ ...where(open), content_index: 0 })
const textPart = (text: string, logprobs: TokenLogprob[]) => ({ type: 'output_text', text, annotations: [], logprobs })
