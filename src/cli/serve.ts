// `tfserve [MODEL]`: resolves the model, starts its process and the HTTP server, ends both on a signal.
import { defaultKvCacheMemory } from '../engine/memory.js'
import type { EngineOptions, LogLevel, ModelInfo } from '../engine/types.js'
import { HubError } from '../hub/errors.js'
import { hubSettings } from '../hub/settings.js'
import { ModelNotCachedError, ModelNotFoundError, type ResolvedModel, resolveModel } from '../models/resolve.js'
import { SupervisedModel, WorkerStartError } from '../models/supervisor.js'
import { type RunningServer, startServer } from '../server/server.js'
import { SingleModelDirectory } from '../server/single-model-directory.js'
import { ListenError } from '../server/transport/types.js'
import { formatBytes, Log } from './log.js'
import { type ServeArguments, UsageError } from './options.js'

type Values = ServeArguments['values']

const signalExitCodes: Partial<Record<NodeJS.Signals, number>> = { SIGINT: 130, SIGTERM: 143 }

// the worker process does not size itself: what the cache may take is decided here, where all models are known
function kvCacheMemory(values: Values): number {
  if (typeof values['kv-cache-memory'] === 'number') return values['kv-cache-memory']
  const share = values['cb-max-memory-percent']
  return typeof share === 'number' ? Math.floor(process.availableMemory() * share) : defaultKvCacheMemory()
}

function engineOptions(resolved: ResolvedModel, values: Values, logLevel: LogLevel): EngineOptions {
  // the table of options has checked every type; undefined entries are left out
  const given = {
    dtype: values.dtype,
    kvCacheDtype: values['kv-cache-dtype'],
    maxBatchTokens: values['max-batch-tokens'] ?? values['cb-max-batch-tokens'],
    maxNumSeqs: values['max-num-seqs'],
    maxModelLen: values['max-model-len'],
    maxWaiting: values['max-waiting'],
    blockSize: values['block-size'] ?? values['cb-block-size'],
    prefixCaching: values['prefix-caching'],
    continuousBatching: values['continuous-batching'],
    pagedKv: values['paged-kv'],
    threads: values.threads,
    defaultSeed: values['default-seed'],
    standIn: values['stand-in'],
  } as Partial<EngineOptions>
  const options: EngineOptions = {
    path: resolved.path,
    id: resolved.id,
    revision: resolved.revision,
    kvCacheMemory: kvCacheMemory(values),
    logLevel,
  }
  for (const [name, value] of Object.entries(given)) if (value !== undefined) Object.assign(options, { [name]: value })
  const blockSize = options.blockSize ?? 16
  if ((blockSize & (blockSize - 1)) !== 0) throw new UsageError(`Expected a power of two for --block-size but received '${blockSize}'.`)
  return options
}

function describe(info: ModelInfo): string {
  const pages = info.kvGroups.map((group) => `${group.blocks}${group.window ? ` for windows of ${group.window}` : ''}`).join(' + ')
  const cache = `${info.pagedKv ? 'paged ' : ''}KV cache ${info.kvCacheDtype}, up to ${formatBytes(info.kvBytes)} in ${pages} pages`
  const batch = `${info.maxNumSeqs} sequences, ${info.maxBatchTokens} tokens a step, context ${info.maxModelLen}`
  return `${info.architecture}, ${info.dtype} (${formatBytes(info.weightBytes)}), ${cache}, ${batch}, ${info.threads} threads, attention ${info.attentionKernel}`
}

/** The model's files, downloaded first where the Hub may have them; or the exit code, when the reason has been printed. */
async function findModel(typed: string | undefined, log: Log): Promise<ResolvedModel | number> {
  try {
    try {
      return await resolveModel(typed)
    } catch (error) {
      if (!(error instanceof ModelNotCachedError) || hubSettings().offline) throw error
      const { fetchModels } = await import('./download.js')
      const exitCode = await fetchModels([{ typed: typed ?? error.spec.id, spec: error.spec }], { preferCache: true }, () => undefined)
      return exitCode === 0 ? await resolveModel(typed) : exitCode
    }
  } catch (error) {
    if (!(error instanceof ModelNotFoundError || error instanceof HubError)) throw error
    log.write('error', error.message)
    return 1
  }
}

class LoadFailure {
  constructor(readonly cause: unknown) {}
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

/** Serves until a signal. Resolves with the exit code; throws a UsageError for options that do not fit together. */
export async function serve({ model, values }: ServeArguments): Promise<number> {
  const log = new Log((values['log-level'] as LogLevel | undefined) ?? 'info')
  const resolved = await findModel(model, log)
  if (typeof resolved === 'number') return resolved
  const id = (values['model-id'] as string | undefined) ?? resolved.id
  const stallTimeoutMs = ((values['stall-timeout'] as number | undefined) ?? 60) * 1000
  const supervised = new SupervisedModel(
    { id, revision: resolved.revision, created: resolved.created },
    engineOptions({ ...resolved, id }, values, (values['log-level'] as LogLevel | undefined) ?? 'info'),
    { aliases: [...resolved.aliases, ...(id === resolved.id ? [] : [resolved.id])], stallTimeoutMs, log: log.write },
  )
  const ended = endSignal()
  let server: RunningServer
  try {
    server = await startServer({
      host: (values.host as string | undefined) ?? 'localhost',
      port: (values.port as number | undefined) ?? 8000,
      models: new SingleModelDirectory(supervised),
      transport: (values.transport as 'auto' | 'uws' | 'node' | undefined) ?? 'auto',
      enableCors: values['enable-cors'] === true,
      ...(values['body-limit'] !== undefined && { bodyLimit: values['body-limit'] as number }),
      ...(values['drain-timeout'] !== undefined && { drainTimeoutMs: (values['drain-timeout'] as number) * 1000 }),
      ...(values['chat-template-kwargs'] !== undefined && {
        chatTemplateKwargs: values['chat-template-kwargs'] as Record<string, unknown>,
      }),
      ...(values.reasoning !== undefined && { reasoning: values.reasoning as 'on' | 'off' | 'auto' }),
      log: log.write,
    })
  } catch (error) {
    if (!(error instanceof ListenError)) throw error
    log.write('error', error.message)
    return 1
  }
  const stopProgress = supervised.onChange(({ progress }) => progress && log.progress(progress))
  const started = supervised.start().then(
    (info) => {
      stopProgress()
      log.write('info', `${describe(info)}, loaded in ${Math.round(info.loadMs)} ms`)
      log.write('info', `${info.id} is served on ${server.url} (${server.transport}); chat with it at ${server.url}/v1`)
      return ended
    },
    (error: unknown) => new LoadFailure(error),
  )
  const end = await Promise.race([ended, started])
  if (end instanceof LoadFailure) {
    await server.close()
    await supervised.close()
    if (!(end.cause instanceof WorkerStartError)) throw end.cause
    log.write('error', end.cause.message)
    return 1
  }
  log.write('info', `${end}: finishing open requests; once more to end at once`)
  await server.drain()
  await server.close()
  await supervised.close()
  return 0
}
