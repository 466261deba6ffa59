// `tfserve [serve] [MODEL]`: finds the model given, if any, starts the registry and the HTTP server, ends both on a signal.
import type { EngineOptions, LogLevel } from '../engine/types.js'
import { ModelRegistry } from '../models/registry.js'
import type { ResolvedModel } from '../models/resolve.js'
import { SupervisedModel } from '../models/supervisor.js'
import { isLoopback } from '../server/cors.js'
import { StoreOpenError } from '../server/responses/store.js'
import { type RunningServer, startServer } from '../server/server.js'
import type { ServedModelName } from '../server/served-model.js'
import { ListenError } from '../server/transport/types.js'
import { describeModel } from './describe-model.js'
import { findModel } from './find-model.js'
import { Log } from './log.js'
import { type ServeArguments, UsageError } from './options.js'
import { engineOptions, environment, residencyOptions, serverOptions, stallTimeoutMs } from './serve-settings.js'

const signalExitCodes: Partial<Record<NodeJS.Signals, number>> = { SIGINT: 130, SIGTERM: 143 }

/** The same model under the name that the operator gives it; its own one stays good. */
function renamed(model: ResolvedModel, id: string | undefined): ResolvedModel {
  if (id === undefined || id === model.id) return model
  return { ...model, id, aliases: [...model.aliases, model.id] }
}

/** Resolves with the signal that asked for the end; a second one ends the process at once. */
function endSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let asked = false
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        if (asked) process.exit(signalExitCodes[signal])
        asked = true
        resolve(signal)
      })
    }
  })
}

/** A model in a process of its own, which says in the log when it is ready. */
function launchWith(log: Log, stallTimeout: number): (name: ServedModelName, options: EngineOptions) => SupervisedModel {
  return (name, options) => {
    const model = new SupervisedModel(name, options, { stallTimeoutMs: stallTimeout, log: log.write })
    model.onChange(({ phase }) => {
      if (phase !== 'ready' || !model.modelInfo) return
      for (const line of describeModel(model.modelInfo)) log.write('info', `${name.id}: ${line}`)
    })
    return model
  }
}

/** Has a model loaded, with a bar where somebody sees it. Resolves with whether it is ready; the registry's log says why not. */
async function load(registry: ModelRegistry, id: string, log: Log): Promise<boolean> {
  return new Promise((resolve) => {
    registry.watchLoad(id, (event) => {
      if (event.status !== 'loading') return resolve(event.status === 'ready')
      if (event.stage !== 'download') log.progress({ stage: event.stage, ...counted(event.progress) })
    })
  })
}

function counted(progress: { current: number; total: number | null } | undefined): { current?: number; total?: number } {
  return { ...(progress && { current: progress.current }), ...(progress?.total && { total: progress.total }) }
}

/** Serves until a signal. Resolves with the exit code; throws a UsageError for options that do not fit together. */
export async function serve({ model: typed, serve: onDemand, values, notes }: ServeArguments): Promise<number> {
  const logLevel = (values['log-level'] as LogLevel | undefined) ?? 'info'
  const log = new Log(logLevel)
  const modelId = values['model-id'] as string | undefined
  if (onDemand && typed === undefined && modelId !== undefined) {
    throw new UsageError('--model-id names the model given on the command line; there is none.')
  }
  const engine = engineOptions(values, logLevel)
  const env = environment(values)
  const options = await serverOptions(values)
  if (options.apiKeys?.length === 0 && !isLoopback(options.host ?? 'localhost')) {
    notes.push(`Whoever can reach ${options.host} can use this server: give it --api-key, or let it listen on localhost only.`)
  }
  for (const note of notes) log.write('warning', note)
  const found = await findModel(typed, env, log)
  if (typeof found === 'number') return found
  const model = renamed(found, modelId)
  const registry = new ModelRegistry({
    ...residencyOptions(values),
    engine,
    env,
    // with no model given the demo goes by its id, beside whatever else a request names
    ...(typed === undefined ? { local: [model] } : { pinned: model }),
    ...(typed === undefined && !onDemand && { fallback: model.id }),
    launch: launchWith(log, stallTimeoutMs(values)),
    log: log.write,
  })
  const ended = endSignal()
  let server: RunningServer
  try {
    server = await startServer({ ...options, models: registry, log: log.write })
  } catch (error) {
    if (!(error instanceof ListenError || error instanceof StoreOpenError)) throw error
    log.write('error', error.message)
    return 1
  }
  const where = `${server.url} (${server.transport})`
  let served = `any model is served on ${where}, loaded when a request names it`
  if (typed !== undefined) served = `${model.id} is served on ${where}`
  else if (!onDemand) served = `${model.id} is served on ${where}, others are loaded when a request names them`
  const started = typed === undefined && onDemand ? Promise.resolve(true) : load(registry, model.id, log)
  const ready = await Promise.race([started, ended.then(() => undefined)])
  if (ready === false) {
    await server.close()
    await registry.close()
    return 1
  }
  if (ready) log.write('info', `${served}; the API is at ${server.url}/v1`)
  const signal = await ended
  log.write('info', `${signal}: finishing open requests; once more to end at once`)
  await server.drain()
  await server.close()
  await registry.close()
  return 0
}
