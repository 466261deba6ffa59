import type { EngineStats } from '../../engine/types.js'
import { canonicalName } from '../../protocol/model-names.js'
import type { Call } from '../call.js'
import type { DirectoryEntry } from '../model-directory.js'
import { renderEngineStats, renderModels } from '../server-metrics.js'

// a scrape must not hang on a busy or missing engine
const patienceMs = 1000

async function engineStats(entries: readonly DirectoryEntry[]): Promise<{ model: string; stats: EngineStats }[]> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), patienceMs)
  })
  const asked = entries.map(async ({ name, model }) => {
    const stats = await Promise.race([model?.stats().catch(() => undefined), late])
    return stats && { model: canonicalName(name), stats }
  })
  const engines = await Promise.all(asked)
  clearTimeout(timer)
  return engines.filter((engine) => engine !== undefined)
}

/** GET /metrics: Prometheus' text format. The part of an engine that does not answer is left out. */
export async function metrics(call: Call): Promise<void> {
  const { models, metrics: own } = call.context
  const engines = await engineStats(models.entries())
  const text = renderEngineStats(engines) + own.render() + renderModels(models.entries(), models.counters())
  call.sendText(200, 'text/plain; version=0.0.4; charset=utf-8', text)
}
