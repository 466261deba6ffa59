// Responses and conversations: those under way, and the stored ones.
import { ApiError } from '../../protocol/errors.js'
import { isPlaceholder, withRevision } from '../../protocol/model-names.js'
import { type Item, type ItemReference, newId } from '../../protocol/responses/items.js'
import type { ResponseResource } from '../../protocol/responses/resource.js'
import type { ResponsesRequest } from '../../protocol/responses/schema.js'
import type { Call } from '../call.js'
import type { StoreLimits } from './database.js'
import { LogBudget } from './log-budget.js'
import { ResponseRun } from './response-run.js'
import { defaultStoreLimits, ResponseStore } from './store.js'

/** Background responses that may be under way at once. */
const maxBackground = 256

/** Memory of the events of all of them. */
const maxLogBytes = 256 << 20

export interface ResponseStoreOptions {
  /** A SQLite file; default: in memory, gone with the server. */
  path?: string
  limits?: Partial<StoreLimits>
}

interface Live {
  owner: string
  run: ResponseRun
}

export class ResponseService {
  readonly store: ResponseStore
  readonly #budget = new LogBudget(maxLogBytes)
  readonly #live = new Map<string, Live>()
  readonly #log: (level: 'error', message: string) => void

  constructor(options: ResponseStoreOptions, log: (level: 'error', message: string) => void) {
    this.store = new ResponseStore(options.path ?? '', { ...defaultStoreLimits, ...options.limits }, log)
    this.#log = log
  }

  /** Rejects with a StoreOpenError. */
  open(): Promise<void> {
    return this.store.open()
  }

  /** Everything that was said before the request, and its own input with references resolved. Rejects with an ApiError. */
  async history(owner: string, request: ResponsesRequest): Promise<{ before: Item[]; input: Item[] }> {
    const { previousResponseId: previous, conversationId: conversation } = request
    const wanted = request.input.flatMap((item) => (item.type === 'item_reference' ? [item.id] : []))
    const [before, found] = await Promise.all([
      previous === undefined ? this.#conversationItems(owner, conversation) : this.#chain(owner, previous),
      wanted.length > 0 ? this.store.call('findItems', owner, wanted) : [],
    ])
    const resolved = (item: Item | ItemReference): Item => (item.type === 'item_reference' ? found.shift()! : item)
    return { before, input: request.input.map(resolved) }
  }

  /** A response about to run; throws an ApiError. `run()` it, and let it answer or stream. */
  create(call: Call, owner: string, request: ResponsesRequest, history: { before: Item[]; input: Item[] }, streamed: boolean): ResponseRun {
    const { context } = call
    const { echo, model } = request
    if (echo.background && this.#background >= maxBackground)
      throw new ApiError('queue_full', 'Too many background responses are under way.')
    const head = {
      id: newId('resp'),
      createdAt: Math.floor(Date.now() / 1000),
      model: model === undefined || isPlaceholder(model) ? '' : withRevision(model),
      echo,
    }
    const run = new ResponseRun({
      context,
      owner,
      request,
      head,
      ...history,
      streamed,
      budget: this.#budget,
      startedAt: call.startedAt,
      label: call.requestId,
      onEnd: (ended) => this.#onEnd(owner, request, ended),
    })
    this.#live.set(run.id, { owner, run })
    // a background response outlives this process as a failed one rather than as none
    if (echo.background) this.#put(owner, run)
    return run
  }

  /** The run of a response that is under way and the owner's. */
  running(owner: string, id: string): ResponseRun | undefined {
    const live = this.#live.get(id)
    return live?.owner === owner ? live.run : undefined
  }

  async get(owner: string, id: string): Promise<ResponseResource> {
    return this.running(owner, id)?.resource ?? (await this.store.call('getResponse', owner, id))
  }

  async delete(owner: string, id: string): Promise<void> {
    const run = this.running(owner, id)
    if (run) {
      // what ends now is not to be stored
      this.#live.delete(id)
      run.cancel()
      if (!run.background) return
    }
    await this.store.call('deleteResponse', owner, id)
  }

  /** Ends a background response; one that has ended already is given back as it is. */
  async cancel(owner: string, id: string): Promise<ResponseResource> {
    const run = this.running(owner, id)
    const resource = run?.resource ?? (await this.store.call('getResponse', owner, id))
    if (!resource.background) {
      throw new ApiError(
        'invalid_request',
        'Only a response with `background: true` can be cancelled; end another by closing its connection.',
      )
    }
    run?.cancel()
    return run?.resource ?? resource
  }

  close(): Promise<void> {
    return this.store.close()
  }

  get #background(): number {
    let count = 0
    for (const { run } of this.#live.values()) if (run.background) count++
    return count
  }

  #chain(owner: string, previous: string): Promise<Item[]> {
    if (this.running(owner, previous)) {
      throw new ApiError('invalid_request', `The response '${previous}' is still under way.`, 'previous_response_id')
    }
    return this.store.call('chain', owner, previous)
  }

  #conversationItems(owner: string, id: string | undefined): Promise<Item[]> | Item[] {
    return id === undefined ? [] : this.store.call('allConversationItems', owner, id)
  }

  #onEnd(owner: string, { echo, conversationId }: ResponsesRequest, run: ResponseRun): void {
    // deleted meanwhile
    if (!this.#live.delete(run.id)) return
    const { status, output } = run.resource
    const whole = status === 'completed' || status === 'incomplete'
    if (echo.store && (whole || echo.background)) this.#put(owner, run)
    if (conversationId !== undefined && whole) {
      this.#later(this.store.call('addConversationItems', owner, conversationId, [...run.input, ...output]))
    }
  }

  #put(owner: string, run: ResponseRun): void {
    const events = run.background && run.streamed && run.ended ? { events: { first: run.log.first, text: run.log.text } } : {}
    this.#later(this.store.call('putResponse', owner, { resource: run.resource, input: [...run.input], ...events }))
  }

  // the answer does not depend on it, so that its failure is for the log
  #later(work: Promise<unknown>): void {
    work.catch((error: unknown) =>
      this.#log('error', `a response was not stored: ${error instanceof Error ? error.message : String(error)}`),
    )
  }
}
