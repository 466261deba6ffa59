// Reads uploads: a form with one file, or a file that is the whole body.
import { Busboy } from '@fastify/busboy'
import type { FormField } from '../../protocol/form-fields.js'
import { ApiError } from '../../protocol/errors.js'
import { BodyTooLargeError, type HttpExchange } from '../transport/types.js'
import type { UploadFile, UploadFolder } from './upload-folder.js'

/** Bounds on one upload. */
export interface UploadBounds {
  /** Bytes of the file. */
  fileBytes: number
  /** Nothing comes for so long: the upload is given up. */
  idleMs: number
}

/** A form as it came. */
export interface ReceivedForm {
  fields: FormField[]
  file?: {
    /** As the client named it. */
    name?: string
    content: UploadFile
  }
}

const formBounds = {
  // a recording of ten seconds as a data URL, which known_speaker_references may be, and no more
  fieldSize: 1 << 20,
  fieldNameSize: 256,
  fields: 128,
  files: 1,
  parts: 130,
  headerPairs: 32,
  headerSize: 8 << 10,
}
const allFieldsBytes = 8 << 20
// room for boundaries and the headers of parts
const framingBytes = 1 << 20
// slower than this on average, after the grace, an upload is given up: it would hold its place for hours
const leastBytesPerSecond = 16 << 10
const graceMs = 60_000

const tooLarge = (bytes: number): ApiError =>
  new ApiError('body_too_large', `The audio file is larger than ${bytes} bytes, the limit of this server.`, 'file')

/** The pieces of a body for as long as they come fast enough; `stop` is aborted when they do not. */
async function* watched(
  body: AsyncIterable<Uint8Array>,
  { idleMs }: UploadBounds,
  stop: AbortController,
): AsyncGenerator<Uint8Array, void> {
  const startedAt = performance.now()
  let received = 0
  const late = (): void => stop.abort(new ApiError('request_timeout', 'The upload came too slowly and was given up.'))
  const patience = (): number => {
    const slowest = graceMs + (received / leastBytesPerSecond) * 1000
    return Math.max(0, Math.min(idleMs, startedAt + slowest - performance.now()))
  }
  let timer = setTimeout(late, patience())
  try {
    for await (const piece of body) {
      clearTimeout(timer)
      received += piece.length
      yield piece
      timer = setTimeout(late, patience())
    }
  } finally {
    clearTimeout(timer)
  }
}

const toUploadError = (error: unknown, bounds: UploadBounds): unknown =>
  error instanceof BodyTooLargeError ? tooLarge(bounds.fileBytes) : error

/**
 * The whole body as a file. First turn only. Rejects with an ApiError, or a ClientGoneError; there is no file then.
 * @param stop gives the upload up when somebody aborts it
 */
export async function receiveFile(
  exchange: HttpExchange,
  folder: UploadFolder,
  bounds: UploadBounds,
  stop: AbortController,
): Promise<UploadFile> {
  const file = folder.add()
  const body = exchange.streamBody(bounds.fileBytes, stop.signal)
  try {
    await file.write(watched(body, bounds, stop))
    return file
  } catch (error) {
    // where the file could not be opened nobody has taken any of it
    stop.abort(error)
    await file.remove()
    throw toUploadError(error, bounds)
  }
}

/** Whether the header announces a form that may hold a file. */
export function isForm(exchange: HttpExchange): boolean {
  return /^multipart\/form-data\s*(;|$)/i.test(exchange.header('content-type') ?? '')
}

/**
 * A form with at most one file, which goes to the folder as it comes. First turn only. Rejects with an ApiError, or a ClientGoneError; there
 * is no file then.
 * @param stop gives the upload up when somebody aborts it
 */
export async function receiveForm(
  exchange: HttpExchange,
  folder: UploadFolder,
  bounds: UploadBounds,
  stop: AbortController,
): Promise<ReceivedForm> {
  const form = new FormReader(exchange.header('content-type') ?? '', folder, bounds)
  const body = exchange.streamBody(bounds.fileBytes + allFieldsBytes + framingBytes, stop.signal)
  try {
    for await (const piece of watched(body, bounds, stop)) await form.take(piece)
    return await form.end()
  } catch (error) {
    await form.drop(error)
    throw toUploadError(error, bounds)
  }
}

// the parser's types leave out that a part may have no name
const misplaced = (field = ''): ApiError => {
  const shown = field.slice(0, 64)
  return new ApiError('invalid_request', `\`${shown}\` must be text; the recording goes to \`file\`.`, shown)
}

/** Puts what the parser of forms finds together, and turns its limits into errors. */
class FormReader {
  readonly #form: ReceivedForm = { fields: [] }
  readonly #parser: InstanceType<typeof Busboy>
  readonly #failed: Promise<never>
  readonly #finished: Promise<void>
  #fail!: (error: Error) => void
  #written: Promise<void> = Promise.resolve()
  #fileStream: { destroy(error: Error): unknown } | undefined
  #fieldBytes = 0

  constructor(
    contentType: string,
    private readonly folder: UploadFolder,
    private readonly bounds: UploadBounds,
  ) {
    try {
      this.#parser = new Busboy({
        headers: { 'content-type': contentType },
        limits: { ...formBounds, fileSize: bounds.fileBytes },
        isPartAFile: (field, type, name) => name !== undefined || (field === 'file' && type !== undefined && !type.startsWith('text/')),
      })
    } catch {
      throw new ApiError('invalid_request', 'The content-type multipart/form-data needs a boundary.')
    }
    this.#failed = new Promise((_, reject) => (this.#fail = reject))
    this.#failed.catch(() => undefined)
    this.#finished = new Promise((resolve) => this.#parser.on('finish', resolve))
    this.#listen()
  }

  /** Resolves when there is room for more. */
  async take(piece: Uint8Array): Promise<void> {
    const taken = new Promise<void>((resolve) => this.#parser.write(piece, () => resolve()))
    await Promise.race([this.#failed, taken])
  }

  async end(): Promise<ReceivedForm> {
    this.#parser.end()
    await Promise.race([this.#failed, this.#finished])
    await this.#written
    return this.#form
  }

  /** Lets go of everything that was received. */
  async drop(error: unknown): Promise<void> {
    const reason = error instanceof Error ? error : new Error('dropped')
    this.#fileStream?.destroy(reason)
    this.#parser.destroy()
    await this.#form.file?.content.remove()
  }

  #listen(): void {
    const parser = this.#parser
    parser.on('field', (name, value, _nameCut, valueCut) => this.#takeField(name, value, valueCut))
    parser.on('file', (field: string | undefined, stream, name: string | undefined) => {
      if (field !== 'file') this.#fail(misplaced(field))
      stream.on('error', () => undefined)
      stream.on('limit', () => this.#fail(tooLarge(this.bounds.fileBytes)))
      this.#fileStream = stream
      try {
        const content = this.folder.add()
        this.#form.file = { content, ...(name === undefined ? {} : { name }) }
        this.#written = content.write(stream)
        this.#written.catch((error: unknown) => this.#fail(error as Error))
      } catch (error) {
        stream.resume()
        this.#fail(error as Error)
      }
    })
    const tooMany = (what: string) => () => this.#fail(new ApiError('invalid_request', `The form has more than ${what}.`))
    parser.on('fieldsLimit', tooMany(`${formBounds.fields} fields`))
    parser.on('filesLimit', tooMany('one file'))
    parser.on('partsLimit', tooMany(`${formBounds.parts} parts`))
    parser.on('error', () =>
      this.#fail(new ApiError('invalid_request', 'The request body is not a whole multipart/form-data: its end is missing.')),
    )
  }

  #takeField(name: string | undefined, value: string, cut: boolean): void {
    // a part without a name
    if (name === undefined) return
    const shown = name.slice(0, 64)
    this.#fieldBytes += Buffer.byteLength(value) + name.length
    if (cut) this.#fail(new ApiError('invalid_request', `\`${shown}\` is longer than ${formBounds.fieldSize} bytes.`, shown))
    else if (this.#fieldBytes > allFieldsBytes)
      this.#fail(new ApiError('invalid_request', `The form's fields hold more than ${allFieldsBytes} bytes.`))
    else this.#form.fields.push({ name, value })
  }
}
