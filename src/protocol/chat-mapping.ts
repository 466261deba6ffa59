import { randomBytes } from 'node:crypto'
import type { FinishReason, GenerationDelta, TokenLogprob, ToolCallDelta } from '../engine/types.js'
import { errorObject, type ApiError } from './errors.js'
import type { UsageMode } from './sampling-fields.js'

/** An id of our own, never the client's: two live requests may carry the same header. */
export function completionId(): string {
  return `chatcmpl-${randomBytes(16).toString('hex')}`
}

// choices that have not said anything yet leave holes
const sumOf = (counts: readonly (number | undefined)[]): number => counts.reduce<number>((sum, count) => sum + (count ?? 0), 0)

/** Token counts of one request: the prompt once, the output of all choices. */
export class UsageCount {
  promptTokens = 0
  cachedTokens = 0
  readonly #output: number[] = []
  readonly #reasoning: number[] = []

  /** @returns how many output tokens are new */
  add(delta: GenerationDelta): number {
    const fresh = delta.outputTokens - (this.#output[delta.choice] ?? 0)
    this.promptTokens = delta.promptTokens
    this.cachedTokens = Math.max(this.cachedTokens, delta.cachedTokens)
    this.#output[delta.choice] = delta.outputTokens
    if (delta.reasoningTokens !== undefined) this.#reasoning[delta.choice] = delta.reasoningTokens
    return fresh
  }

  /** Of several generations. */
  static sum(counts: readonly UsageCount[]): UsageCount {
    const all = new UsageCount()
    for (const [i, count] of counts.entries()) {
      all.promptTokens += count.promptTokens
      all.cachedTokens += count.cachedTokens
      all.#output[i] = count.outputTokens
      all.#reasoning[i] = count.reasoningTokens
    }
    return all
  }

  get outputTokens(): number {
    return sumOf(this.#output)
  }

  get reasoningTokens(): number {
    return sumOf(this.#reasoning)
  }

  /** OpenAI's usage object, keys in the order of transformers serve. */
  toJSON(): object {
    const output = this.outputTokens
    return {
      completion_tokens: output,
      prompt_tokens: this.promptTokens,
      total_tokens: this.promptTokens + output,
      prompt_tokens_details: { cached_tokens: this.cachedTokens },
      completion_tokens_details: { reasoning_tokens: this.reasoningTokens },
    }
  }
}

/** 'abort' and 'error' never reach the wire as a finish reason: they become errors. */
export type WireFinishReason = Exclude<FinishReason, 'abort' | 'error'>

const wireReason = (reason: WireFinishReason, functionCalls: boolean): string =>
  functionCalls && reason === 'tool_calls' ? 'function_call' : reason

/** What every chunk and reply of one completion repeats. */
export interface CompletionHead {
  id: string
  /** `id@revision` */
  model: string
  /** Unix seconds. */
  created: number
}

/** The same text in one piece: V8 keeps what was put together as a tree, which every use of it would walk again. */
const flat = (text: string): string => Buffer.from(text).toString()

/** Writes the server-sent events of one streamed completion; each function returns whole events. */
export class ChatChunks {
  // the text around a choice is the same in each chunk: it is made once
  readonly #before: string
  readonly #after: string
  readonly #beforeContent: string
  readonly #afterContent: string

  /** @param functionCalls calls are told in their old form */
  constructor(
    readonly head: CompletionHead,
    readonly usageMode: UsageMode,
    readonly functionCalls = false,
  ) {
    this.#before = `data: {"id":${JSON.stringify(head.id)},"choices":[`
    this.#after = `],"created":${head.created},"model":${JSON.stringify(head.model)},"object":"chat.completion.chunk","system_fingerprint":""`
    this.#beforeContent = flat(`${this.#before}{"delta":{"content":`)
    this.#afterContent = flat(`}${this.#after}}\n\n`)
  }

  role(choice: number): string {
    return `${this.#before}{"delta":{"role":"assistant"},"index":${choice}}${this.#after}}\n\n`
  }

  /** @param logprobs those of the tokens that the text came from; they may come without text */
  content(choice: number, text: string, logprobs?: readonly TokenLogprob[]): string {
    if (logprobs) return this.#delta(choice, `"content":${JSON.stringify(text)}`, logprobs)
    return `${this.#beforeContent}${JSON.stringify(text)}},"index":${choice}${this.#afterContent}`
  }

  /** Under the name that transformers serve and most clients know, and under OpenRouter's and vLLM's newer one. */
  reasoning(choice: number, text: string, logprobs?: readonly TokenLogprob[]): string {
    const json = JSON.stringify(text)
    return this.#delta(choice, `"reasoning_content":${json},"reasoning":${json}`, logprobs)
  }

  /** The events of a part of a call: its head with empty arguments, then the arguments, as OpenAI sends them. */
  toolCall(choice: number, { index, id, name, arguments: text }: ToolCallDelta): string {
    const call = (fields: object, called: object): string =>
      this.functionCalls
        ? this.#delta(choice, `"function_call":${JSON.stringify(called)}`)
        : this.#delta(choice, `"tool_calls":[${JSON.stringify({ index, ...fields, function: called })}]`)
    const head = id === undefined ? '' : call({ id, type: 'function' }, { name, arguments: '' })
    return text ? head + call({}, { arguments: text }) : head
  }

  /** What one delta of a choice brought; logprobs go with the first of its parts. */
  delta({ choice, text, reasoning, toolCalls, logprobs }: GenerationDelta): string {
    let rest = logprobs && logprobs.length > 0 ? logprobs : undefined
    let events = ''
    if (reasoning) {
      events += this.reasoning(choice, reasoning, rest)
      rest = undefined
    }
    if (text !== '' || rest) events += this.content(choice, text, rest)
    for (const call of toolCalls ?? []) events += this.toolCall(choice, call)
    return events
  }

  #delta(choice: number, fields: string, logprobs?: readonly TokenLogprob[]): string {
    const tail = logprobs ? `,"logprobs":{"content":${JSON.stringify(logprobs)}}` : ''
    return `${this.#before}{"delta":{${fields}},"index":${choice}${tail}}${this.#after}}\n\n`
  }

  /** @param usage only with the last choice of the request */
  finish(choice: number, reason: WireFinishReason, usage?: UsageCount): string {
    const counted = usage && this.usageMode === 'finish' ? `,"usage":${JSON.stringify(usage)}` : ''
    return `${this.#before}{"delta":{},"finish_reason":"${wireReason(reason, this.functionCalls)}","index":${choice}}${this.#after}${counted}}\n\n`
  }

  /** What follows the last choice: the usage where it was asked for, and the end mark. */
  done(usage: UsageCount): string {
    const counted = this.usageMode === 'chunk' ? `${this.#before}${this.#after},"usage":${JSON.stringify(usage)}}\n\n` : ''
    return `${counted}data: [DONE]\n\n`
  }
}

/** The last event of a stream that failed; no end mark follows. */
export function errorEvent(error: ApiError): string {
  return `data: ${JSON.stringify({ error: errorObject(error) })}\n\n`
}

interface WholeChoice {
  text: string[]
  reasoning: string[]
  calls: WholeCall[]
  logprobs: TokenLogprob[] | undefined
  reason: WireFinishReason
}

interface WholeCall {
  id: string
  name: string
  arguments: string
}

function callFields(calls: readonly WholeCall[], functionCalls: boolean): object {
  const [first] = calls
  if (!first) return {}
  if (functionCalls) return { function_call: { name: first.name, arguments: first.arguments } }
  return { tool_calls: calls.map(({ id, name, arguments: json }) => ({ id, type: 'function', function: { name, arguments: json } })) }
}

function message({ text, reasoning, calls }: WholeChoice, functionCalls: boolean): object {
  const content = text.join('')
  const thought = reasoning.join('')
  return {
    content: content === '' && calls.length > 0 ? null : content,
    role: 'assistant',
    ...callFields(calls, functionCalls),
    ...(thought === '' ? {} : { reasoning_content: thought, reasoning: thought }),
  }
}

/** Gathers the deltas of one completion into a whole reply. */
export class ChatReply {
  readonly #choices: WholeChoice[]

  /** @param functionCalls a call is told in its old form */
  constructor(
    readonly head: CompletionHead,
    choices: number,
    logprobs: boolean,
    readonly functionCalls = false,
  ) {
    const empty = (): WholeChoice => ({ text: [], reasoning: [], calls: [], logprobs: logprobs ? [] : undefined, reason: 'stop' })
    this.#choices = Array.from({ length: choices }, empty)
  }

  add(delta: GenerationDelta): void {
    const choice = this.#choices[delta.choice]
    if (!choice) return
    if (delta.text !== '') choice.text.push(delta.text)
    if (delta.reasoning) choice.reasoning.push(delta.reasoning)
    for (const { index, id, name, arguments: text } of delta.toolCalls ?? []) {
      const call = (choice.calls[index] ??= { id: '', name: '', arguments: '' })
      call.id += id ?? ''
      call.name += name ?? ''
      call.arguments += text ?? ''
    }
    if (delta.logprobs) choice.logprobs?.push(...delta.logprobs)
    if (delta.finishReason === 'length' || delta.finishReason === 'tool_calls') choice.reason = delta.finishReason
  }

  render(usage: UsageCount): string {
    return JSON.stringify({
      id: this.head.id,
      choices: this.#choices.map((choice, index) => ({
        finish_reason: wireReason(choice.reason, this.functionCalls),
        index,
        message: message(choice, this.functionCalls),
        ...(choice.logprobs ? { logprobs: { content: choice.logprobs } } : {}),
      })),
      created: this.head.created,
      model: this.head.model,
      object: 'chat.completion',
      usage,
    })
  }
}
