// The library: one model in this process, generations as async iterators.
import type { Constraint } from './constraint.js'
import { LoadedModel } from './loaded-model.js'
import {
  type ChatMessage,
  type EngineOptions,
  type EngineStats,
  type GenerationDelta,
  type GenerationParams,
  type LoadProgress,
  type ModelInfo,
  type PromptInput,
  RequestError,
  type StartedGeneration,
  type ToolChoice,
} from './types.js'

/** What to generate from: exactly one of prompt, messages and tokens; the rest as in GenerationParams. */
export interface GenerateOptions extends GenerationParams {
  /** Text; the tokenizer adds its special tokens (BOS) unless addSpecialTokens is false. */
  prompt?: string
  addSpecialTokens?: boolean
  /** A chat, rendered by the checkpoint's template. */
  messages?: ChatMessage[]
  tools?: unknown[]
  chatTemplateKwargs?: Record<string, unknown>
  /** With messages: which tools the model may or must call. Default 'auto'. */
  toolChoice?: ToolChoice
  /** With messages: false ends the answer with its first call. Default true. */
  parallelToolCalls?: boolean
  /** With messages: tools that do not say whether they are `strict` are, where their schemas can be compiled. Default false. */
  strictTools?: boolean
  /** With messages: true gives the text as the model wrote it, reasoning, calls and their markup included. Default false. */
  raw?: boolean
  /** Token ids, used as they are. */
  tokens?: number[]
  /** What the output of each choice must match. */
  constraint?: Constraint
  /** Choices; each GeneratedChunk names its own. Default 1. */
  n?: number
  /** Lower goes first. */
  priority?: number
  /** Prefix pages are shared only between requests of equal salt. */
  cacheSalt?: string
  /** Ends the generation; the iterator then throws the signal's reason. */
  signal?: AbortSignal
}

/** New text and tokens of one choice: one or more tokens' worth, whole characters. */
export type GeneratedChunk = GenerationDelta

// chunks that wait for a slow consumer before the engine's deliveries are paused
const pauseAbove = 256
const resumeBelow = 64

function promptInput(options: GenerateOptions): PromptInput {
  const given = [options.prompt, options.messages, options.tokens].filter((value) => value !== undefined)
  if (given.length !== 1) throw new RequestError('invalid_request', 'Give exactly one of prompt, messages and tokens.')
  if (options.tokens !== undefined) return { kind: 'tokens', tokens: options.tokens }
  if (options.prompt !== undefined) return { kind: 'text', text: options.prompt, addSpecialTokens: options.addSpecialTokens ?? true }
  return {
    kind: 'chat',
    messages: options.messages ?? [],
    ...(options.tools && { tools: options.tools }),
    ...(options.chatTemplateKwargs && { templateKwargs: options.chatTemplateKwargs }),
  }
}

/** One loaded model. `await using engine = await Engine.load({ path })` gives everything back at the end of the block. */
export class Engine implements AsyncDisposable {
  readonly #model: LoadedModel

  private constructor(model: LoadedModel) {
    this.#model = model
  }

  /** Loads a Hugging Face checkpoint directory or a GGUF file. Rejects with a sentence for the user when that fails. */
  static async load(options: EngineOptions, onProgress?: (progress: LoadProgress) => void): Promise<Engine> {
    return new Engine(await LoadedModel.load(options, onProgress))
  }

  get info(): ModelInfo {
    return this.#model.info
  }

  /** What a user should know about how the model was loaded. */
  get warnings(): readonly string[] {
    return this.#model.warnings
  }

  /**
   * Generates. Leaving the loop, or the signal, aborts: the pages are free at the next step border.
   * Throws a RequestError for a request that cannot be served.
   */
  async *generate(options: GenerateOptions): AsyncGenerator<GeneratedChunk, void, undefined> {
    const { signal } = options
    signal?.throwIfAborted()
    const n = options.n ?? 1
    const queue: GenerationDelta[] = []
    let wake: () => void = () => {}
    let open = n
    let paused = false
    let generation: StartedGeneration | undefined
    const onAbort = () => {
      generation?.abort()
      wake()
    }
    generation = await this.#model.start(
      {
        input: promptInput(options),
        params: generationParams(options),
        n,
        priority: options.priority ?? 0,
        cacheSalt: options.cacheSalt ?? '',
        raw: options.raw ?? false,
        toolChoice: options.toolChoice ?? 'auto',
        parallelToolCalls: options.parallelToolCalls ?? true,
        strictTools: options.strictTools ?? false,
        ...(options.constraint && { constraint: options.constraint }),
      },
      (delta) => {
        queue.push(delta)
        if (queue.length > pauseAbove && !paused) {
          paused = true
          generation?.pause()
        }
        wake()
      },
    )
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      while (open > 0) {
        signal?.throwIfAborted()
        const delta = queue.shift()
        if (!delta) {
          await new Promise<void>((resolve) => {
            wake = resolve
          })
          continue
        }
        if (paused && queue.length < resumeBelow) {
          paused = false
          generation.resume()
        }
        if (delta.finishReason) open--
        if (delta.error) throw new RequestError(delta.error.code, delta.error.message)
        yield delta
      }
    } finally {
      signal?.removeEventListener('abort', onAbort)
      if (open > 0) {
        generation.abort()
        generation.resume()
      }
    }
  }

  /** Token ids of `text`, as the checkpoint's tokenizer gives them. */
  tokenize(text: string, options?: { addSpecialTokens?: boolean }): Promise<Int32Array> {
    return this.#model.tokenize(text, options)
  }

  /** The prompt text that the checkpoint's chat template makes of messages. */
  renderChat(
    messages: readonly ChatMessage[],
    options?: { tools?: unknown[]; kwargs?: Record<string, unknown>; addGenerationPrompt?: boolean; nowSeconds?: number },
  ): Promise<string> {
    return this.#model.renderChat(messages, options)
  }

  stats(): Promise<EngineStats> {
    return this.#model.stats()
  }

  /** Aborts what still runs and gives all memory back. */
  close(): Promise<void> {
    return this.#model.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

function generationParams(options: GenerateOptions): GenerationParams {
  const {
    prompt: _prompt,
    addSpecialTokens: _addSpecialTokens,
    messages: _messages,
    tools: _tools,
    chatTemplateKwargs: _chatTemplateKwargs,
    toolChoice: _toolChoice,
    parallelToolCalls: _parallelToolCalls,
    strictTools: _strictTools,
    raw: _raw,
    tokens: _tokens,
    constraint: _constraint,
    n: _n,
    priority: _priority,
    cacheSalt: _cacheSalt,
    signal: _signal,
    ...params
  } = options
  return params
}
