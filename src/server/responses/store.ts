// Stored responses and conversations, as the routes see them.
import { Worker } from 'node:worker_threads'
import { ApiError } from '../../protocol/errors.js'
import { threadFile } from '../thread-file.js'
import type { ResponseDatabase, StoreLimits } from './database.js'
import type { StoreAnswer, StoreCall, StoreMethod, StoreThreadData } from './store-thread.js'

export const defaultStoreLimits: StoreLimits = { bytes: 256 << 20, count: 10_000, age: 30 * 24 * 3600 }

/** Calls that may wait for the thread. */
const maxWaiting = 4096

/** The file of the store cannot be used; the message is for whoever starts the server. */
export class StoreOpenError extends Error {
  override readonly name = 'StoreOpenError'
}

interface Waiter {
  resolve(value: unknown): void
  reject(error: unknown): void
}

type Arguments<M extends StoreMethod> = Parameters<ResponseDatabase[M]>
type Result<M extends StoreMethod> = ReturnType<ResponseDatabase[M]>

const tooLong = 'What was said before is too long to go on from. Begin a new conversation.'
const param = { response: 'previous_response_id', conversation: 'conversation', item: 'input' } as const

/** Asks the database's thread, which starts with the first call. Calls are carried out in order. */
export class ResponseStore {
  readonly #waiting = new Map<number, Waiter>()
  #thread: Worker | undefined
  #fault: string | undefined
  #lastId = 0
  #closed = false

  /** @param path a file; '' keeps everything in memory */
  constructor(
    private readonly path: string,
    private readonly limits: StoreLimits,
    private readonly log: (level: 'error', message: string) => void,
  ) {}

  /** Opens a database of a file now. Rejects with a StoreOpenError. */
  async open(): Promise<void> {
    if (this.path === '') return
    try {
      await this.call('expire')
    } catch {
      throw new StoreOpenError(`The store of responses cannot be opened: ${this.path} (${this.#fault ?? 'no database'}).`)
    }
  }

  /**
   * Rejects with an ApiError: `not_stored` where the id names nothing of the owner's, `context_length_exceeded` for a history beyond
   * all bounds, `server_busy`, `internal_error`, `shutting_down`.
   */
  call<M extends StoreMethod>(method: M, ...args: Arguments<M>): Promise<Result<M>> {
    return this.#post(method, args) as Promise<Result<M>>
  }

  async close(): Promise<void> {
    if (this.#closed) return
    const thread = this.#thread
    if (thread) {
      const ended = new Promise<void>((resolve) => thread.once('exit', () => resolve()))
      await this.#post('close', []).catch(() => undefined)
      this.#closed = true
      await ended
    }
    this.#closed = true
  }

  // async, so that whatever is thrown is a rejection; the call is posted in this turn, which keeps calls in order
  async #post(method: StoreMethod | 'close', args: unknown[]): Promise<unknown> {
    if (this.#closed) throw new ApiError('shutting_down')
    if (this.#waiting.size >= maxWaiting && method !== 'close') throw new ApiError('server_busy')
    const thread = (this.#thread ??= this.#start())
    const id = ++this.#lastId
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      // the thread keeps this process alive only while somebody waits for it
      thread.ref()
      const call: StoreCall = { id, method, args }
      thread.postMessage(call)
    })
  }

  #start(): Worker {
    const workerData: StoreThreadData = { path: this.path, limits: this.limits }
    // SQLite is built into Node, which still calls it experimental at every start
    const file = threadFile('responses/store-thread.js')
    if (!file) throw new Error('The store of responses is not compiled. Run npm run build:ts.')
    const thread = new Worker(file, { workerData, execArgv: ['--disable-warning=ExperimentalWarning'] })
    thread.unref()
    thread.on('message', (answer: StoreAnswer) => {
      const waiter = this.#waiting.get(answer.id)
      this.#waiting.delete(answer.id)
      if (this.#waiting.size === 0) thread.unref()
      if ('value' in answer) return waiter?.resolve(answer.value)
      if ('missing' in answer) {
        const { kind, id } = answer.missing
        return waiter?.reject(new ApiError('not_stored', `No ${kind} with id '${id.slice(0, 128)}' found.`, param[kind]))
      }
      if ('tooLong' in answer) return waiter?.reject(new ApiError('context_length_exceeded', tooLong, param[answer.tooLong]))
      this.log('error', `the store of responses failed: ${answer.fault}`)
      waiter?.reject(new ApiError('internal_error'))
    })
    thread.on('error', (error) => {
      this.#fault = error.message
      this.log('error', `the store of responses ended: ${error.message}`)
    })
    thread.on('exit', () => {
      this.#thread = undefined
      for (const waiter of this.#waiting.values()) waiter.reject(new ApiError('internal_error'))
      this.#waiting.clear()
    })
    return thread
  }
}
