import { randomBytes } from 'node:crypto'
import type { GenerationDelta, PromptEcho } from '../engine/types.js'
import type { CompletionHead, UsageCount, WireFinishReason } from './chat-mapping.js'
import type { CompletionRequest } from './completions-schema.js'
import { appendLogprobs, type LegacyLogprobs, LegacyLogprobsWriter } from './legacy-logprobs.js'

/** An id of our own, never the client's: two live requests may carry the same header. */
export function textCompletionId(): string {
  return `cmpl-${randomBytes(16).toString('hex')}`
}

/** What one delta brought to one choice, as it is written. */
interface ChoicePart {
  text: string
  logprobs?: LegacyLogprobs
}

/** One choice on its way from deltas to text and log probabilities. */
class ChoiceWriter {
  readonly #logprobs: LegacyLogprobsWriter | undefined

  constructor(
    request: CompletionRequest,
    private readonly echo: PromptEcho | undefined,
  ) {
    this.#logprobs = request.logprobs === undefined ? undefined : new LegacyLogprobsWriter()
  }

  /** What comes before the answer. */
  begin(): ChoicePart {
    const text = this.echo?.text ?? ''
    this.#logprobs?.text(text)
    return { text }
  }

  part({ text, logprobs, promptLogprobs }: Pick<GenerationDelta, 'text' | 'logprobs' | 'promptLogprobs'>): ChoicePart {
    this.#logprobs?.text(text)
    const entries = [...(promptLogprobs ?? []), ...(logprobs ?? [])]
    if (!this.#logprobs || entries.length === 0) return { text }
    return { text, logprobs: this.#logprobs.write(entries, this.echo) }
  }
}

/** All choices of a request, found by their place among the prompts. */
class Writers {
  readonly #writers: ChoiceWriter[][] = []

  constructor(readonly request: CompletionRequest) {}

  /** The prompt's first parts, one a choice. */
  begin(prompt: number, echo: PromptEcho | undefined): ChoicePart[] {
    const { n = 1 } = this.request.generates[prompt] ?? {}
    const writers = Array.from({ length: n }, () => new ChoiceWriter(this.request, echo))
    this.#writers[prompt] = writers
    return writers.map((writer) => writer.begin())
  }

  /** What a delta means for the choices of its prompt: log probabilities of the prompt are those of each choice. */
  parts(prompt: number, delta: GenerationDelta): [choice: number, part: ChoicePart][] {
    const writers = this.#writers[prompt] ?? []
    const parts: [number, ChoicePart][] = []
    for (const [choice, writer] of writers.entries()) {
      if (choice === delta.choice) parts.push([choice, writer.part(delta)])
      else if (delta.promptLogprobs) parts.push([choice, writer.part({ text: '', promptLogprobs: delta.promptLogprobs })])
    }
    return parts
  }
}

/** Writes the server-sent events of one streamed completion; each function returns whole events. */
export class CompletionChunks {
  readonly #before: string
  readonly #after: string
  readonly #writers: Writers

  constructor(
    head: CompletionHead,
    readonly request: CompletionRequest,
  ) {
    this.#writers = new Writers(request)
    this.#before = `data: {"id":${JSON.stringify(head.id)},"choices":[`
    this.#after = `],"created":${head.created},"model":${JSON.stringify(head.model)},"object":"text_completion"`
  }

  begin(prompt: number, echo: PromptEcho | undefined): string {
    return this.#events(prompt, [...this.#writers.begin(prompt, echo).entries()])
  }

  /** @param usage only with the last choice of the request */
  delta(prompt: number, delta: GenerationDelta, usage?: UsageCount): string {
    const events = this.#events(prompt, this.#writers.parts(prompt, delta))
    const { finishReason } = delta
    if (finishReason === undefined || finishReason === 'abort' || finishReason === 'error') return events
    const counted = usage && this.request.usage === 'finish' ? `,"usage":${JSON.stringify(usage)}` : ''
    const index = this.#index(prompt, delta.choice)
    return `${events}${this.#before}{"finish_reason":"${finishReason}","index":${index},"text":""}${this.#after}${counted}}\n\n`
  }

  /** What follows the last choice: the usage where it was asked for, and the end mark. */
  done(usage: UsageCount): string {
    const counted = this.request.usage === 'chunk' ? `${this.#before}${this.#after},"usage":${JSON.stringify(usage)}}\n\n` : ''
    return `${counted}data: [DONE]\n\n`
  }

  #index(prompt: number, choice: number): number {
    return prompt * this.request.n + choice
  }

  #events(prompt: number, parts: readonly [choice: number, part: ChoicePart][]): string {
    let events = ''
    for (const [choice, { text, logprobs }] of parts) {
      if (text === '' && !logprobs) continue
      const tail = logprobs ? `,"logprobs":${JSON.stringify(logprobs)}` : ''
      events += `${this.#before}{"index":${this.#index(prompt, choice)},"text":${JSON.stringify(text)}${tail}}${this.#after}}\n\n`
    }
    return events
  }
}

interface WholeChoice {
  text: string[]
  logprobs: LegacyLogprobs | undefined
  reason: WireFinishReason
  /** Of the answer, for the choice of the best. */
  sum: number
  tokens: number
}

/** Gathers the deltas of one completion into a whole reply. */
export class CompletionReply {
  readonly #writers: Writers
  readonly #prompts: WholeChoice[][]

  constructor(
    readonly head: CompletionHead,
    readonly request: CompletionRequest,
  ) {
    this.#writers = new Writers(request)
    this.#prompts = request.generates.map(({ n = 1 }) => Array.from({ length: n }, () => this.#empty()))
  }

  begin(prompt: number, echo: PromptEcho | undefined): void {
    for (const [choice, part] of this.#writers.begin(prompt, echo).entries()) this.#add(prompt, choice, part)
  }

  delta(prompt: number, delta: GenerationDelta): void {
    for (const [choice, part] of this.#writers.parts(prompt, delta)) this.#add(prompt, choice, part)
    const whole = this.#prompts[prompt]?.[delta.choice]
    if (!whole) return
    for (const { logprob } of delta.logprobs ?? []) {
      whole.sum += logprob
      whole.tokens++
    }
    if (delta.finishReason === 'length') whole.reason = 'length'
  }

  render(usage: UsageCount): string {
    const { n } = this.request
    const chosen = this.#prompts.flatMap((candidates) => (candidates.length > n ? best(candidates, n) : candidates))
    return JSON.stringify({
      id: this.head.id,
      choices: chosen.map((choice, index) => ({
        finish_reason: choice.reason,
        index,
        text: choice.text.join(''),
        ...(choice.logprobs ? { logprobs: choice.logprobs } : {}),
      })),
      created: this.head.created,
      model: this.head.model,
      object: 'text_completion',
      usage,
    })
  }

  #empty(): WholeChoice {
    const logprobs = this.request.logprobs === undefined ? undefined : { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] }
    return { text: [], logprobs, reason: 'stop', sum: 0, tokens: 0 }
  }

  #add(prompt: number, choice: number, { text, logprobs }: ChoicePart): void {
    const whole = this.#prompts[prompt]?.[choice]
    if (!whole) return
    if (text !== '') whole.text.push(text)
    if (logprobs && whole.logprobs) appendLogprobs(whole.logprobs, logprobs)
  }
}

/** The n candidates with the highest log probability a token, best first; the earlier of equal ones. */
function best(candidates: readonly WholeChoice[], n: number): WholeChoice[] {
  const score = ({ sum, tokens }: WholeChoice): number => (tokens === 0 ? 0 : sum / tokens)
  return [...candidates].sort((a, b) => score(b) - score(a)).slice(0, n)
}
