import { Worker } from 'node:worker_threads'
import { parseChatBody, parseModelNameBody } from '../protocol/chat-schema.js'
import { parseCompletionBody } from '../protocol/completions-schema.js'
import { ApiError, type AnyErrorCode } from '../protocol/errors.js'
import type { ReadOptions } from '../protocol/known-fields.js'
import { parseConversationUpdate, parseNewConversation, parseNewItems } from '../protocol/responses/conversations.js'
import { parseResponsesBody } from '../protocol/responses/schema.js'
import { parseSpeechTaskBody } from '../protocol/speech-task-schema.js'
import { threadFile } from './thread-file.js'

/** Bytes; bodies above this are parsed in a thread of their own, so that streams of others do not stop meanwhile. */
export const inlineBodyLimit = 128 << 10

/** The bodies that may be large, by the name of what they ask for. Each parser throws an ApiError; what it makes is plain data. */
export const bodyParsers = {
  chat: parseChatBody,
  completions: parseCompletionBody,
  responses: parseResponsesBody,
  conversation: parseNewConversation,
  conversationUpdate: parseConversationUpdate,
  conversationItems: parseNewItems,
  modelName: parseModelNameBody,
  speechTask: parseSpeechTaskBody,
} as const

export type BodyKind = keyof typeof bodyParsers
type Parsed<K extends BodyKind> = ReturnType<(typeof bodyParsers)[K]>

/** What the thread answers. */
export type ParseAnswer =
  { id: number; request: Parsed<BodyKind> } | { id: number; error: { code: AnyErrorCode; message: string; param: string | null } }

export interface ParseTask {
  id: number
  kind: BodyKind
  bytes: Uint8Array
  options: ReadOptions
}

interface Waiter {
  resolve(request: Parsed<BodyKind>): void
  reject(error: Error): void
}

/** Parses and judges request bodies, the large ones off the event loop. */
export class BodyParser {
  readonly #file = threadFile('parse-thread.js')
  readonly #waiting = new Map<number, Waiter>()
  #thread: Worker | undefined
  #lastId = 0

  constructor(private readonly options: ReadOptions = {}) {}

  /** Whether there is a thread for large bodies; without its compiled file they are parsed here. */
  get threaded(): boolean {
    return this.#file !== undefined
  }

  /** Rejects with an ApiError. The bytes may be handed to another thread: they are not to be used afterwards. */
  async parse<K extends BodyKind>(kind: K, bytes: Uint8Array): Promise<Parsed<K>> {
    if (bytes.length <= inlineBodyLimit || !this.#file) return bodyParsers[kind](bytes, this.options) as Parsed<K>
    const thread = (this.#thread ??= this.#start(this.#file))
    const id = ++this.#lastId
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: (request) => resolve(request as Parsed<K>), reject })
      const task: ParseTask = { id, kind, bytes, options: this.options }
      const whole = bytes.byteOffset === 0 && bytes.byteLength === bytes.buffer.byteLength
      thread.postMessage(task, whole && bytes.buffer instanceof ArrayBuffer ? [bytes.buffer] : [])
    })
  }

  async close(): Promise<void> {
    await this.#thread?.terminate()
  }

  #start(file: URL): Worker {
    const thread = new Worker(file, { resourceLimits: { maxOldGenerationSizeMb: 1024 } })
    thread.unref()
    thread.on('message', (answer: ParseAnswer) => {
      const waiter = this.#waiting.get(answer.id)
      this.#waiting.delete(answer.id)
      if ('request' in answer) waiter?.resolve(answer.request)
      else waiter?.reject(new ApiError(answer.error.code, answer.error.message, answer.error.param))
    })
    thread.on('error', () => undefined)
    thread.on('exit', () => {
      this.#thread = undefined
      for (const waiter of this.#waiting.values()) waiter.reject(new ApiError('invalid_request', 'The request body is too complex.'))
      this.#waiting.clear()
    })
    return thread
  }
}
