import type { Call } from '../call.js'
import type { ServerContext } from '../context.js'

// undefined: all is well
function unhealthyReason({ draining, model }: ServerContext): string | undefined {
  const { phase } = model.state()
  if (draining || phase === 'closed') return 'shutting_down'
  if (phase === 'loading') return 'model_loading'
  // what clients of transformers serve know a dead worker by
  if (phase === 'restarting' || phase === 'failed') return 'cb_worker_dead'
  const { ok, reason } = model.health()
  return ok ? undefined : (reason ?? 'model_unhealthy')
}

/** GET /health: 200 when a request would be worked on; an idle server is healthy. */
export function health(call: Call): void {
  const reason = unhealthyReason(call.context)
  if (reason === undefined) call.sendJson(200, '{"status":"ok"}')
  else call.sendJson(503, JSON.stringify({ status: 'unhealthy', reason }))
}
