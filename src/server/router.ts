import { ApiError, toApiError } from '../protocol/errors.js'
import type { Call } from './call.js'
import { isForeignHost, isForeignPage, isLoopback, isPreflight, preflightHeaders } from './cors.js'
import { chatCompletions } from './routes/chat-completions.js'
import { health } from './routes/health.js'
import { loadModel } from './routes/load-model.js'
import { metrics } from './routes/metrics.js'
import { getModel, listModels } from './routes/models.js'
import { reset, unloadModel } from './routes/unload-model.js'
import { ClientGoneError } from './transport/types.js'

/** @param rest what follows a route's prefix */
type RouteHandler = (call: Call, rest: string) => Promise<void> | void

interface Route {
  /** Ends in `/`: all paths below it. */
  path: string
  handlers: Readonly<Partial<Record<string, RouteHandler>>>
}

const routes: readonly Route[] = [
  { path: '/v1/chat/completions', handlers: { POST: chatCompletions } },
  { path: '/v1/models', handlers: { GET: listModels, OPTIONS: listModels } },
  { path: '/v1/models/', handlers: { GET: getModel } },
  { path: '/health', handlers: { GET: health } },
  { path: '/metrics', handlers: { GET: metrics } },
  { path: '/load_model', handlers: { POST: loadModel } },
  { path: '/unload_model', handlers: { POST: unloadModel } },
  { path: '/reset', handlers: { POST: reset } },
]

function findRoute(path: string): Route | undefined {
  return routes.find((route) =>
    route.path.endsWith('/') ? path.startsWith(route.path) && path.length > route.path.length : path === route.path,
  )
}

function allowedMethods({ handlers }: Route): string {
  return Object.keys(handlers)
    .flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method]))
    .join(', ')
}

async function handle(call: Call, handler: RouteHandler, rest: string): Promise<void> {
  try {
    await handler(call, rest)
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
  const route = findRoute(exchange.path)
  if (!route) return call.fail(new ApiError('not_found'))
  const handler = route.handlers[exchange.method === 'HEAD' ? 'GET' : exchange.method]
  if (!handler) return call.fail(new ApiError('method_not_allowed'), { allow: allowedMethods(route) })
  if (exchange.method === 'POST' && !enableCors && isForeignPage(exchange, host)) {
    return call.fail(new ApiError('foreign_origin'))
  }
  if (context.draining && exchange.method === 'POST') return call.fail(new ApiError('shutting_down'), { connection: 'close' })
  void handle(call, handler, exchange.path.slice(route.path.length))
}
