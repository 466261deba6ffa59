// The words that the front process, the worker and the library share. Plain data and interfaces, no code.
import type { Constraint } from './constraint.js'

/** Generation parameters under transformers' GenerationConfig names, plus OpenAI's own. Absent: the model's default. */
export interface GenerationParams {
  do_sample?: boolean
  temperature?: number
  top_k?: number
  top_p?: number
  min_p?: number
  typical_p?: number
  repetition_penalty?: number
  /** OpenAI's definition: over the output, once a token. */
  presence_penalty?: number
  /** OpenAI's definition: over the output, times the count. */
  frequency_penalty?: number
  no_repeat_ngram_size?: number
  /** Token id -> what is added to its logit. */
  logit_bias?: Record<string, number>
  bad_words_ids?: number[][]
  seed?: number
  /** 0: the prompt is computed, and the generation ends with 'length'. */
  max_new_tokens?: number
  /** Prompt and output together, as in GenerationConfig; max_new_tokens wins. */
  max_length?: number
  min_new_tokens?: number
  /** Prompt and output together; min_new_tokens wins. */
  min_length?: number
  eos_token_id?: number | number[]
  ignore_eos?: boolean
  stop?: string[]
  skip_special_tokens?: boolean
  logprobs?: boolean
  /** Alternatives a token, 0 to 20; needs logprobs. */
  top_logprobs?: number
  /** Log probabilities of the prompt's tokens, with so many alternatives a token, 0 to 20. The prompt is then computed, not taken from the prefix cache. */
  prompt_logprobs?: number
}

/** A chat message as the checkpoint's template sees it; unknown fields travel along. */
export interface ChatMessage {
  role: string
  content?: string | readonly unknown[] | null
  [field: string]: unknown
}

/** What a generation starts from. */
export type PromptInput =
  | {
      kind: 'chat'
      messages: ChatMessage[]
      tools?: unknown[]
      /** Variables for the chat template, e.g. enable_thinking. */
      templateKwargs?: Record<string, unknown>
      /** Default true. */
      addGenerationPrompt?: boolean
    }
  | { kind: 'text'; text: string; addSpecialTokens?: boolean }
  | { kind: 'tokens'; tokens: number[] }
  /** What stands between two texts, by the checkpoint's own notation for it. */
  | { kind: 'fill'; prefix: string; suffix: string }

export interface GenerateRequest {
  input: PromptInput
  params: GenerationParams
  /**
   * A whole generation_config that replaces the model's own as the base of `params` (transformers' extension), as parsed JSON.
   * Unknown or unsupported keys are judged by the worker.
   */
  generationConfig?: Record<string, unknown>
  /** Choices, at least 1; they share the prompt's pages. Default 1. */
  n?: number
  /** Whether the started generation tells what its prompt is. */
  echo?: boolean
  /** Lower goes first. Default 0. */
  priority?: number
  /** Prefix pages are shared only between requests of equal salt. */
  cacheSalt?: string
  /** What each choice's answer must match, from its first token, or in a chat behind the model's reasoning; absent: anything. */
  constraint?: Constraint
  /** The request's field that the constraint came from, for errors. Default 'constraint'. */
  constraintParam?: string
  /** Chats only: the text goes out as the model wrote it, reasoning, calls and their markup included. Default false. */
  raw?: boolean
  /** Chats only. */
  toolChoice?: ToolChoice
  /** false: the answer ends with its first call. Default true. */
  parallelToolCalls?: boolean
  /** Chats only: tools that do not say whether they are `strict` are, where their schemas can be compiled. Default false. */
  strictTools?: boolean
}

/**
 * 'auto' (the default): the model calls tools or not; 'none': it is not told of them, and what looks like a call is content;
 * 'required': it calls at least one; an object: the tool of that name.
 */
export type ToolChoice = 'auto' | 'none' | 'required' | { name: string }

/** 'tool_calls': the model stopped after at least one call. */
export type FinishReason = 'stop' | 'length' | 'tool_calls' | 'abort' | 'error'

/** A part of a tool call, as OpenAI streams it; the first part of each call carries id and name. */
export interface ToolCallDelta {
  /** Of the call within its choice, from 0. */
  index: number
  id?: string
  name?: string
  /** A piece of the arguments' JSON text. */
  arguments?: string
}

export interface TopLogprob {
  token: string
  logprob: number
  /** The token's bytes: they need not be whole characters. */
  bytes: number[]
}

/** OpenAI's shape of one token's log probability. */
export interface TokenLogprob extends TopLogprob {
  top_logprobs: TopLogprob[]
}

/** What one engine step brought to one choice. */
export interface GenerationDelta {
  choice: number
  /** New content, whole UTF-8 characters; may be empty. Of a chat without reasoning, calls and their markup. */
  text: string
  /** New text of the model's reasoning. */
  reasoning?: string
  toolCalls?: ToolCallDelta[]
  /** New token ids, the end-of-sequence token included. */
  tokens: number[]
  logprobs?: TokenLogprob[]
  /**
   * With prompt_logprobs: the prompt's tokens in their order, in as many deltas of choice 0 as it takes, before any new token. Null for the
   * prompt's first token, which nothing precedes.
   */
  promptLogprobs?: (TokenLogprob | null)[]
  /** Present on the last delta of the choice. */
  finishReason?: FinishReason
  promptTokens: number
  /** Prompt tokens whose keys and values came from the prefix cache. */
  cachedTokens: number
  /** Output tokens of this choice so far. */
  outputTokens: number
  /** How many of them were reasoning; absent: no more than were said last. */
  reasoningTokens?: number
  /** With finishReason 'error': what to tell the client, and the kind of failure. */
  error?: { code: ErrorCode; message: string }
}

/**
 * Why a request was refused or failed; the server maps each to an HTTP status.
 * invalid_request 400, unsupported_parameter 400, context_length_exceeded 400, template_error 400, queue_full 429,
 * audio_invalid 400, audio_too_long 400, audio_unsupported 415, model_task_mismatch 400, model_loading 503, model_crashed 503, shutting_down 503, engine_error 500; of the choice of a model: model_pinned 400,
 * model_required 400, model_too_large 400, model_unsupported 400, model_not_found 404, hub_unavailable 503, model_load_failed 500
 */
export type ErrorCode =
  | 'invalid_request'
  | 'unsupported_parameter'
  | 'context_length_exceeded'
  | 'template_error'
  | 'audio_invalid'
  | 'audio_too_long'
  | 'audio_unsupported'
  | 'queue_full'
  | 'model_loading'
  | 'model_crashed'
  | 'shutting_down'
  | 'engine_error'
  | 'model_pinned'
  | 'model_required'
  | 'model_task_mismatch'
  | 'model_too_large'
  | 'model_unsupported'
  | 'model_not_found'
  | 'hub_unavailable'
  | 'model_load_failed'

/** A request that cannot be served. `param` names the field at fault where there is one. */
export class RequestError extends Error {
  override readonly name = 'RequestError'
  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly param: string | null = null,
  ) {
    super(message)
  }
}

/** What is known of a loaded text model. */
export interface ModelInfo {
  kind: 'text'
  /** As clients name it, e.g. `org/name` or the folder's name; without the revision. */
  id: string
  revision: string
  /** Unix seconds. */
  created: number
  architecture: string
  /** Type of most weights in memory: 'bfloat16', 'float16', 'float32' or a GGUF type. */
  dtype: string
  /** What the weights were quantised to while they were loaded; 'none': they are as stored, or as `dtype` says. */
  quantization: string
  kvCacheDtype: string
  parameters: number
  weightBytes: number
  vocabSize: number
  /** Prompt and output of one sequence, tokens. */
  maxModelLen: number
  pagedKv: boolean
  blockSize: number
  /** How the cache's memory was divided: layers that see everything (window 0), then those with a window. */
  kvGroups: { blocks: number; window: number }[]
  /** Pages of all groups. */
  kvBlocks: number
  kvBytes: number
  maxNumSeqs: number
  maxBatchTokens: number
  threads: number
  attentionKernel: string
  hasChatTemplate: boolean
  loadMs: number
  timings: LoadTimings
}

/** Where the time of a load went, in milliseconds. Parts overlap: weights, vocabulary and tokenizer are read at once. */
export interface LoadTimings {
  /** Map the files, read what is not weights. */
  files: number
  /** Put the weights where they are computed with, `quantize` included. */
  weights: number
  quantize: number
  /** Text to ids: tokenizer and chat template. */
  tokenizer: number
  /** Ids to bytes. */
  vocabulary: number
  /** Buffers, threads, the largest graph. */
  context: number
  /** Compute one: weights are read, the first graph is made. */
  firstToken: number
}

/** Counters since the engine started, and gauges. See EngineStats in native/engine/engine.h. */
export interface EngineStats {
  running: number
  waiting: number
  blocksTotal: number
  blocksFree: number
  blocksCached: number
  steps: number
  promptTokens: number
  cachedPromptTokens: number
  computedTokens: number
  outputTokens: number
  preemptions: number
  prefixQueries: number
  prefixHits: number
  evictions: number
  blockCopies: number
  abortsWaiting: number
  abortsPrefill: number
  abortsDecode: number
  lastStepMs: number
}

/** What a prompt is, for who asked with `echo`. */
export interface PromptEcho {
  /** As it was given, without a suffix; that of token ids with control tokens. */
  text: string
  /** The token that has no log probability. */
  firstToken: { token: string; bytes: number[] }
}

/** A generation that the engine has accepted. */
export interface StartedGeneration {
  readonly promptTokens: number
  readonly echo?: PromptEcho | undefined
  /** Frees its pages at the next step border; the last delta of each choice then says 'abort'. Harmless when it has ended. */
  abort(): void
  /**
   * Flow control: after pause() no delta is delivered until resume(); text is kept meanwhile, within a bound past
   * which the generation is aborted.
   */
  pause(): void
  resume(): void
}

/**
 * Something that generates text: a model in this process (LoadedModel) or in a worker process (WorkerModel).
 * `start` rejects with a RequestError; deltas then arrive in order, each choice's last one carries a finishReason.
 */
export interface TextModel {
  readonly info: ModelInfo
  start(request: GenerateRequest, onDelta: (delta: GenerationDelta) => void): Promise<StartedGeneration>
  stats(): Promise<EngineStats>
}

/** Load progress; current never goes back. */
export interface LoadProgress {
  stage: 'processor' | 'config' | 'weights' | 'engine'
  current?: number
  total?: number
}

export type LogLevel = 'debug' | 'info' | 'warning' | 'error'

/** How to load and run one model. Sizes in bytes. Absent: chosen from the machine and the model. */
export interface EngineOptions {
  /** A GGUF file, a Hugging Face checkpoint directory, or for speech a ggml file of a Whisper model. */
  path: string
  /** As clients name it; default: the last part of the path. */
  id?: string
  revision?: string
  /** Type of the weights that are not quantised. A GGUF file keeps its own. */
  dtype?: 'auto' | 'bfloat16' | 'float16' | 'float32'
  /** Quantises float weights while they are loaded: a name of docs/quantization.md, in any case. */
  quantization?: string
  kvCacheDtype?: 'auto' | 'float32' | 'float16' | 'bfloat16' | 'q8_0'
  kvCacheMemory?: number
  maxBatchTokens?: number
  maxNumSeqs?: number
  maxModelLen?: number
  /** Requests that wait for a place. Default 1024. */
  maxWaiting?: number
  /** Tokens of their prompts. Default 4194304. */
  maxWaitingTokens?: number
  blockSize?: number
  prefixCaching?: boolean
  continuousBatching?: boolean
  threads?: number
  /** Used where a request names no seed, so that a whole server is reproducible. */
  defaultSeed?: number
  /** Server defaults for the chat template's variables. */
  chatTemplateKwargs?: Record<string, unknown>
  logLevel?: LogLevel
  /** false: upstream's own KV cache and attention instead of the paged ones, for comparison. */
  pagedKv?: boolean
  /** Serve the deterministic stand-in instead of a model: measures everything but the model. */
  standIn?: { vocabSize?: number; stepMicros?: number; tokenMicros?: number }
}
