import { ApiKeys } from './api-keys.js'
import { BodyParser } from './body-parser.js'
import { Call } from './call.js'
import type { ResolvedServerOptions, ServerContext, ServerOptions } from './context.js'
import { LatestRun } from './latest-run.js'
import { LiveCalls } from './live-calls.js'
import { dispatch } from './router.js'
import { ResponseService } from './responses/service.js'
import { ServerMetrics } from './server-metrics.js'
import { openTransport } from './transport/open.js'
import { UploadFolder } from './uploads/upload-folder.js'
import { Turn } from './turn.js'
import { WaitingLine } from './waiting-line.js'

export type { ServerOptions } from './context.js'

/** A server that answers. */
export interface RunningServer {
  readonly port: number
  readonly url: string
  readonly transport: 'uws' | 'node'
  /**
   * Takes no new work (503), waits up to drainTimeoutMs for open chats and until their answers have left; ends the chats that are left
   * with an error event.
   * Call `close` afterwards.
   */
  drain(): Promise<void>
  /** Ends everything at once. */
  close(): Promise<void>
}

const mebibyte = 1 << 20
const tickMs = 1000
// for the last events of streams that are cut off
const lastWordsMs = 500
// how many of the largest bodies may be under way at once
const bodiesAtOnce = 16
// the same of recordings on the disk, and of recordings of any size
const recordingsAtOnce = 4
const uploadsAtOnce = 256

function resolved(options: ServerOptions): ResolvedServerOptions {
  return {
    host: options.host ?? 'localhost',
    port: options.port,
    models: options.models,
    transport: options.transport ?? 'auto',
    bodyLimit: options.bodyLimit ?? 16 * mebibyte,
    enableCors: options.enableCors ?? false,
    allowUnknownFields: options.allowUnknownFields ?? false,
    drainTimeoutMs: options.drainTimeoutMs ?? 30_000,
    slowReaderTimeoutMs: options.slowReaderTimeoutMs ?? 10_000,
    keepAliveMs: options.keepAliveMs ?? 15_000,
    chatTemplateKwargs: options.chatTemplateKwargs ?? {},
    reasoning: options.reasoning ?? 'auto',
    maxAudioBytes: options.maxAudioBytes ?? 512 * mebibyte,
    maxAudioSeconds: options.maxAudioSeconds ?? 3600,
    speechThresholds: options.speechThresholds ?? {},
    responseStore: options.responseStore ?? {},
    log: options.log ?? (() => undefined),
  }
}

function createContext(options: ResolvedServerOptions, apiKeys: readonly string[]): ServerContext {
  return {
    options,
    models: options.models,
    modelList: new LatestRun(() => options.models.list()),
    metrics: new ServerMetrics(),
    turn: new Turn((error) => options.log('error', `a stream was not written: ${error instanceof Error ? error.stack : String(error)}`)),
    parser: new BodyParser({ allowUnknownFields: options.allowUnknownFields }),
    keys: new ApiKeys(apiKeys),
    responses: new ResponseService(options.responseStore, options.log),
    uploads: new UploadFolder({ totalBytes: recordingsAtOnce * options.maxAudioBytes, count: uploadsAtOnce }),
    chats: new LiveCalls(),
    waiting: new WaitingLine(),
    loads: new LiveCalls(),
    templateDefaults: {
      ...(options.reasoning === 'auto' ? {} : { enable_thinking: options.reasoning === 'on' }),
      ...options.chatTemplateKwargs,
    },
    draining: false,
  }
}

function urlOf(host: string, port: number): string {
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`
}

/** Starts to answer HTTP; rejects with a ListenError when the port is taken, a StoreOpenError when responses cannot be kept. */
export async function startServer(serverOptions: ServerOptions): Promise<RunningServer> {
  const options = resolved(serverOptions)
  const context = createContext(options, serverOptions.apiKeys ?? [])
  await context.responses.open()
  await context.uploads.sweep()
  const transport = await openTransport(
    options.transport,
    {
      addresses: options.host === 'localhost' ? ['127.0.0.1', '::1'] : [options.host],
      port: options.port,
      bodyBudget: bodiesAtOnce * options.bodyLimit,
      handler: (exchange) => dispatch(new Call(context, exchange)),
    },
    (sentence) => options.log('info', sentence),
  ).catch(async (error: unknown) => {
    await Promise.all([context.parser.close(), context.responses.close()])
    throw error
  })
  const ticker = setInterval(
    () => {
      const now = performance.now()
      context.chats.tick(now)
      context.loads.tick(now)
    },
    Math.min(tickMs, options.keepAliveMs, options.slowReaderTimeoutMs / 2),
  )

  return {
    port: transport.port,
    url: urlOf(options.host, transport.port),
    transport: transport.kind,
    async drain() {
      context.draining = true
      transport.stopListening()
      // who only watches a load has nothing to gain from the wait
      context.loads.shutDownAll()
      const end = performance.now() + options.drainTimeoutMs
      if (!(await context.chats.empty(options.drainTimeoutMs))) {
        options.log('warning', `${context.chats.size} streams did not end in time and are cut off`)
        context.chats.shutDownAll()
      }
      if (!(await transport.sent(Math.max(end - performance.now(), lastWordsMs)))) {
        options.log('warning', 'some clients did not read their answers in time')
      }
    },
    async close() {
      context.draining = true
      clearInterval(ticker)
      await transport.close()
      await Promise.all([context.parser.close(), context.responses.close(), context.uploads.close()])
    },
  }
}
