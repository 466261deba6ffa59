// From the values of the command line to what the registry and the server take.
import type { TranscriptionThresholds } from '../engine/speech-types.js'
import type { EngineOptions, LogLevel } from '../engine/types.js'
import type { Environment } from '../models/hub-cache.js'
import type { RegistryOptions } from '../models/registry.js'
import type { StoreLimits } from '../server/responses/database.js'
import type { ServerOptions } from '../server/server.js'
import { apiKeys } from './api-keys.js'
import { type ServeArguments, UsageError } from './options.js'

type Values = ServeArguments['values']

/** Without the entries that are undefined: absent means the default. */
function given<T extends object>(entries: T): Partial<T> {
  return Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== undefined)) as Partial<T>
}

/** The process' environment with what flags say instead. */
export function environment(values: Values, env: Environment = process.env): Environment {
  return {
    ...env,
    ...(values['cache-dir'] !== undefined && { HF_HUB_CACHE: values['cache-dir'] as string }),
    ...(values.offline === true && { HF_HUB_OFFLINE: '1' }),
  }
}

// the table of options has checked every type
/** How models run, but for the files and the memory of each. Throws a UsageError. */
export function engineOptions(values: Values, logLevel: LogLevel): NonNullable<RegistryOptions['engine']> {
  const options = given({
    dtype: values.dtype,
    quantization: values.quantization,
    kvCacheDtype: values['kv-cache-dtype'],
    maxBatchTokens: values['max-batch-tokens'] ?? values['cb-max-batch-tokens'],
    maxNumSeqs: values['max-num-seqs'],
    maxModelLen: values['max-model-len'],
    maxWaiting: values['max-waiting'],
    maxWaitingTokens: values['max-waiting-tokens'],
    blockSize: values['block-size'] ?? values['cb-block-size'],
    prefixCaching: values['prefix-caching'],
    continuousBatching: values['continuous-batching'],
    pagedKv: values['paged-kv'],
    threads: values.threads,
    defaultSeed: values['default-seed'],
    standIn: values['stand-in'],
  }) as Partial<EngineOptions>
  const blockSize = options.blockSize ?? 16
  if ((blockSize & (blockSize - 1)) !== 0) throw new UsageError(`Expected a power of two for --block-size but received '${blockSize}'.`)
  return { ...options, logLevel }
}

/** What may be in memory, for how long, and how much of it. */
export function residencyOptions(values: Values): Partial<RegistryOptions> {
  const share = values['cb-max-memory-percent'] as number | undefined
  return given({
    modelTimeoutSeconds: values['model-timeout'] as number | undefined,
    maxLoadedModels: values['max-loaded-models'] as number | undefined,
    loadTimeoutMs: milliseconds(values['load-timeout']),
    memoryLimit: values['memory-limit'] as number | undefined,
    allowLocal: values['allow-local'] as string[] | undefined,
    kvCacheMemory:
      (values['kv-cache-memory'] as number | undefined) ??
      (share === undefined ? undefined : Math.floor(process.availableMemory() * share)),
  }) as Partial<RegistryOptions>
}

const milliseconds = (seconds: unknown): number | undefined => (seconds === undefined ? undefined : (seconds as number) * 1000)

/** `--stall-timeout` in milliseconds. */
export const stallTimeoutMs = (values: Values): number => milliseconds(values['stall-timeout']) ?? 60_000

/** When a window of a recording is not trusted; empty: nothing is looked at. */
export function speechThresholds(values: Values): TranscriptionThresholds {
  return given({
    no_speech_threshold: values['no-speech-threshold'],
    logprob_threshold: values['logprob-threshold'],
    compression_ratio_threshold: values['compression-ratio-threshold'],
  }) as TranscriptionThresholds
}

/** What the HTTP server takes of them. Throws a UsageError. */
export async function serverOptions(values: Values): Promise<Omit<ServerOptions, 'models' | 'log'>> {
  const limits = given({
    bytes: values['response-store-size'] as number | undefined,
    count: values['response-store-count'] as number | undefined,
    age: values['response-store-age'] as number | undefined,
  }) as Partial<StoreLimits>
  const path = values['response-store'] as string | undefined
  return {
    apiKeys: await apiKeys((values['api-key'] as string[] | undefined) ?? [], values['api-key-file'] as string | undefined),
    responseStore: { limits, ...(path !== undefined && { path }) },
    host: (values.host as string | undefined) ?? 'localhost',
    port: (values.port as number | undefined) ?? 8000,
    enableCors: values['enable-cors'] === true,
    allowUnknownFields: values['allow-unknown-fields'] === true,
    speechThresholds: speechThresholds(values),
    ...(given({
      transport: values.transport,
      bodyLimit: values['body-limit'],
      maxAudioBytes: values['max-audio-bytes'],
      maxAudioSeconds: values['max-audio-seconds'],
      drainTimeoutMs: milliseconds(values['drain-timeout']),
      chatTemplateKwargs: values['chat-template-kwargs'],
      reasoning: values.reasoning,
    }) as Partial<ServerOptions>),
  }
}
