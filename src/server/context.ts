import type { TranscriptionThresholds } from '../engine/speech-types.js'
import type { LogLevel } from '../engine/types.js'
import type { ModelRow } from '../hub/model-rows.js'
import type { ApiKeys } from './api-keys.js'
import type { BodyParser } from './body-parser.js'
import type { LatestRun } from './latest-run.js'
import type { LiveCalls } from './live-calls.js'
import type { ModelDirectory } from './model-directory.js'
import type { ResponseService, ResponseStoreOptions } from './responses/service.js'
import type { ServerMetrics } from './server-metrics.js'
import type { TransportChoice } from './transport/open.js'
import type { UploadFolder } from './uploads/upload-folder.js'
import type { Turn } from './turn.js'
import type { WaitingLine } from './waiting-line.js'

export interface ServerOptions {
  /** Default 'localhost': 127.0.0.1 and, where there is one, ::1. */
  host?: string
  /** 0: any free port. */
  port: number
  models: ModelDirectory
  /** Default 'auto': uWebSockets where its binary loads, else node:http. */
  transport?: TransportChoice
  /** Bytes; a longer body is answered with 413. Default 16 MiB. */
  bodyLimit?: number
  /** Lets pages of any origin use the server. Default false. */
  enableCors?: boolean
  /** Leaves fields that the API does not know out of requests instead of refusing them. Default false. */
  allowUnknownFields?: boolean
  /** How long `drain` waits for open streams. Default 30 s. */
  drainTimeoutMs?: number
  /**
   * A stream whose client does not read for so long is aborted. Default 10 s; uWebSockets itself drops such a connection after
   * about 10 s, so that more has no effect there.
   */
  slowReaderTimeoutMs?: number
  /** A silent stream gets a comment at this interval. Default 15 s. */
  keepAliveMs?: number
  /** Defaults of the chat template's variables; a request's own win. */
  chatTemplateKwargs?: Record<string, unknown>
  /** Sets the template variable enable_thinking; 'auto' (default) leaves it to the template. */
  reasoning?: 'on' | 'off' | 'auto'
  /** Keys of which each request must bring one; none: the server is open. */
  apiKeys?: readonly string[]
  /** Bytes of one recording. Default 512 MiB; all that are under way together may hold four times as much. */
  maxAudioBytes?: number
  /** Seconds of one recording. Default 3600. */
  maxAudioSeconds?: number
  /** When a window of a recording is not trusted, for requests that name no temperature. Default: nothing is looked at. */
  speechThresholds?: TranscriptionThresholds
  /** Where responses and conversations are kept, and how much of them. */
  responseStore?: ResponseStoreOptions
  log?: (level: LogLevel, message: string) => void
}

/** The options with their defaults; the keys themselves are not kept. */
export type ResolvedServerOptions = Required<Omit<ServerOptions, 'apiKeys'>>

/** What the routes share. */
export interface ServerContext {
  readonly options: ResolvedServerOptions
  readonly models: ModelDirectory
  /** `models.list()`, for several clients at once. */
  readonly modelList: LatestRun<ModelRow[]>
  readonly metrics: ServerMetrics
  readonly turn: Turn
  readonly parser: BodyParser
  readonly keys: ApiKeys
  readonly responses: ResponseService
  readonly uploads: UploadFolder
  readonly chats: LiveCalls
  readonly waiting: WaitingLine
  /** Watchers of loads. */
  readonly loads: LiveCalls
  /** The template's variables that the server's flags set. */
  readonly templateDefaults: Record<string, unknown>
  draining: boolean
}
