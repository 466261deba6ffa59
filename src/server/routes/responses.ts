import { ApiError } from '../../protocol/errors.js'
import type { ResponsesRequest } from '../../protocol/responses/schema.js'
import type { Call } from '../call.js'
import type { ResponseRun } from '../responses/response-run.js'
import { eventsGone, notStreamedAgain, StoredStream } from '../responses/stored-stream.js'
import { ClientGoneError } from '../transport/types.js'
import { counted } from './counted.js'
import { itemList, pageOf, pageWithin } from './item-lists.js'

/** POST /v1/responses */
export async function createResponse(call: Call): Promise<void> {
  const { context } = call
  const run = await counted(call, async () => {
    const accepts = call.exchange.header('accept') ?? ''
    const request = await call.readJsonBody((body) => context.parser.parse('responses', body))
    // OpenAI's clients expect one answer where they do not say; whoever asks for events by the header gets them
    return prepared(call, request, request.stream ?? accepts.includes('text/event-stream'))
  })
  if (run.streamed) run.stream(call, 0)
  else if (run.background) call.sendJson(200, JSON.stringify(run.resource))
  else run.answer(call)
  await run.run()
}

async function prepared(call: Call, request: ResponsesRequest, streamed: boolean): Promise<ResponseRun> {
  const { responses } = call.context
  const history = await responses.history(call.owner, request)
  if (call.exchange.closed) throw new ClientGoneError()
  return responses.create(call, call.owner, request, history, streamed)
}

const idPattern = /^resp_[0-9a-f]{48}$/

function requireId(id: string): string {
  if (idPattern.test(id)) return id
  throw new ApiError('not_stored', `No response with id '${id.slice(0, 128)}' found.`)
}

/** GET /v1/responses/{id} */
export async function getResponse(call: Call, id: string): Promise<void> {
  requireId(id)
  const query = new URLSearchParams(call.exchange.query)
  // for HEAD there is no stream: its answer has no body
  if (query.get('stream') === 'true' && call.exchange.method === 'GET') return attach(call, id, startOf(query))
  call.sendJson(200, JSON.stringify(await call.context.responses.get(call.owner, id)))
}

function startOf(query: URLSearchParams): number {
  const after = query.get('starting_after')
  if (after === null) return 0
  if (!/^\d{1,15}$/.test(after)) throw new ApiError('invalid_request', '`starting_after` must be a sequence number.', 'starting_after')
  return Number(after) + 1
}

/** Streams what a background response has said and says. */
async function attach(call: Call, id: string, from: number): Promise<void> {
  const run = call.context.responses.running(call.owner, id)
  if (!run) return new StoredStream(call, id, from).run()
  if (!run.background || !run.streamed) throw notStreamedAgain()
  if (from < run.log.first) throw eventsGone(run.log.first)
  run.stream(call, from)
}

/** DELETE /v1/responses/{id} */
export async function deleteResponse(call: Call, id: string): Promise<void> {
  await call.context.responses.delete(call.owner, requireId(id))
  call.sendJson(200, JSON.stringify({ id, object: 'response', deleted: true }))
}

/** POST /v1/responses/{id}/cancel */
export async function cancelResponse(call: Call, id: string): Promise<void> {
  call.sendJson(200, JSON.stringify(await call.context.responses.cancel(call.owner, requireId(id))))
}

/** GET /v1/responses/{id}/input_items */
export async function listInputItems(call: Call, id: string): Promise<void> {
  requireId(id)
  const page = pageOf(call)
  const run = call.context.responses.running(call.owner, id)
  const stored = run ? pageWithin(run.input, page) : await call.context.responses.store.call('getInput', call.owner, id, page)
  call.sendJson(200, itemList(stored.items, stored.hasMore))
}
