import { AnswerReader } from '../../src/engine/output/answer-reader.js'
import type { AnswerFormat } from '../../src/engine/output/format.js'
import { toolSchemas } from '../../src/engine/output/tools.js'
import {
  RequestError,
  type EngineStats,
  type FinishReason,
  type GenerateRequest,
  type GenerationDelta,
  type ModelInfo,
  type StartedGeneration,
  type TextModel,
  type TokenLogprob,
} from '../../src/engine/types.js'

export interface FakeTextModelOptions {
  /** Reads the answer as the engine does; absent: the text goes out as it is. */
  format?: AnswerFormat
  /** What is said, a piece a token, again from the start when more is wanted (ignore_eos). */
  pieces?: readonly string[]
  /** Time between steps; 0: as fast as the event loop allows. */
  stepMs?: number
  /** Prompt characters allowed, as a stand-in for the context. */
  maxPromptLength?: number
  maxWaiting?: number
  info?: Partial<ModelInfo>
  /** Called with each request before it is accepted; may throw a RequestError. */
  onStart?: (request: GenerateRequest) => void | Promise<void>
}

interface Choice {
  index: number
  tokens: number
  done: boolean
  reader: AnswerReader | undefined
}

interface Generation {
  request: GenerateRequest
  promptTokens: number
  choices: Choice[]
  onDelta: (delta: GenerationDelta) => void
  aborted: boolean
  paused: boolean
  /** What was made while paused. */
  held: GenerationDelta[]
}

export const fakeInfo: ModelInfo = {
  kind: 'text',
  id: 'test-org/fake',
  revision: 'main',
  created: 1_700_000_000,
  architecture: 'fake',
  dtype: 'float32',
  quantization: 'none',
  kvCacheDtype: 'float32',
  parameters: 1,
  weightBytes: 4,
  vocabSize: 256,
  maxModelLen: 4096,
  pagedKv: true,
  blockSize: 16,
  kvGroups: [{ blocks: 64, window: 0 }],
  kvBlocks: 64,
  kvBytes: 4096,
  maxNumSeqs: 64,
  maxBatchTokens: 2048,
  threads: 1,
  attentionKernel: 'none',
  hasChatTemplate: true,
  loadMs: 0,
  timings: { files: 0, weights: 0, quantize: 0, tokenizer: 0, vocabulary: 0, context: 0, firstToken: 0 },
}

const fakePieces = ['Hello', ' there', ', "wörld"', '\n', '🎉', ' \\end\u2028']

/** A text model without a model: steps all its generations together, as the engine does, and keeps the engine's promises. */
export class FakeTextModel implements TextModel {
  readonly info: ModelInfo
  readonly requests: GenerateRequest[] = []
  /** Calls that the server made on its generations. */
  readonly calls = { abort: 0, pause: 0, resume: 0 }
  /** No step ends while this is set. */
  stalled = false
  readonly #live = new Set<Generation>()
  readonly #pieces: readonly string[]
  #stepping = false
  #stats: EngineStats = {
    running: 0,
    waiting: 0,
    blocksTotal: 64,
    blocksFree: 64,
    blocksCached: 0,
    steps: 0,
    promptTokens: 0,
    cachedPromptTokens: 0,
    computedTokens: 0,
    outputTokens: 0,
    preemptions: 0,
    prefixQueries: 0,
    prefixHits: 0,
    evictions: 0,
    blockCopies: 0,
    abortsWaiting: 0,
    abortsPrefill: 0,
    abortsDecode: 0,
    lastStepMs: 1,
  }

  constructor(readonly options: FakeTextModelOptions = {}) {
    this.info = { ...fakeInfo, ...options.info }
    this.#pieces = options.pieces ?? fakePieces
  }

  get live(): number {
    return this.#live.size
  }

  get text(): string {
    return this.#pieces.join('')
  }

  async start(request: GenerateRequest, onDelta: (delta: GenerationDelta) => void): Promise<StartedGeneration> {
    this.requests.push(request)
    await this.options.onStart?.(request)
    const promptLength = JSON.stringify(request.input).length
    if (promptLength > (this.options.maxPromptLength ?? 100_000)) {
      throw new RequestError('context_length_exceeded', `The prompt has ${promptLength} characters; the model takes fewer.`, 'messages')
    }
    if (this.#live.size >= (this.options.maxWaiting ?? 1000)) throw new RequestError('queue_full', 'Too many requests are waiting.')
    const promptTokens = Math.ceil(promptLength / 4)
    const choices = Array.from({ length: request.n ?? 1 }, (_, index) => ({
      index,
      tokens: 0,
      done: false,
      reader: this.#reader(request),
    }))
    const generation: Generation = { request, promptTokens, choices, onDelta, aborted: false, paused: false, held: [] }
    this.#live.add(generation)
    this.#stats.promptTokens += promptTokens
    this.#run()
    const promptText = request.input.kind === 'text' ? request.input.text : JSON.stringify(request.input)
    const firstToken = { token: promptText.slice(0, 1), bytes: [...Buffer.from(promptText.slice(0, 1))] }
    return {
      promptTokens,
      ...(request.echo ? { echo: { text: promptText, firstToken } } : {}),
      abort: () => {
        this.calls.abort++
        generation.aborted = true
      },
      pause: () => {
        this.calls.pause++
        generation.paused = true
      },
      resume: () => {
        this.calls.resume++
        generation.paused = false
        for (const delta of generation.held.splice(0)) onDelta(delta)
      },
    }
  }

  stats(): Promise<EngineStats> {
    if (this.stalled) return new Promise(() => undefined)
    return Promise.resolve({ ...this.#stats, running: this.#live.size })
  }

  /** Ends all generations as a dying worker does. */
  crash(): void {
    for (const generation of this.#live) {
      for (const choice of generation.choices) {
        if (!choice.done) this.#deliver(generation, choice, [], '', 'error', { code: 'model_crashed', message: 'The model process ended.' })
      }
    }
    this.#live.clear()
  }

  #reader({ input, toolChoice, parallelToolCalls }: GenerateRequest): AnswerReader | undefined {
    if (!this.options.format || input.kind !== 'chat') return undefined
    const maxCalls = parallelToolCalls === false ? 1 : Infinity
    const options = { tools: toolSchemas(input.tools), readCalls: toolChoice !== 'none', maxCalls }
    return new AnswerReader(this.options.format.parser('', options))
  }

  #run(): void {
    if (this.#stepping) return
    this.#stepping = true
    const next = () => (this.options.stepMs ? setTimeout(step, this.options.stepMs) : setImmediate(step))
    const step = () => {
      if (!this.stalled) this.#step()
      if (this.#live.size > 0) next()
      else this.#stepping = false
    }
    next()
  }

  #step(): void {
    this.#stats.steps++
    for (const generation of this.#live) {
      for (const choice of generation.choices) {
        // as the engine: nothing is computed for a paused sequence once enough is held
        if (!choice.done && (generation.aborted || generation.held.length < 64)) this.#advance(generation, choice)
      }
      if (generation.choices.every((choice) => choice.done)) this.#live.delete(generation)
    }
  }

  #advance(generation: Generation, choice: Choice): void {
    if (generation.aborted) {
      choice.done = true
      this.#stats.abortsDecode++
      return this.#deliver(generation, choice, [], '', 'abort')
    }
    const { params } = generation.request
    if (params.prompt_logprobs !== undefined && choice.index === 0 && choice.tokens === 0) this.#score(generation)
    if (params.max_new_tokens === 0) {
      choice.done = true
      return this.#deliver(generation, choice, [], '', 'length')
    }
    const atEnd = choice.tokens >= this.#pieces.length && !params.ignore_eos
    if (atEnd) {
      choice.done = true
      choice.tokens++
      return this.#deliver(generation, choice, [0], '', 'stop')
    }
    const piece = this.#pieces[choice.tokens % this.#pieces.length] ?? ''
    choice.tokens++
    const cut = choice.tokens >= (params.max_new_tokens ?? 1024)
    choice.done = cut
    this.#deliver(generation, choice, [choice.tokens], piece, cut ? 'length' : undefined)
  }

  // the prompt as two tokens
  #score({ request, promptTokens, onDelta }: Generation): void {
    const rest = request.input.kind === 'text' ? request.input.text.slice(1) : ''
    const logprob: TokenLogprob = { token: rest, logprob: -2, bytes: [...Buffer.from(rest)], top_logprobs: [] }
    const common = { choice: 0, text: '', tokens: [], promptTokens, cachedTokens: 0, outputTokens: 0 }
    onDelta({ ...common, promptLogprobs: [null] })
    onDelta({ ...common, promptLogprobs: [logprob] })
  }

  #deliver(
    generation: Generation,
    choice: Choice,
    tokens: number[],
    text: string,
    finishReason?: FinishReason,
    error?: NonNullable<GenerationDelta['error']>,
  ): void {
    this.#stats.outputTokens += tokens.length
    const { params } = generation.request
    const one = { token: text, logprob: -0.5, bytes: [...Buffer.from(text)] }
    const logprob: TokenLogprob = { ...one, top_logprobs: Array.from({ length: params.top_logprobs ?? 0 }, () => one) }
    const raw: GenerationDelta = {
      choice: choice.index,
      text,
      tokens,
      ...(params.logprobs && text !== '' ? { logprobs: [logprob] } : {}),
      ...(finishReason ? { finishReason } : {}),
      promptTokens: generation.promptTokens,
      cachedTokens: 4,
      outputTokens: choice.tokens,
      ...(error ? { error } : {}),
    }
    const delta = choice.reader ? choice.reader.read(raw) : raw
    if (choice.reader?.done) choice.done = true
    if (generation.paused && !error) generation.held.push(delta)
    else generation.onDelta(delta)
  }
}
