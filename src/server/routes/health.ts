import type { Call } from '../call.js'
import type { ServerContext } from '../context.js'

// undefined: all is well
function unhealthyReason({ draining, model, stall }: ServerContext): string | undefined {
  if (draining) return 'shutting_down'
  const { phase } = model.state()
  if (phase !== 'ready') return phase === 'loading' || phase === 'restarting' ? 'model_loading' : `model_${phase}`
  const health = model.health()
  if (!health.ok) return health.reason ?? 'model_unhealthy'
  return stall.stalled ? 'engine_stalled' : undefined
}

/** GET /health: 200 when a request would be worked on; an idle server is healthy. */
export function health(call: Call): void {
  const reason = unhealthyReason(call.context)
  if (reason === undefined) call.sendJson(200, '{"status":"ok"}')
  else call.sendJson(503, JSON.stringify({ status: 'unhealthy', reason }))
}
