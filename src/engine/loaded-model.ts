// One model in this process: template, tokenizer and native engine behind the TextModel interface.
// The worker process is a message loop around it; the library exports it. There is no second implementation.
import { statSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { ChatTemplates, type RenderOptions } from './chat-template.js'
import { type Checkpoint, CheckpointError, readCheckpoint } from './checkpoint.js'
import { DeltaRouter } from './delta-router.js'
import { FillIn } from './fill-in.js'
import { resolveSampling } from './generation-config.js'
import { defaultKvCacheMemory } from './memory.js'
import { nativeAddon, type NativeConstraint, type NativeModel, type NativeModelInfo, type NativeSubmitError } from './native.js'
import { AnswerReader } from './output/answer-reader.js'
import type { AnswerFormat } from './output/format.js'
import { outputConstraint } from './output/output-constraint.js'
import { answerFormat } from './output/registry.js'
import { toolSchemas } from './output/tools.js'
import { echoOf } from './prompt-echo.js'
import { parseQuantization, type Quantization, quantizationChoices } from './quantization.js'
import { templateMessages, templateTools } from './template-messages.js'
import { openTokenizer, type Tokenizer } from './tokenizer.js'
import { type TokenizerSource, tokenizerSource } from './tokenizer-source.js'
import {
  type ChatMessage,
  type EngineOptions,
  type EngineStats,
  type ErrorCode,
  type GenerateRequest,
  type GenerationDelta,
  type LoadProgress,
  type ModelInfo,
  RequestError,
  type StartedGeneration,
  type TextModel,
} from './types.js'
import { unsupportedFields } from './unsupported-fields.js'

const submitErrors: Record<NativeSubmitError, ErrorCode> = {
  queue_full: 'queue_full',
  too_long: 'context_length_exceeded',
  does_not_fit: 'context_length_exceeded',
  invalid: 'invalid_request',
  shutting_down: 'shutting_down',
}

const defaultMaxWaitingTokens = 2 ** 22
const defaultMaxWaiting = 1024
// normalisation may make text shorter before it is cut into tokens: composed characters, collapsed spaces
const normalisationSlack = 4

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** What surrounds the native engine of one model. */
interface ModelText {
  tokenizer: Tokenizer
  templates: ChatTemplates
  generationDefaults: Record<string, unknown>
  eosTokenIds: number[]
  /** How the model writes reasoning and calls; undefined: it has no notation that is known. */
  format: AnswerFormat | undefined
  /** What a user should know of the checkpoint. */
  warning?: string
}

interface CheckpointFiles {
  checkpoint: Checkpoint
  source: TokenizerSource
}

// the small files of a checkpoint directory; undefined for a GGUF file, which brings its own
function readFiles(options: EngineOptions): CheckpointFiles | undefined {
  const found = statSync(options.path, { throwIfNoEntry: false })
  if (!found) throw new CheckpointError(`There is no file or directory '${basename(options.path)}'.`)
  if (!found.isDirectory()) return undefined
  const checkpoint = readCheckpoint(options.path)
  return { checkpoint, source: tokenizerSource(options.path, checkpoint.tokenizerConfig, checkpoint.modelType) }
}

function checkpointText({ checkpoint, source }: CheckpointFiles, options: EngineOptions): ModelText {
  return {
    tokenizer: openTokenizer(options.path, source, checkpoint.tokenizerConfig),
    templates: new ChatTemplates(checkpoint.chatTemplates, checkpoint.specialTokens, options.chatTemplateKwargs),
    generationDefaults: checkpoint.generationDefaults,
    eosTokenIds: checkpoint.eosTokenIds,
    ...answerFormat(checkpoint),
  }
}

function ggufText(native: NativeModel, options: EngineOptions): ModelText {
  const gguf = native.info.gguf
  if (!gguf) throw new CheckpointError('The file brings no vocabulary.')
  const sources: Record<string, string> = gguf.chatTemplate ? { default: gguf.chatTemplate } : {}
  return {
    tokenizer: { encode: (text, addSpecialTokens) => native.tokenize(text.toWellFormed(), addSpecialTokens) },
    templates: new ChatTemplates(sources, { bos_token: gguf.bosToken, eos_token: gguf.eosToken }, options.chatTemplateKwargs),
    generationDefaults: {},
    eosTokenIds: gguf.eosTokenIds,
    ...answerFormat({ chatTemplates: sources, modelType: native.info.architecture }),
  }
}

// markers that are tokens of their own: they must reach the text even where they are special tokens
async function markerTokens(text: ModelText): Promise<number[]> {
  const ids = await Promise.all((text.format?.markers ?? []).map((marker) => text.tokenizer.encode(marker, false)))
  return ids.flatMap((tokens) => (tokens.length === 1 ? [...tokens] : []))
}

function quantizationOf(options: EngineOptions): Quantization {
  const quantization = parseQuantization(options.quantization ?? 'none')
  if (quantization) return quantization
  throw new TypeError(`Expected one of ${quantizationChoices.join(', ')} for quantization but received '${options.quantization}'.`)
}

interface LoadFacts {
  hasChatTemplate: boolean
  loadMs: number
  /** Of the tokenizer, in milliseconds. */
  tokenizerMs: number
}

function modelInfo(options: EngineOptions, native: NativeModelInfo, facts: LoadFacts): ModelInfo {
  const path = resolve(options.path)
  return {
    kind: 'text',
    id: options.id ?? basename(path),
    revision: options.revision ?? 'main',
    created: Math.floor(statSync(path).mtimeMs / 1000),
    architecture: native.architecture,
    dtype: native.dtype,
    quantization: native.quantization || 'none',
    kvCacheDtype: native.kvCacheDtype,
    parameters: native.parameters,
    weightBytes: native.weightBytes,
    vocabSize: native.vocabSize,
    maxModelLen: native.maxModelLen,
    pagedKv: native.pagedKv,
    blockSize: native.blockSize,
    kvGroups: native.kvGroups,
    kvBlocks: native.kvBlocks,
    kvBytes: native.kvBytes,
    maxNumSeqs: native.maxNumSeqs,
    maxBatchTokens: native.maxBatchTokens,
    threads: native.threads,
    attentionKernel: native.attentionKernel,
    hasChatTemplate: facts.hasChatTemplate,
    loadMs: facts.loadMs,
    timings: { ...native.timings, tokenizer: facts.tokenizerMs },
  }
}

/** A prompt's ids and, of a chat, its text. */
interface Prompt {
  ids: Int32Array
  chat?: string
  /** Tokens that end the answer, beside the checkpoint's own. */
  ends?: readonly number[]
}

/** A loaded model and its engine. Make one with `LoadedModel.load`; end it with `close()` or `await using`. */
export class LoadedModel implements TextModel, AsyncDisposable {
  readonly #native: NativeModel
  readonly #text: ModelText
  readonly #markerTokens: readonly number[]
  readonly #router: DeltaRouter
  readonly #defaultSeed: number | undefined
  readonly #mostOpen: number
  #starting = 0
  #nextId = 1
  #closed: Promise<void> | undefined
  #fillIn: Promise<FillIn> | undefined

  private constructor(
    native: NativeModel,
    text: ModelText,
    markers: readonly number[],
    router: DeltaRouter,
    readonly info: ModelInfo,
    /** Things a user should know: options that were lowered, fields of the checkpoint that have no effect here. */
    readonly warnings: readonly string[],
    /** The same, where there is nothing to worry about. */
    readonly notes: readonly string[],
    defaultSeed: number | undefined,
    maxWaiting: number,
  ) {
    this.#mostOpen = info.maxNumSeqs + maxWaiting
    this.#native = native
    this.#text = text
    this.#markerTokens = markers
    this.#router = router
    this.#defaultSeed = defaultSeed
  }

  /**
   * Loads a checkpoint directory or a GGUF file and starts its engine.
   * Rejects with a CheckpointError (or an Error with a sentence for the user) when the model cannot be loaded.
   */
  static async load(options: EngineOptions, onProgress: (progress: LoadProgress) => void = () => {}): Promise<LoadedModel> {
    const started = performance.now()
    const quantization = quantizationOf(options)
    const addon = nativeAddon()
    addon.setLogLevel(options.logLevel ?? 'warning')
    onProgress({ stage: 'processor' })
    const router = new DeltaRouter()
    const maxWaiting = options.maxWaiting ?? defaultMaxWaiting
    const files = readFiles(options)
    const loading = addon.loadModel(
      {
        path: options.path,
        ...(files?.source.converted && files.source.json !== undefined && { tokenizerJson: files.source.json }),
        dtype: options.dtype ?? 'auto',
        quantization: quantization.name === 'none' ? '' : quantization.name,
        kvCacheDtype: options.kvCacheDtype ?? 'auto',
        kvCacheMemory: options.kvCacheMemory ?? defaultKvCacheMemory(),
        maxBatchTokens: options.maxBatchTokens ?? 0,
        maxNumSeqs: options.maxNumSeqs ?? 0,
        maxModelLen: options.maxModelLen ?? 0,
        maxWaiting,
        maxWaitingTokens: options.maxWaitingTokens ?? defaultMaxWaitingTokens,
        blockSize: options.blockSize ?? 16,
        prefixCaching: options.prefixCaching ?? true,
        continuousBatching: options.continuousBatching ?? true,
        pagedKv: options.pagedKv ?? true,
        threads: options.threads ?? 0,
        ...(options.standIn && {
          standIn: {
            vocabSize: options.standIn.vocabSize ?? 2048,
            stepMicros: options.standIn.stepMicros ?? 0,
            tokenMicros: options.standIn.tokenMicros ?? 0,
          },
        }),
      },
      () => router.deliver(),
      (current, total) => onProgress({ stage: 'weights', current, total }),
    )
    // on this thread, while the weights are read on another; what the native side reports arrives in a later turn
    let ownText: ModelText | undefined
    const reading = performance.now()
    try {
      ownText = files && checkpointText(files, options)
    } catch (error) {
      await loading.then(
        (native) => native.close(),
        () => undefined,
      )
      throw error
    }
    const tokenizerMs = performance.now() - reading
    onProgress({ stage: 'config' })
    const native = await loading
    onProgress({ stage: 'engine' })
    router.attach(native)
    const text = ownText ?? ggufText(native, options)
    const ignored = unsupportedFields(text.generationDefaults)
    const warnings = [
      ...native.info.warnings,
      ...(text.warning === undefined ? [] : [text.warning]),
      ...(ignored.length > 0 ? [`generation_config.json sets ${ignored.join(', ')}: not supported, without effect.`] : []),
    ]
    const notes = [...(quantization.note ? [quantization.note] : []), ...native.info.notes]
    const info = modelInfo(options, native.info, {
      hasChatTemplate: text.templates.exists,
      loadMs: performance.now() - started,
      tokenizerMs,
    })
    return new LoadedModel(native, text, await markerTokens(text), router, info, warnings, notes, options.defaultSeed, maxWaiting)
  }

  /** Token ids of `text`, as the checkpoint's tokenizer gives them. */
  tokenize(text: string, { addSpecialTokens = true } = {}): Promise<Int32Array> {
    return this.#text.tokenizer.encode(text, addSpecialTokens)
  }

  /** The prompt text that the checkpoint's chat template makes of messages. */
  renderChat(messages: readonly ChatMessage[], options: RenderOptions = {}): Promise<string> {
    return this.#text.templates.render(messages, options)
  }

  // the prompt of a request: what is done to messages here is no part of renderChat, which gives what transformers gives
  async #prompt({ input, toolChoice }: GenerateRequest): Promise<Prompt> {
    switch (input.kind) {
      case 'tokens': {
        const bad = input.tokens.find((id) => !Number.isInteger(id) || id < 0 || id >= this.info.vocabSize)
        if (bad !== undefined) {
          throw new RequestError(
            'invalid_request',
            `Expected token ids from 0 to ${this.info.vocabSize - 1} but received ${String(bad)}.`,
            'prompt',
          )
        }
        return { ids: Int32Array.from(input.tokens) }
      }
      case 'text':
        this.#checkLength(input.text, 'prompt')
        return { ids: await this.tokenize(input.text, { addSpecialTokens: input.addSpecialTokens ?? true }) }
      case 'fill': {
        this.#checkLength(input.prefix + input.suffix, 'prompt')
        // a tokenizer without the tokens stays one without them
        this.#fillIn ??= FillIn.of(this.#text.tokenizer)
        const fillIn = await this.#fillIn
        return { ids: await fillIn.ids(input.prefix, input.suffix), ends: fillIn.ends }
      }
      case 'chat': {
        const tools = toolChoice === 'none' ? undefined : input.tools
        const source = this.#text.templates.source(tools !== undefined) ?? ''
        const text = await this.renderChat(templateMessages(input.messages, source), {
          tools: tools && templateTools(tools),
          kwargs: input.templateKwargs,
          addGenerationPrompt: input.addGenerationPrompt,
        })
        this.#checkLength(text, 'messages')
        return { ids: await this.tokenize(text, { addSpecialTokens: false }), chat: text }
      }
    }
  }

  // Text that cannot fit, however well it compresses, is not tokenised at all: a megabyte takes the tokenizer seconds.
  #checkLength(text: string, param: string): void {
    const { maxModelLen } = this.info
    const tokensAtLeast = Math.floor(text.length / (this.#native.info.longestToken * normalisationSlack))
    if (!(tokensAtLeast > maxModelLen)) return
    throw new RequestError(
      'context_length_exceeded',
      `The prompt has ${text.length} characters, far more than the ${maxModelLen} tokens of the model's context can hold. Shorten the ${param}.`,
      param,
    )
  }

  // what reads the answer of each choice; none where the text goes out as it is
  #readers(request: GenerateRequest, chat: string | undefined): AnswerReader[] {
    const { format } = this.#text
    if (request.raw || chat === undefined || !format || request.input.kind !== 'chat') return []
    const options = {
      tools: toolSchemas(request.input.tools),
      readCalls: request.toolChoice !== 'none',
      maxCalls: request.parallelToolCalls === false ? 1 : Infinity,
    }
    return Array.from({ length: request.n ?? 1 }, () => new AnswerReader(format.parser(chat, options)))
  }

  async #constraint(request: GenerateRequest, chat: string | undefined): Promise<NativeConstraint | undefined> {
    const output = outputConstraint(request, chat, this.#text.format)
    if (!output) return undefined
    let failure: unknown
    for (const tree of output.trees) {
      try {
        return await this.#native.compileConstraint(JSON.stringify(tree))
      } catch (error) {
        if (this.#closed) throw new RequestError('shutting_down', 'The model is being unloaded.')
        failure ??= error
      }
    }
    if (output.optional) return undefined
    throw new RequestError('invalid_request', `The answer cannot be constrained: ${messageOf(failure)}.`, output.param)
  }

  /** Starts a generation. Rejects with a RequestError; `onDelta` is called from a later turn of the event loop. */
  async start(request: GenerateRequest, onDelta: (delta: GenerationDelta) => void): Promise<StartedGeneration> {
    if (this.#closed) throw new RequestError('shutting_down', 'The model is being unloaded.')
    // the engine counts what waits; what is still being tokenised waits too
    if (this.#starting + this.#router.size >= this.#mostOpen) {
      throw new RequestError('queue_full', `${this.#mostOpen} requests are already running or waiting. Try again later.`)
    }
    this.#starting++
    let rendered: Prompt
    let constraint: NativeConstraint | undefined
    try {
      rendered = await this.#prompt(request)
      constraint = await this.#constraint(request, rendered.chat)
    } finally {
      this.#starting--
    }
    const prompt = rendered.ids
    const param = request.input.kind === 'chat' ? 'messages' : 'prompt'
    if (prompt.length === 0) throw new RequestError('invalid_request', 'The prompt has no tokens.', param)
    const { maxModelLen } = this.info
    // without an answer the prompt may fill the context
    if (prompt.length > maxModelLen || (prompt.length === maxModelLen && request.params.max_new_tokens !== 0)) {
      throw new RequestError(
        'context_length_exceeded',
        `The prompt has ${prompt.length} tokens, but the model's context holds ${maxModelLen}, the answer included. Shorten the ${param}.`,
        param,
      )
    }
    const n = request.n ?? 1
    const readers = this.#readers(request, rendered.chat)
    const params =
      readers.length > 0 && this.#text.format?.allSpecialTokens ? { ...request.params, skip_special_tokens: false } : request.params
    const sampling = resolveSampling(params, request.generationConfig, {
      defaults: this.#text.generationDefaults,
      eosTokenIds: [...this.#text.eosTokenIds, ...(rendered.ends ?? [])],
      vocabSize: this.info.vocabSize,
      maxModelLen,
      promptTokens: prompt.length,
      ...(readers.length > 0 && { shownSpecialTokens: this.#markerTokens }),
      ...(this.#defaultSeed !== undefined && { defaultSeed: this.#defaultSeed }),
    })
    // closed while the prompt was being made: the native engine is gone
    if (this.#closed) throw new RequestError('shutting_down', 'The model is being unloaded.')
    const echo = request.echo ? { echo: echoOf(request.input, prompt, (id) => this.#native.tokenBytes(id)) } : {}
    const id = this.#nextId++
    const generation = this.#router.open(id, n, prompt.length, onDelta, readers)
    let refused: ReturnType<NativeModel['submit']>
    try {
      refused = this.#native.submit({
        id,
        prompt,
        sampling,
        n,
        priority: request.priority ?? 0,
        cacheSalt: request.cacheSalt ?? '',
        constraint,
      })
    } catch (error) {
      this.#router.drop(id)
      throw new RequestError('invalid_request', messageOf(error))
    }
    if (refused) {
      this.#router.drop(id)
      throw new RequestError(submitErrors[refused.error], refused.message, refused.error === 'queue_full' ? null : param)
    }
    return Object.assign(generation, echo)
  }

  stats(): Promise<EngineStats> {
    return Promise.resolve(this.#native.stats())
  }

  /** Aborts what still runs and gives all memory back. */
  close(): Promise<void> {
    this.#closed ??= this.#native.close().then(() => this.#router.abandon())
    return this.#closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
