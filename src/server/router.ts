import { ApiError, toApiError } from '../protocol/errors.js'
import type { Call } from './call.js'
import { isForeignHost, isForeignPage, isLoopback, isPreflight, preflightHeaders } from './cors.js'
import { chatCompletions } from './routes/chat-completions.js'
import { completions } from './routes/completions.js'
import {
  addItems,
  createConversation,
  deleteConversation,
  deleteItem,
  getConversation,
  getItem,
  listItems,
  updateConversation,
} from './routes/conversations.js'
import { health } from './routes/health.js'
import { loadModel } from './routes/load-model.js'
import { metrics } from './routes/metrics.js'
import { getModel, listModels } from './routes/models.js'
import { cancelResponse, createResponse, deleteResponse, getResponse, listInputItems } from './routes/responses.js'
import { speechTask, transcriptions, translations } from './routes/transcriptions.js'
import { reset, unloadModel } from './routes/unload-model.js'
import { ClientGoneError } from './transport/types.js'

/** @param rest what the path has in the places of `*`, as sent */
type RouteHandler = (call: Call, ...rest: string[]) => Promise<void> | void

interface Route {
  /** `*` stands for one segment of a path, `**` for one or more. */
  path: string
  handlers: Readonly<Partial<Record<string, RouteHandler>>>
}

const routes: readonly Route[] = [
  { path: '/v1/chat/completions', handlers: { POST: chatCompletions } },
  { path: '/v1/completions', handlers: { POST: completions } },
  { path: '/v1/models', handlers: { GET: listModels, OPTIONS: listModels } },
  { path: '/v1/models/**', handlers: { GET: getModel } },
  { path: '/v1/responses', handlers: { POST: createResponse } },
  { path: '/v1/responses/*', handlers: { GET: getResponse, DELETE: deleteResponse } },
  { path: '/v1/responses/*/cancel', handlers: { POST: cancelResponse } },
  { path: '/v1/responses/*/input_items', handlers: { GET: listInputItems } },
  { path: '/v1/conversations', handlers: { POST: createConversation } },
  { path: '/v1/conversations/*', handlers: { GET: getConversation, POST: updateConversation, DELETE: deleteConversation } },
  { path: '/v1/conversations/*/items', handlers: { GET: listItems, POST: addItems } },
  { path: '/v1/conversations/*/items/*', handlers: { GET: getItem, DELETE: deleteItem } },
  { path: '/v1/audio/transcriptions', handlers: { POST: transcriptions } },
  { path: '/v1/audio/translations', handlers: { POST: translations } },
  { path: '/', handlers: { POST: speechTask } },
  { path: '/health', handlers: { GET: health } },
  { path: '/metrics', handlers: { GET: metrics } },
  { path: '/load_model', handlers: { POST: loadModel } },
  { path: '/unload_model', handlers: { POST: unloadModel } },
  { path: '/reset', handlers: { POST: reset } },
]

interface Found {
  route: Route
  rest: string[]
}

const fixed = new Map(routes.map((route) => [route.path, route]))
const patterns = routes
  .filter(({ path }) => path.includes('*'))
  .map((route) => {
    const pattern = route.path.replace(/\*\*?/g, (star) => (star === '**' ? '(.+)' : '([^/]+)'))
    return { route, pattern: new RegExp(`^${pattern}$`) }
  })

function findRoute(path: string): Found | undefined {
  const route = fixed.get(path)
  if (route) return { route, rest: [] }
  for (const { route, pattern } of patterns) {
    const match = pattern.exec(path)
    if (match) return { route, rest: match.slice(1) }
  }
  return undefined
}

function allowedMethods({ handlers }: Route): string {
  return Object.keys(handlers)
    .flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method]))
    .join(', ')
}

async function handle(call: Call, handler: RouteHandler, rest: readonly string[]): Promise<void> {
  try {
    await handler(call, ...rest)
  } catch (error) {
    if (error instanceof ClientGoneError) return
    const apiError = toApiError(error)
    if (apiError.code === 'internal_error') {
      call.context.options.log(
        'error',
        `${call.exchange.method} ${call.exchange.path}: ${error instanceof Error ? error.stack : String(error)}`,
      )
    }
    call.fail(apiError)
  }
}

/** Takes a call to its route. Runs in the request's first turn. */
export function dispatch(call: Call): void {
  const { exchange, context } = call
  const { enableCors, host } = context.options
  if (enableCors && isPreflight(exchange)) {
    return call.sendText(200, 'text/plain; charset=utf-8', 'OK', preflightHeaders(exchange))
  }
  // a probe of whatever name may ask for the health; with CORS any page may do all of it anyway
  if (!enableCors && exchange.path !== '/health' && isLoopback(host) && isForeignHost(exchange, host)) {
    return call.fail(new ApiError('foreign_host'))
  }
  // before anything is said about which paths there are
  const owner = exchange.path === '/health' ? '' : context.keys.owner(exchange.header('authorization'))
  if (owner === undefined) return call.fail(new ApiError('invalid_api_key'), { 'www-authenticate': 'Bearer' })
  call.owner = owner
  const found = findRoute(exchange.path)
  if (!found) return call.fail(new ApiError('not_found'))
  const { route, rest } = found
  const handler = route.handlers[exchange.method === 'HEAD' ? 'GET' : exchange.method]
  if (!handler) return call.fail(new ApiError('method_not_allowed'), { allow: allowedMethods(route) })
  if (exchange.method === 'POST' && !enableCors && isForeignPage(exchange, host)) {
    return call.fail(new ApiError('foreign_origin'))
  }
  if (context.draining && exchange.method === 'POST') return call.fail(new ApiError('shutting_down'), { connection: 'close' })
  void handle(call, handler, rest)
}
