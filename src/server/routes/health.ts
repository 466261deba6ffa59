import type { Call } from '../call.js'
import type { ServerContext } from '../context.js'

// undefined: all is well
function unhealthyReason({ draining, models }: ServerContext): string | undefined {
  if (draining) return 'shutting_down'
  const { ok, reason } = models.health()
  return ok ? undefined : (reason ?? 'model_unhealthy')
}

/** GET /health: 200 when a request would be worked on; an idle server is healthy, with a model in memory or without. */
export function health(call: Call): void {
  const reason = unhealthyReason(call.context)
  if (reason === undefined) call.sendJson(200, '{"status":"ok"}')
  else call.sendJson(503, JSON.stringify({ status: 'unhealthy', reason }))
}
