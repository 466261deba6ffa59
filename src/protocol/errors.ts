import { RequestError, type ErrorCode } from '../engine/types.js'

/** What the server refuses by itself, beside what engine and worker refuse. */
export type ServerErrorCode =
  | 'invalid_json'
  | 'unexpected_fields'
  | 'unexpected_item'
  | 'missing_model'
  | 'unsupported_media_type'
  | 'expected_file'
  | 'request_timeout'
  | 'storage_full'
  | 'not_found'
  | 'not_stored'
  | 'invalid_api_key'
  | 'foreign_origin'
  | 'foreign_host'
  | 'method_not_allowed'
  | 'body_too_large'
  | 'server_busy'
  | 'aborted'
  | 'internal_error'

export type AnyErrorCode = ErrorCode | ServerErrorCode

interface ErrorRow {
  status: number
  /** OpenAI's `type`. */
  type: string
  /** OpenAI's `code`. */
  code: string
  /** Said where the failure brings no message of its own. */
  message: string
  /** Seconds after which another attempt makes sense. */
  retryAfter?: number
}

const invalid = 'invalid_request_error'
const unavailable = 'service_unavailable_error'

/** The one table of errors: from the reason to what a client sees. */
export const errorTable: Readonly<Record<AnyErrorCode, ErrorRow>> = {
  invalid_request: { status: 400, type: invalid, code: 'invalid_request', message: 'The request is not valid.' },
  unsupported_parameter: { status: 400, type: invalid, code: 'unsupported_parameter', message: 'A parameter is not supported.' },
  context_length_exceeded: {
    status: 400,
    type: invalid,
    code: 'context_length_exceeded',
    message: "The prompt is longer than the model's context.",
  },
  template_error: { status: 400, type: invalid, code: 'template_error', message: 'The chat template refused the messages.' },
  audio_invalid: { status: 400, type: invalid, code: 'audio_invalid', message: 'The file is not a recording that can be read.' },
  audio_too_long: { status: 400, type: invalid, code: 'audio_too_long', message: 'The recording is longer than this server takes.' },
  audio_unsupported: {
    status: 415,
    type: invalid,
    code: 'audio_unsupported',
    message: 'The format of the recording is not supported. Send wav, mp3, flac or ogg.',
  },
  model_task_mismatch: {
    status: 400,
    type: invalid,
    code: 'model_task_mismatch',
    message: 'The model does not do what this endpoint is for.',
  },
  // 400, 422 and their texts below are those of transformers serve
  model_pinned: { status: 400, type: invalid, code: 'model_not_found', message: 'The server serves another model.' },
  invalid_json: { status: 422, type: invalid, code: 'invalid_json', message: 'The request body is not valid JSON.' },
  unexpected_fields: { status: 422, type: invalid, code: 'unexpected_fields', message: 'Unexpected fields in the request.' },
  unexpected_item: { status: 422, type: invalid, code: 'unexpected_item', message: 'Unsupported input item type.' },
  missing_model: { status: 422, type: invalid, code: 'missing_model', message: 'Missing `model` field in the request body.' },
  unsupported_media_type: {
    status: 422,
    type: invalid,
    code: 'unsupported_media_type',
    message: 'The request body must be JSON, sent with the header `content-type: application/json`.',
  },
  expected_file: { status: 422, type: invalid, code: 'expected_file', message: 'Expected file upload, got string' },
  model_required: { status: 400, type: invalid, code: 'model_required', message: 'Name a model in the field `model`: org/name.' },
  model_too_large: {
    status: 400,
    type: invalid,
    code: 'model_too_large',
    message: 'The model does not fit in the memory that this server may use.',
  },
  model_unsupported: { status: 400, type: invalid, code: 'model_unsupported', message: 'This server cannot run the model.' },
  model_not_found: { status: 404, type: invalid, code: 'model_not_found', message: 'The model does not exist.' },
  not_found: { status: 404, type: invalid, code: 'not_found', message: 'Not Found' },
  not_stored: { status: 404, type: invalid, code: 'not_found', message: 'Nothing is stored under this id.' },
  invalid_api_key: {
    status: 401,
    type: invalid,
    code: 'invalid_api_key',
    message: 'This server needs an API key: send one of its keys with the header `authorization: Bearer KEY`.',
  },
  foreign_origin: {
    status: 403,
    type: invalid,
    code: 'foreign_origin',
    message: 'Pages of other origins may not use this server unless it runs with --enable-cors.',
  },
  foreign_host: {
    status: 403,
    type: invalid,
    code: 'foreign_host',
    message: 'This server listens on the local machine only: the Host header must be localhost, 127.0.0.1 or [::1].',
  },
  method_not_allowed: { status: 405, type: invalid, code: 'method_not_allowed', message: 'Method Not Allowed' },
  request_timeout: { status: 408, type: invalid, code: 'request_timeout', message: 'The request body came too slowly.' },
  body_too_large: { status: 413, type: invalid, code: 'body_too_large', message: 'The request body is too large.' },
  queue_full: {
    status: 429,
    type: 'rate_limit_error',
    code: 'queue_full',
    message: 'Too many requests are waiting. Try again later.',
    retryAfter: 1,
  },
  server_busy: {
    status: 429,
    type: 'rate_limit_error',
    code: 'server_busy',
    message: 'The server is receiving too much at once. Try again later.',
    retryAfter: 1,
  },
  model_loading: {
    status: 503,
    type: unavailable,
    code: 'model_loading',
    message: 'The model is being loaded. Try again later.',
    retryAfter: 2,
  },
  model_crashed: {
    status: 503,
    type: unavailable,
    code: 'model_crashed',
    message: "The model's process ended unexpectedly. Try again later.",
    retryAfter: 2,
  },
  hub_unavailable: {
    status: 503,
    type: unavailable,
    code: 'hub_unavailable',
    message: 'The Hugging Face Hub cannot be reached. Try again later.',
    retryAfter: 5,
  },
  shutting_down: { status: 503, type: unavailable, code: 'shutting_down', message: 'The server is shutting down.' },
  aborted: { status: 503, type: unavailable, code: 'aborted', message: 'The generation was aborted before it was complete.' },
  storage_full: { status: 507, type: 'server_error', code: 'storage_full', message: 'The server has no room to store the upload.' },
  model_load_failed: { status: 500, type: 'server_error', code: 'model_load_failed', message: 'The model could not be loaded.' },
  engine_error: { status: 500, type: 'server_error', code: 'engine_error', message: 'The engine failed on this request.' },
  internal_error: { status: 500, type: 'server_error', code: 'internal_error', message: 'Internal Server Error' },
}

/** A failure with its place in the error table. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly code: AnyErrorCode
  /** The request's field at fault, where there is one. */
  readonly param: string | null

  constructor(code: AnyErrorCode, message?: string, param: string | null = null) {
    super(message ?? errorTable[code].message)
    this.code = code
    this.param = param
  }

  get status(): number {
    return errorTable[this.code].status
  }

  get retryAfter(): number | undefined {
    return errorTable[this.code].retryAfter
  }
}

/** Any thrown value as an ApiError; what was not foreseen becomes an internal_error without its inner message. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error
  if (error instanceof RequestError)
    return new ApiError(Object.hasOwn(errorTable, error.code) ? error.code : 'internal_error', error.message, error.param)
  return new ApiError('internal_error')
}

export interface ErrorObject {
  message: string
  type: string
  param: string | null
  code: string
}

export function errorObject(error: ApiError): ErrorObject {
  const row = errorTable[error.code]
  return { message: error.message, type: row.type, param: error.param, code: row.code }
}

/** OpenAI's error body, with transformers' `detail` beside it. */
export function renderError(error: ApiError): string {
  return JSON.stringify({ error: errorObject(error), detail: error.message })
}
