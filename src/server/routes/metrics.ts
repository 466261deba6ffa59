import type { EngineStats } from '../../engine/types.js'
import type { Call } from '../call.js'
import { renderEngineStats, renderProcesses } from '../server-metrics.js'
import type { ServedModel } from '../served-model.js'

// a scrape must not hang on a busy or missing engine
const patienceMs = 1000

async function engineStats(model: ServedModel): Promise<EngineStats | undefined> {
  // to ask for a model that is not there could start a load
  if (model.state().phase !== 'ready') return undefined
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), patienceMs)
  })
  const asked = model.get().then((loaded) => loaded.stats())
  try {
    return await Promise.race([asked.catch(() => undefined), late])
  } finally {
    clearTimeout(timer)
  }
}

/** GET /metrics: Prometheus' text format. The engine's part is left out while it does not answer. */
export async function metrics(call: Call): Promise<void> {
  const { context } = call
  const stats = await engineStats(context.model)
  const text = (stats ? renderEngineStats(stats) : '') + context.metrics.render() + renderProcesses(context.model.state())
  call.sendText(200, 'text/plain; version=0.0.4; charset=utf-8', text)
}
